#include "kernels/selective_scan/selective_scan.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <map>
#include <string>

#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t batch, time, channels, state;
  bool gate, initial;
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<Isa, Case>>& info) {
  const auto& [isa, c] = info.param;
  return name_of(isa) + std::string("_B") + std::to_string(c.batch) + "_T" + std::to_string(c.time) + "_D" +
         std::to_string(c.channels) + "_N" + std::to_string(c.state) + (c.gate ? "_gate" : "") +
         (c.initial ? "_initial" : "");
}

using Arrays = std::map<std::string, Array>;

Arrays random_inputs(const Case& c) {
  std::mt19937 random(static_cast<unsigned>(c.time * 1000 + c.channels * 10 + c.state));
  const int64_t btd = c.batch * c.time * c.channels, btn = c.batch * c.time * c.state;
  Arrays in;
  in["u"] = random_array(btd, -2, 2, random);
  in["delta"] = random_array(btd, -3, 3, random);
  in["A"] = random_array(c.channels * c.state, -4, -0.1, random);
  in["B"] = random_array(btn, -1, 1, random);
  in["C"] = random_array(btn, -1, 1, random);
  in["D"] = random_array(c.channels, -1, 1, random);
  in["z"] = c.gate ? random_array(btd, -3, 3, random) : Array{};
  in["delta_bias"] = random_array(c.channels, -2, 1, random);
  in["initial"] = c.initial ? random_array(c.batch * c.channels * c.state, -2, 2, random) : Array{};
  in["dy"] = random_array(btd, -1, 1, random);
  return in;
}

// The formula of the header, one number at a time.
struct Naive {
  Array y, final;
};
Naive naive_scan(const Case& c, const Arrays& in) {
  const auto [B, T, D, N, gate, initial] = c;
  Naive out{Array(B * T * D), initial ? in.at("initial") : Array(B * D * N)};
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < T; ++t)
      for (int64_t d = 0; d < D; ++d) {
        const int64_t btd = (b * T + t) * D + d;
        const double u = in.at("u")[btd];
        const double delta = std::log(1 + std::exp(in.at("delta")[btd] + in.at("delta_bias")[d]));
        double y = in.at("D")[d] * u;
        for (int64_t n = 0; n < N; ++n) {
          double& h = out.final[(b * D + d) * N + n];
          h = std::exp(delta * in.at("A")[d * N + n]) * h + delta * in.at("B")[(b * T + t) * N + n] * u;
          y += in.at("C")[(b * T + t) * N + n] * h;
        }
        if (gate) y *= in.at("z")[btd] / (1 + std::exp(-in.at("z")[btd]));
        out.y[btd] = y;
      }
  return out;
}

// Time t of an array (B, T, ...), which may be empty.
Array step_of(const Array& array, int64_t batch, int64_t time, int64_t t) {
  const auto size = static_cast<int64_t>(array.size()) / (batch * time);
  Array step;
  for (int64_t b = 0; b < batch; ++b)
    step.insert(step.end(), array.begin() + (b * time + t) * size, array.begin() + (b * time + t + 1) * size);
  return step;
}

template <class Real>
struct Kernel {
  Kernel(const Case& c, const Arrays& in) : shape{c.batch, c.time, c.channels, c.state} {
    for (const auto& [name, array] : in) arrays[name] = converted<Real>(array);
  }
  const Real* get(const std::string& name) const { return arrays.at(name).empty() ? nullptr : arrays.at(name).data(); }
  ScanInputs<Real> inputs() const {
    return {get("u"), get("delta"), get("A"),          get("B"),      get("C"),
            get("D"), get("z"),     get("delta_bias"), get("initial")};
  }
  void forward() {
    y.resize(arrays["u"].size());
    states.resize(shape.batch * scan_checkpoints(shape.time) * shape.channels * shape.state);
    final.resize(shape.batch * shape.channels * shape.state);
    selective_scan_forward_cpu(shape, inputs(), y.data(), states.data(), final.data());
  }
  void backward() {
    for (const auto& [name, array] : arrays) gradient[name].assign(array.size(), Real(77));
    const auto to = [&](const std::string& name) { return gradient[name].empty() ? nullptr : gradient[name].data(); };
    selective_scan_backward_cpu(
        shape, inputs(), states.data(), get("dy"),
        ScanGradients<Real>{to("u"), to("delta"), to("A"), to("B"), to("C"), to("D"), to("z"), to("delta_bias")});
  }

  ScanShape shape;
  std::map<std::string, std::vector<Real>> arrays, gradient;
  std::vector<Real> y, states, final;
};

constexpr const char* differentiable[] = {"u", "delta", "A", "B", "C", "D", "z", "delta_bias"};

class SelectiveScan : public OnEachIsa<Case> {};

TEST_P(SelectiveScan, ForwardIsTheFormula) {
  const Arrays in = random_inputs(test_case());
  const Naive expected = naive_scan(test_case(), in);
  Kernel<double> kernel(test_case(), in);
  kernel.forward();
  EXPECT_LE(difference(kernel.y, expected.y), 1e-12);
  EXPECT_LE(difference(kernel.final, expected.final), 1e-12);
  Kernel<float> single(test_case(), in);
  single.forward();
  EXPECT_LE(difference(single.y, expected.y), 2e-5);
  EXPECT_LE(difference(single.final, expected.final), 2e-5);
}

TEST_P(SelectiveScan, KeptStatesAndFinalStateAreOptional) {
  const Arrays in = random_inputs(test_case());
  Kernel<float> kernel(test_case(), in);
  kernel.forward();
  std::vector<float> y(kernel.y.size());
  selective_scan_forward_cpu<float>(kernel.shape, kernel.inputs(), y.data(), nullptr, nullptr);
  EXPECT_EQ(y, kernel.y);
}

TEST_P(SelectiveScan, BackwardInFloat32IsNearFloat64) {
  const Arrays in = random_inputs(test_case());
  Kernel<double> exact(test_case(), in);
  exact.forward();
  exact.backward();
  Kernel<float> single(test_case(), in);
  single.forward();
  single.backward();
  for (const char* name : differentiable)
    EXPECT_LE(difference(single.gradient[name], exact.gradient[name]), 5e-5) << name;
}

TEST_P(SelectiveScan, SameBitsAtEachCallAndOnAnyNumberOfThreads) {
  const Arrays in = random_inputs(test_case());
  const int threads = omp_get_max_threads();
  const auto run = [&](int count) {
    omp_set_num_threads(count);
    Kernel<float> kernel(test_case(), in);
    kernel.forward();
    kernel.backward();
    return kernel;
  };
  const Kernel<float> first = run(3), second = run(2), alone = run(1);
  omp_set_num_threads(threads);
  EXPECT_EQ(first.y, second.y);
  EXPECT_EQ(first.y, alone.y);
  EXPECT_EQ(first.gradient, second.gradient);
  EXPECT_EQ(first.gradient, alone.gradient);
}

TEST_P(SelectiveScan, StepsAreTheFormula) {
  Case c = test_case();
  if (!c.initial) return;
  const Arrays in = random_inputs(c);
  const Naive expected = naive_scan(c, in);
  Array state = in.at("initial");
  for (int64_t t = 0; t < c.time; ++t) {
    Arrays step = in;
    for (const char* name : {"u", "delta", "B", "C", "z"}) step[name] = step_of(in.at(name), c.batch, c.time, t);
    Kernel<double> kernel({c.batch, 1, c.channels, c.state, c.gate, true}, step);
    kernel.y.resize(c.batch * c.channels);
    selective_scan_step_cpu(kernel.shape, kernel.inputs(), kernel.y.data(), state.data());
    EXPECT_LE(difference(kernel.y, step_of(expected.y, c.batch, c.time, t)), 1e-12);
  }
  EXPECT_LE(difference(state, expected.final), 1e-12);
}

TEST_P(SelectiveScan, StepInFloat32IsNearFloat64) {
  Case c = test_case();
  if (c.time > 1) return;
  const Arrays in = random_inputs(c);
  const Naive expected = naive_scan(c, in);
  Kernel<float> kernel(c, in);
  kernel.y.resize(c.batch * c.channels);
  std::vector<float> state = c.initial ? kernel.arrays["initial"] : std::vector<float>(expected.final.size());
  selective_scan_step_cpu(kernel.shape, kernel.inputs(), kernel.y.data(), state.data());
  EXPECT_LE(difference(kernel.y, expected.y), 2e-5);
  EXPECT_LE(difference(state, expected.final), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SelectiveScan,
                         on_each_isa<Case>({{1, 1, 1, 1, true, false},
                                            {2, 1, 7, 16, false, true},
                                            {2, 1, 33, 5, true, true},
                                            {1, 2, 33, 33, true, true},
                                            {3, 2, 1, 16, false, false},
                                            {2, 17, 7, 33, true, false},
                                            {2, 17, 33, 1, true, true},
                                            {3, 16, 16, 16, false, false},
                                            {1, 129, 33, 16, true, false},
                                            {2, 129, 7, 16, false, true},
                                            {1, 129, 1, 33, true, true},
                                            {1, 31, 19, 32, true, true},
                                            {1, 18, 5, 64, true, true},
                                            {2, 33, 545, 16, true, true}}),
                         name_of_case);

class SelectiveScanGradient : public OnEachIsa<Case> {};

TEST_P(SelectiveScanGradient, IsTheSlopeOfTheFormulaInEveryInput) {
  Arrays in = random_inputs(test_case());
  Kernel<double> kernel(test_case(), in);
  kernel.forward();
  kernel.backward();
  const auto loss = [&] { return dot(naive_scan(test_case(), in).y, in.at("dy")); };
  for (const char* name : differentiable) {
    const Array expected = numerical_gradient(in[name], loss);
    EXPECT_LE(difference(kernel.gradient[name], expected), 1e-8) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, SelectiveScanGradient,
                         on_each_isa<Case>({{1, 1, 1, 1, true, false},
                                            {2, 17, 3, 5, true, false},
                                            {2, 17, 3, 5, false, true},
                                            {1, 2, 33, 3, true, true},
                                            {1, 33, 2, 3, true, true}}),
                         name_of_case);

}  // namespace
}  // namespace recite::kernels
