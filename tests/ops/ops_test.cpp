// The ops on the CPU run the kernels; the same functions written with LibTorch's operations, and LibTorch's autograd,
// are what they are compared with here, every element of every gradient.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <string>
#include <tuple>

#include "ops/causal_conv1d.h"
#include "ops/selective_scan.h"

namespace recite {
namespace {

using torch::Tensor;

double difference(const Tensor& a, const Tensor& b) {
  return ((a - b).abs().max() / b.abs().max().clamp_min(1e-3)).item<double>();
}

Tensor leaf(torch::IntArrayRef shape, torch::ScalarType dtype, double scale = 1) {
  return (torch::randn(shape, torch::kFloat64) * scale).to(dtype).set_requires_grad(true);
}

class Ops : public testing::TestWithParam<std::tuple<torch::ScalarType, int64_t, bool>> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
  torch::ScalarType dtype() const { return std::get<0>(GetParam()); }
  int64_t time() const { return std::get<1>(GetParam()); }
  bool gate() const { return std::get<2>(GetParam()); }
  double tolerance() const { return dtype() == torch::kFloat64 ? 1e-10 : 3e-5; }

  ScanTensors scan_inputs() const {
    const int64_t B = 2, D = 21, N = 5;
    ScanTensors in;
    in.u = leaf({B, time(), D}, dtype());
    in.delta = leaf({B, time(), D}, dtype());
    in.A = (-torch::rand({D, N}, torch::kFloat64) * 3).to(dtype()).set_requires_grad(true);
    in.B = leaf({B, time(), N}, dtype());
    in.C = leaf({B, time(), N}, dtype());
    in.D = leaf({D}, dtype());
    if (gate()) in.z = leaf({B, time(), D}, dtype());
    in.delta_bias = leaf({D}, dtype());
    return in;
  }
};

std::vector<Tensor> leaves(const ScanTensors& in) {
  std::vector<Tensor> all{in.u, in.delta, in.A, in.B, in.C, in.D, in.delta_bias};
  if (in.z.defined()) all.push_back(in.z);
  return all;
}

TEST_P(Ops, SelectiveScanAndItsGradientsAreThoseOfTheComposedOne) {
  const ScanTensors in = scan_inputs();
  Tensor state = torch::zeros({2, 21, 5}, dtype());
  const Tensor expected = composed_selective_scan(in, state), actual = selective_scan(in);
  EXPECT_LE(difference(actual, expected), tolerance());
  const Tensor weights = torch::randn_like(actual);
  const auto expected_gradients = torch::autograd::grad({(expected * weights).sum()}, leaves(in));
  const auto actual_gradients = torch::autograd::grad({(actual * weights).sum()}, leaves(in));
  for (size_t i = 0; i < expected_gradients.size(); ++i)
    EXPECT_LE(difference(actual_gradients[i], expected_gradients[i]), tolerance()) << "input " << i;
}

TEST_P(Ops, SelectiveScanTakesViews) {
  ScanTensors in = scan_inputs();
  const Tensor expected = selective_scan(in);
  for (Tensor* tensor : {&in.u, &in.delta, &in.B, &in.C})
    *tensor = torch::cat({*tensor, *tensor}, 2).narrow(2, 0, tensor->size(2));
  in.A = in.A.t().contiguous().t();
  EXPECT_TRUE(torch::equal(selective_scan(in), expected));
}

TEST_P(Ops, SelectiveScanGoesOnFromAState) {
  const ScanTensors in = scan_inputs();
  const Tensor expected = selective_scan(in);
  const Tensor state = torch::zeros({2, 21, 5}, dtype());
  std::vector<Tensor> pieces;
  for (int64_t t = 0; t < time(); t += 3) {
    const int64_t count = std::min<int64_t>(3, time() - t);
    ScanTensors piece = in;
    for (Tensor* tensor : {&piece.u, &piece.delta, &piece.B, &piece.C, &piece.z})
      if (tensor->defined()) *tensor = tensor->narrow(1, t, count);
    pieces.push_back(selective_scan_from(piece, state));
    EXPECT_FALSE(pieces.back().requires_grad());
  }
  EXPECT_LE(difference(torch::cat(pieces, 1), expected), tolerance());
}

TEST_P(Ops, CausalConv1dAndItsGradientsAreThoseOfTheComposedOne) {
  const Tensor x = leaf({2, time(), 21}, dtype()), weight = leaf({21, 4}, dtype()), bias = leaf({21}, dtype());
  const Tensor expected = composed_causal_conv1d(x, weight, bias, torch::zeros({2, 3, 21}, dtype()));
  const Tensor actual = causal_conv1d(x, weight, bias);
  EXPECT_LE(difference(actual, expected), tolerance());
  const Tensor weights = torch::randn_like(actual);
  const auto expected_gradients = torch::autograd::grad({(expected * weights).sum()}, {x, weight, bias});
  const auto actual_gradients = torch::autograd::grad({(actual * weights).sum()}, {x, weight, bias});
  for (size_t i = 0; i < 3; ++i)
    EXPECT_LE(difference(actual_gradients[i], expected_gradients[i]), tolerance()) << "input " << i;
}

TEST_P(Ops, CausalConv1dStepsFromAWindow) {
  const Tensor x = leaf({2, time(), 21}, dtype()), weight = leaf({21, 4}, dtype()), bias = leaf({21}, dtype());
  const Tensor expected = causal_conv1d(x, weight, bias), window = torch::zeros({2, 3, 21}, dtype());
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < time(); ++t) steps.push_back(causal_conv1d_step(x.narrow(1, t, 1), weight, bias, window));
  EXPECT_LE(difference(torch::cat(steps, 1), expected), tolerance());
}

TEST_P(Ops, AStepOfDeltaMinusInfinityLeavesTheStateOfTheScan) {
  ScanTensors in = scan_inputs();
  for (Tensor* tensor : {&in.u, &in.delta, &in.B, &in.C, &in.z})
    if (tensor->defined()) *tensor = tensor->detach();
  const Tensor state = torch::zeros({2, 21, 5}, dtype()), alone = state.clone();
  const Tensor y = selective_scan_from(in, alone);
  const auto padded = [&](const Tensor& tensor, double value) {
    return torch::cat({tensor, torch::full({2, 19, tensor.size(2)}, value, tensor.options())}, 1);
  };
  for (Tensor* tensor : {&in.u, &in.B, &in.C, &in.z})
    if (tensor->defined()) *tensor = padded(*tensor, 3);
  in.delta = padded(in.delta, -std::numeric_limits<double>::infinity());
  EXPECT_LE(difference(selective_scan_from(in, state).narrow(1, 0, time()), y), tolerance());
  EXPECT_LE(difference(state, alone), tolerance());
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Ops,
                         testing::Combine(testing::Values(torch::kFloat32, torch::kFloat64),
                                          testing::Values<int64_t>(1, 2, 17, 50), testing::Bool()),
                         [](const auto& param) {
                           return std::string(torch::toString(std::get<0>(param.param))) + "_T" +
                                  std::to_string(std::get<1>(param.param)) + (std::get<2>(param.param) ? "_gate" : "");
                         });

}  // namespace
}  // namespace recite
