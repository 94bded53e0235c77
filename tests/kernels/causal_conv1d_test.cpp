#include "kernels/causal_conv1d/causal_conv1d.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <string>

#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t batch, time, channels, width;
  bool initial;
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<Isa, Case>>& info) {
  const auto& [isa, c] = info.param;
  return name_of(isa) + std::string("_B") + std::to_string(c.batch) + "_T" + std::to_string(c.time) + "_D" +
         std::to_string(c.channels) + "_W" + std::to_string(c.width) + (c.initial ? "_initial" : "");
}

struct Inputs {
  explicit Inputs(const Case& c) {
    std::mt19937 random(static_cast<unsigned>(c.time * 100 + c.channels));
    x = random_array(c.batch * c.time * c.channels, -2, 2, random);
    weight = random_array(c.channels * c.width, -1, 1, random);
    bias = random_array(c.channels, -1, 1, random);
    if (c.initial) initial = random_array(c.batch * (c.width - 1) * c.channels, -2, 2, random);
    dy = random_array(x.size(), -1, 1, random);
  }
  Array x, weight, bias, initial, dy;
};

// The formula of the header, one number at a time.
Array naive_conv(const Case& c, const Inputs& in) {
  Array y(in.x.size());
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t t = 0; t < c.time; ++t)
      for (int64_t d = 0; d < c.channels; ++d) {
        double sum = in.bias[d];
        for (int64_t k = 0; k < c.width; ++k) {
          const int64_t s = t - c.width + 1 + k;
          double x = 0;
          if (s >= 0) x = in.x[(b * c.time + s) * c.channels + d];
          if (s < 0 && c.initial) x = in.initial[(b * (c.width - 1) + c.width - 1 + s) * c.channels + d];
          sum += in.weight[d * c.width + k] * x;
        }
        y[(b * c.time + t) * c.channels + d] = sum / (1 + std::exp(-sum));
      }
  return y;
}

template <class Real>
std::vector<Real> forward(const Case& c, const Inputs& in) {
  const auto x = converted<Real>(in.x), weight = converted<Real>(in.weight), bias = converted<Real>(in.bias),
             initial = converted<Real>(in.initial);
  std::vector<Real> y(x.size());
  causal_conv1d_forward_cpu({c.batch, c.time, c.channels, c.width}, x.data(), weight.data(), bias.data(),
                            c.initial ? initial.data() : nullptr, y.data());
  return y;
}

template <class Real>
struct Gradients {
  std::vector<Real> x, weight, bias;
  bool operator==(const Gradients&) const = default;
};
template <class Real>
Gradients<Real> backward(const Case& c, const Inputs& in) {
  const auto x = converted<Real>(in.x), weight = converted<Real>(in.weight), bias = converted<Real>(in.bias),
             dy = converted<Real>(in.dy);
  const Real written_over = 77;
  Gradients<Real> d{std::vector<Real>(x.size(), written_over), std::vector<Real>(weight.size(), written_over),
                    std::vector<Real>(bias.size(), written_over)};
  causal_conv1d_backward_cpu({c.batch, c.time, c.channels, c.width}, x.data(), weight.data(), bias.data(), dy.data(),
                             d.x.data(), d.weight.data(), d.bias.data());
  return d;
}

class CausalConv1d : public OnEachIsa<Case> {};

TEST_P(CausalConv1d, ForwardIsTheFormula) {
  const Inputs in(test_case());
  EXPECT_LE(difference(forward<double>(test_case(), in), naive_conv(test_case(), in)), 1e-13);
  EXPECT_LE(difference(forward<float>(test_case(), in), naive_conv(test_case(), in)), 2e-6);
}

TEST_P(CausalConv1d, BackwardIsTheSlopeOfTheFormulaInEveryInput) {
  Case c = test_case();
  c.initial = false;
  Inputs in(c);
  const auto loss = [&] { return dot(naive_conv(c, in), in.dy); };
  const Gradients<double> d = backward<double>(c, in);
  const Array x = numerical_gradient(in.x, loss), weight = numerical_gradient(in.weight, loss),
              bias = numerical_gradient(in.bias, loss);
  EXPECT_LE(difference(d.x, x), 1e-8);
  EXPECT_LE(difference(d.weight, weight), 1e-8);
  EXPECT_LE(difference(d.bias, bias), 1e-8);
  const Gradients<float> single = backward<float>(c, in);
  EXPECT_LE(difference(single.x, d.x), 1e-5);
  EXPECT_LE(difference(single.weight, d.weight), 1e-5);
  EXPECT_LE(difference(single.bias, d.bias), 1e-5);
}

TEST_P(CausalConv1d, SameBitsAtEachCallAndOnAnyNumberOfThreads) {
  Case c = test_case();  // made large enough for several threads
  c.batch = 2;
  c.time = 129;
  c.channels += 255;
  const Inputs in(c);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(3);
  const Gradients<float> first = backward<float>(c, in);
  omp_set_num_threads(2);
  const Gradients<float> second = backward<float>(c, in);
  omp_set_num_threads(1);
  const Gradients<float> alone = backward<float>(c, in);
  omp_set_num_threads(threads);
  EXPECT_EQ(first, second);
  EXPECT_EQ(first, alone);
}

TEST_P(CausalConv1d, StepsAreTheForward) {
  Case c = test_case();
  if (!c.initial) return;
  const Inputs in(c);
  const std::vector<float> expected = forward<float>(c, in);
  const auto x = converted<float>(in.x), weight = converted<float>(in.weight), bias = converted<float>(in.bias);
  std::vector<float> window = converted<float>(in.initial), step_x(c.batch * c.channels), y(step_x.size());
  for (int64_t t = 0; t < c.time; ++t) {
    const auto at = [&](int64_t b) { return (b * c.time + t) * c.channels; };
    for (int64_t b = 0; b < c.batch; ++b) std::copy_n(&x[at(b)], c.channels, &step_x[b * c.channels]);
    causal_conv1d_step_cpu<float>({c.batch, 1, c.channels, c.width}, step_x.data(), weight.data(), bias.data(),
                                  window.data(), y.data());
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t d = 0; d < c.channels; ++d) ASSERT_EQ(y[b * c.channels + d], expected[at(b) + d]);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalConv1d,
                         on_each_isa<Case>({{1, 1, 1, 4, false},
                                            {2, 1, 7, 4, true},
                                            {1, 2, 33, 4, true},
                                            {3, 3, 5, 2, true},
                                            {2, 17, 7, 4, false},
                                            {2, 17, 3, 1, true},
                                            {3, 5, 65, 3, false},
                                            {1, 129, 1, 4, true}}),
                         name_of_case);

}  // namespace
}  // namespace recite::kernels
