// AdamW on a GPU against the header's formula in float64.
#include "kernels/adamw/adamw_cuda.h"
#include "tests/gpu/device_numbers.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t size;
  int64_t t;
  double limit;
  bool rounded_weights;

  AdamWStep step() const { return {.learning_rate = 0.01, .weight_decay = 0.1, .t = t, .divisor = 37, .limit = limit}; }
};

void PrintTo(const Case& c, std::ostream* to) {
  *to << "size " << c.size << " t " << c.t << " limit " << c.limit << (c.rounded_weights ? " rounded" : "");
}

struct State {
  Array weights, gradients, first, second, rounded_weights;
  double squared_norm = NAN;
  bool operator==(const State&) const = default;
};

State inputs(const Case& c) {
  std::mt19937 random(static_cast<unsigned>(c.size));
  const auto draw = [&](double low, double high) { return held<float>(random_array(c.size, low, high, random)); };
  State state{draw(-1, 1), draw(-40, 50), draw(-1, 1), draw(0, 2), {}};
  if (c.t == 1) state.first.assign(c.size, 0), state.second.assign(c.size, 0);
  if (c.rounded_weights) state.rounded_weights.assign(c.size, NAN);
  return state;
}

void update_exactly(const Case& c, State& of) {
  const AdamWStep s = c.step();
  of.squared_norm = dot(of.gradients, of.gradients);
  const double norm = std::sqrt(of.squared_norm) / s.divisor;
  const double factor = (s.limit > 0 ? std::min(1.0, s.limit / (norm + 1e-6)) : 1) / s.divisor;
  const auto t = static_cast<double>(s.t);
  for (int64_t i = 0; i < c.size; ++i) {
    const double g = factor * of.gradients[i];
    double &w = of.weights[i], &m = of.first[i], &v = of.second[i];
    w -= s.learning_rate * s.weight_decay * w;
    m = s.beta1 * m + (1 - s.beta1) * g;
    v = s.beta2 * v + (1 - s.beta2) * g * g;
    w -= s.learning_rate * m / (1 - std::pow(s.beta1, t)) / (std::sqrt(v / (1 - std::pow(s.beta2, t))) + s.epsilon);
    if (c.rounded_weights) of.rounded_weights[i] = w;
  }
}

State run(const Case& c, const State& in) {
  const DeviceArray<float> weights(elements<float>(in.weights)), gradients(elements<float>(in.gradients)),
      first(elements<float>(in.first)), second(elements<float>(in.second));
  const DeviceArray<__nv_bfloat16> rounded_weights(elements<__nv_bfloat16>(in.rounded_weights));
  const DeviceArray<double> squared_norm(Array{NAN}),
      workspace(Array(squared_norm_workspace_bytes(c.size) / sizeof(double), NAN));
  squared_norm_cuda(gradients.data(), c.size, squared_norm.data(), workspace.data(), nullptr);
  adamw_cuda(c.step(), {weights.data(), gradients.data(), first.data(), second.data(), rounded_weights.data()}, c.size,
             squared_norm.data(), nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return {numbers(weights), numbers(gradients),       numbers(first),
          numbers(second),  numbers(rounded_weights), squared_norm.values()[0]};
}

class AdamWGpu : public testing::TestWithParam<Case> {};
TEST_P(AdamWGpu, IsTheFormulaInFloat64) {
  const Case& c = GetParam();
  const State in = inputs(c), got = run(c, in), again = run(c, in);
  State exact = in;
  update_exactly(c, exact);
  EXPECT_TRUE(std::abs(got.squared_norm - exact.squared_norm) <= 1e-12 * exact.squared_norm) << got.squared_norm;
  EXPECT_TRUE(relative_error(got.weights, exact.weights) <= 1e-6) << relative_error(got.weights, exact.weights);
  EXPECT_TRUE(relative_error(got.first, exact.first) <= 1e-6) << relative_error(got.first, exact.first);
  EXPECT_TRUE(relative_error(got.second, exact.second) <= 1e-6) << relative_error(got.second, exact.second);
  EXPECT_TRUE(relative_error(got.rounded_weights, exact.rounded_weights) <= 5e-3);
  EXPECT_EQ(got.gradients, exact.gradients);
  EXPECT_TRUE(got == again) << "two runs differ";
}

INSTANTIATE_TEST_SUITE_P(Cases, AdamWGpu,
                         testing::Values(Case{1, 1, 1, true}, Case{3, 2, 0, false}, Case{4, 1, 1e9, true},
                                         Case{1023, 5, 0.5, false}, Case{4096, 100, 1, true}, Case{1000003, 1, 1, true},
                                         Case{5000002, 1000, 0, false}, Case{9000001, 7, 1, true}));

TEST(AdamWGpu, WithoutALimitNeedsNoNorm) {
  const Case c{70, 3, -1, false};
  const State in = inputs(c);
  State exact = in;
  update_exactly(c, exact);
  const DeviceArray<float> weights(elements<float>(in.weights)), gradients(elements<float>(in.gradients)),
      first(elements<float>(in.first)), second(elements<float>(in.second));
  adamw_cuda(c.step(), {weights.data(), gradients.data(), first.data(), second.data()}, c.size, nullptr, nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_TRUE(relative_error(numbers(weights), exact.weights) <= 1e-6);
}

TEST(AdamWGpu, RefusesWhatItCannotDo) {
  const DeviceArray<float> buffer(std::vector<float>(8));
  const AdamWBuffers buffers{buffer.data(), buffer.data(), buffer.data(), buffer.data()};
  const AdamWBuffers shifted{buffer.data() + 1, buffer.data(), buffer.data(), buffer.data()};
  const AdamWStep step = Case{4, 1, 0, false}.step(), clipped = Case{4, 1, 1, false}.step();
  const AdamWStep zeroth = Case{4, 0, 0, false}.step();
  EXPECT_THROW(adamw_cuda(step, buffers, 0, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(adamw_cuda(step, shifted, 4, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(adamw_cuda(clipped, buffers, 4, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(adamw_cuda(zeroth, buffers, 4, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(squared_norm_cuda(buffer.data() + 1, 4, nullptr, nullptr, nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
