// The selective scan on a GPU against float64 on the CPU, whose gradients are checked against differences elsewhere.
#include <map>
#include <string>

#include "kernels/selective_scan/selective_scan_cuda.h"
#include "tests/gpu/device_rows.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t batch, time, channels, state;
  bool gate = true, skip = true, bias = true, softplus = true, initial = false;
  Layout layout = Layout::contiguous;

  ScanShape shape() const { return {batch, time, channels, state}; }
};

void PrintTo(const Case& c, std::ostream* to) {
  *to << "B" << c.batch << " T" << c.time << " D" << c.channels << " N" << c.state << (c.gate ? " gate" : "")
      << (c.skip ? " skip" : "") << (c.bias ? " bias" : "") << (c.softplus ? " softplus" : "")
      << (c.initial ? " initial" : "") << " layout " << static_cast<int>(c.layout);
}

using Arrays = std::map<std::string, Array>;

template <class Element>
Arrays random_inputs(const Case& c) {
  std::mt19937 random(static_cast<unsigned>(c.time * 1000 + c.channels * 10 + c.state));
  const int64_t btd = c.batch * c.time * c.channels, btn = c.batch * c.time * c.state;
  Arrays in;
  in["u"] = rounded<Element>(random_array(btd, -2, 2, random));
  in["delta"] = rounded<Element>(random_array(btd, c.softplus ? -3 : 0.1, c.softplus ? 3 : 2, random));
  in["A"] = rounded<float>(random_array(c.channels * c.state, -4, -0.1, random));
  in["B"] = rounded<Element>(random_array(btn, -1, 1, random));
  in["C"] = rounded<Element>(random_array(btn, -1, 1, random));
  in["D"] = rounded<float>(random_array(c.skip ? c.channels : 0, -1, 1, random));
  in["z"] = rounded<Element>(random_array(c.gate ? btd : 0, -3, 3, random));
  in["delta_bias"] = rounded<float>(random_array(c.bias ? c.channels : 0, c.softplus ? -2 : 0, 1, random));
  in["initial"] = rounded<float>(random_array(c.initial ? c.batch * c.channels * c.state : 0, -2, 2, random));
  in["dy"] = rounded<Element>(random_array(btd, -1, 1, random));
  return in;
}

// The reference always has softplus, bias and skip: without softplus it gets the number whose softplus is delta'.
Arrays reference(const Case& c, const Arrays& arrays) {
  const int64_t B = c.batch, T = c.time, D = c.channels, N = c.state;
  Arrays in = arrays, out;
  if (!c.skip) in["D"].assign(D, 0);
  if (!c.bias) in["delta_bias"].assign(D, 0);
  if (!c.softplus)
    for (int64_t i = 0; i < B * T * D; ++i) {
      const double bias = in["delta_bias"][i % D];
      in["delta"][i] = std::log(std::expm1(in["delta"][i] + bias)) - bias;
    }
  const auto data = [](Array& array) { return array.empty() ? nullptr : array.data(); };
  const ScanInputs<double> inputs{data(in["u"]), data(in["delta"]),      data(in["A"]),
                                  data(in["B"]), data(in["C"]),          data(in["D"]),
                                  data(in["z"]), data(in["delta_bias"]), data(in["initial"])};
  Array states(B * scan_checkpoints(T) * N * D);
  const auto make = [&](const std::string& name, int64_t size) {
    out[name].assign(size, NAN);
    return out[name].data();
  };
  selective_scan_forward_cpu<double>(c.shape(), inputs, make("y", B * T * D), states.data(), make("final", B * D * N));
  const ScanGradients<double> gradients{make("du", B * T * D),
                                        make("ddelta", B * T * D),
                                        make("dA", D * N),
                                        make("dB", B * T * N),
                                        make("dC", B * T * N),
                                        make("dD", D),
                                        c.gate ? make("dz", B * T * D) : nullptr,
                                        make("d_delta_bias", D)};
  selective_scan_backward_cpu<double>(c.shape(), inputs, states.data(), in["dy"].data(), gradients);
  if (!c.softplus) {
    out["d_delta_bias"].assign(D, 0);
    for (int64_t i = 0; i < B * T * D; ++i) {
      const double x = in["delta"][i] + in["delta_bias"][i % D];
      out["ddelta"][i] *= 1 + std::exp(-x);
      out["d_delta_bias"][i % D] += out["ddelta"][i];
    }
  }
  return out;
}

template <class Element>
struct Device {
  Device(const Case& c, Arrays& in)
      : c(c),
        u(rows(in["u"], c.channels)),
        delta(rows(in["delta"], c.channels)),
        B(rows(in["B"], c.state)),
        C(rows(in["C"], c.state)),
        z(rows(in["z"], c.channels)),
        dy(rows(in["dy"], c.channels)),
        A(converted<float>(in["A"])),
        D(converted<float>(in["D"])),
        delta_bias(converted<float>(in["delta_bias"])),
        initial(converted<float>(in["initial"])) {}

  DeviceRowsArray<Element> rows(const Array& numbers, int64_t width) const {
    return {numbers, c.batch * c.time, width, c.layout};
  }
  ScanCudaInputs<Element> inputs() const {
    return {u.inputs(), delta.inputs(), A.data(),          B.inputs(),     C.inputs(),
            D.data(),   z.inputs(),     delta_bias.data(), initial.data(), c.softplus};
  }

  // Forward and backward into poisoned arrays.
  Arrays run() const {
    const int64_t btd = c.batch * c.time * c.channels, btn = c.batch * c.time * c.state;
    const auto nan_rows = [&](int64_t size, int64_t width) { return rows(Array(size, NAN), width); };
    const auto y = nan_rows(btd, c.channels), du = nan_rows(btd, c.channels), ddelta = nan_rows(btd, c.channels);
    const auto dz = nan_rows(c.gate ? btd : 0, c.channels), dB = nan_rows(btn, c.state), dC = nan_rows(btn, c.state);
    const DeviceArray<float> states(poison<float>(selective_scan_states_bytes(c.shape()) / 4));
    const DeviceArray<float> forward(poison<float>(selective_scan_forward_workspace_bytes(c.shape()) / 4));
    const DeviceArray<float> backward(poison<float>(selective_scan_backward_workspace_bytes(c.shape()) / 4));
    const DeviceArray<float> final(poison<float>(c.batch * c.channels * c.state)),
        dA(poison<float>(c.channels * c.state)), dD(poison<float>(c.channels)), d_delta_bias(poison<float>(c.channels));
    selective_scan_forward_cuda<Element>(c.shape(), inputs(), y.rows(), states.data(), final.data(), forward.data(),
                                         nullptr);
    const ScanCudaGradients<Element> gradients{du.rows(), ddelta.rows(), dA.data(), dB.rows(),
                                               dC.rows(), dD.data(),     dz.rows(), d_delta_bias.data()};
    selective_scan_backward_cuda<Element>(c.shape(), inputs(), states.data(), dy.inputs(), gradients, backward.data(),
                                          nullptr);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    for (const auto* array : {&y, &du, &ddelta, &dz, &dB, &dC}) EXPECT_TRUE(array->gaps_are_kept());
    Arrays out{{"y", y.numbers()},   {"du", du.numbers()}, {"ddelta", ddelta.numbers()},
               {"dB", dB.numbers()}, {"dC", dC.numbers()}, {"final", numbers(final)},
               {"dA", numbers(dA)},  {"dD", numbers(dD)},  {"d_delta_bias", numbers(d_delta_bias)}};
    if (c.gate) out["dz"] = dz.numbers();
    return out;
  }
  static Array numbers(const DeviceArray<float>& array) {
    const std::vector<float> values = array.values();
    return {values.begin(), values.end()};
  }

  const Case c;
  const DeviceRowsArray<Element> u, delta, B, C, z, dy;
  const DeviceArray<float> A, D, delta_bias, initial;
};

template <class Element>
void check(const Case& c, double tolerance) {
  Arrays in = random_inputs<Element>(c);
  const Device<Element> device(c, in);
  const Arrays expected = reference(c, in), first = device.run(), second = device.run();
  for (const auto& [name, array] : expected) {
    EXPECT_TRUE(relative_error(first.at(name), array) <= tolerance)
        << name << " " << relative_error(first.at(name), array);
    EXPECT_EQ(std::memcmp(first.at(name).data(), second.at(name).data(), array.size() * sizeof(double)), 0) << name;
  }
}

class SelectiveScanGpu : public testing::TestWithParam<Case> {};
TEST_P(SelectiveScanGpu, Float32IsFloat64OfTheCpu) { check<float>(GetParam(), 1e-5); }
TEST_P(SelectiveScanGpu, Bfloat16IsFloat64OfTheCpu) { check<__nv_bfloat16>(GetParam(), 5e-3); }

constexpr auto part = Layout::aligned_part, odd = Layout::odd_part;
INSTANTIATE_TEST_SUITE_P(Small, SelectiveScanGpu,
                         testing::Values(Case{1, 1, 1, 1}, Case{2, 17, 24, 16}, Case{3, 33, 37, 5},
                                         Case{2, 21, 40, 32, false}, Case{2, 18, 72, 32, true, false},
                                         Case{2, 35, 72, 32, true, true, false},
                                         Case{2, 35, 72, 32, true, true, true, false},
                                         Case{2, 35, 72, 32, true, true, false, false},
                                         Case{2, 20, 136, 32, true, true, true, true, true},
                                         Case{2, 31, 72, 16, true, true, true, true, true, part},
                                         Case{2, 31, 41, 16, true, true, true, true, false, odd},
                                         Case{1, 20, 70, 7, false, false, false, false, true, odd}));
INSTANTIATE_TEST_SUITE_P(Large, SelectiveScanGpu,
                         testing::Values(Case{2, 129, 264, 32}, Case{1, 53, 70, 64}, Case{2, 20, 30, 100},
                                         Case{1, 37, 20, 200}, Case{1, 40, 12, 256},
                                         Case{1, 1134, 64, 16, true, true, true, true, true, part},
                                         Case{2, 301, 130, 32, true, true, true, true, true}, Case{1, 260, 24, 128},
                                         Case{1, 300, 9, 256, true, true, true, true, true, odd}, Case{270, 21, 40, 16},
                                         Case{530, 18, 40, 32, true, true, true, true, true, part},
                                         Case{530, 3, 41, 32}, Case{270, 17, 24, 64, false}, Case{270, 17, 20, 128},
                                         Case{270, 3, 8, 256}));

template <class Element>
void check_step(const Case& c, double tolerance) {
  Arrays in = random_inputs<Element>(c);
  const Device<Element> device(c, in);
  const Arrays expected = reference(c, in);
  const DeviceRowsArray<Element> y(Array(c.batch * c.channels, NAN), c.batch, c.channels, c.layout);
  const DeviceArray<float> state(converted<float>(in["initial"]));
  selective_scan_step_cuda<Element>(c.shape(), device.inputs(), y.rows(), state.data(), nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_TRUE(relative_error(y.numbers(), expected.at("y")) <= tolerance);
  EXPECT_TRUE(relative_error(Device<Element>::numbers(state), expected.at("final")) <= 1e-5);
  EXPECT_TRUE(y.gaps_are_kept());
}

TEST(SelectiveScanGpuStep, IsTheForwardOfOneStep) {
  for (const int64_t state : {1, 7, 16, 32, 100, 256})
    for (const bool options : {true, false}) {
      const Case c{3, 1, 37, state, options, options, options, options, true, options ? odd : Layout::contiguous};
      SCOPED_TRACE(testing::PrintToString(c));
      check_step<float>(c, 1e-5);
      check_step<__nv_bfloat16>(c, 5e-3);
    }
}

TEST(SelectiveScanGpu, RefusesWhatItCannotDo) {
  const ScanCudaInputs<float> in{};
  const auto forward = [&](const ScanShape& shape) {
    selective_scan_forward_cuda<float>(shape, in, {}, nullptr, nullptr, nullptr, nullptr);
  };
  EXPECT_THROW(forward({1, 1, 1, 257}), std::invalid_argument);
  EXPECT_THROW(forward({1, 0, 1, 16}), std::invalid_argument);
  EXPECT_THROW(forward({65536, 1, 1, 16}), std::invalid_argument);
  EXPECT_THROW(selective_scan_step_cuda<float>({1, 2, 1, 16}, in, {}, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(selective_scan_backward_workspace_bytes({1, 1, 1, 300}), std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
