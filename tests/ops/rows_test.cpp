// The operations on rows, on the CPU by the kernels, against the same written with LibTorch's operations.
#include <gtest/gtest.h>

#include "ops/bias_gelu.h"
#include "ops/embed.h"
#include "ops/residual_norm.h"
#include "ops/take_rows.h"

namespace recite {
namespace {

using torch::Tensor;

double difference(const Tensor& a, const Tensor& b) {
  return ((a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max() / b.abs().max().clamp_min(1e-3)).item<double>();
}

class Rows : public testing::TestWithParam<torch::ScalarType> {
 protected:
  void SetUp() override { torch::manual_seed(7); }
  torch::ScalarType element() const { return GetParam(); }
  torch::ScalarType stream() const { return element() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32; }
  double tolerance() const { return element() == torch::kFloat64 ? 1e-12 : element() == torch::kFloat32 ? 1e-5 : 1e-2; }
  static Tensor leaf(torch::IntArrayRef shape, torch::ScalarType dtype) {
    return torch::randn(shape, torch::kFloat64).to(dtype).set_requires_grad(true);
  }
  void expect_same_gradients(const Tensor& actual, const Tensor& expected, const std::vector<Tensor>& inputs) const {
    const auto of_actual = torch::autograd::grad({actual}, inputs),
               of_expected = torch::autograd::grad({expected}, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_EQ(of_actual[i].scalar_type(), inputs[i].scalar_type()) << i;
      EXPECT_LE(difference(of_actual[i], of_expected[i]), tolerance()) << i;
    }
  }
};

TEST_P(Rows, BiasGeluIsTheComposedOne) {
  const Tensor u = leaf({3, 5, 33}, element()), bias = leaf({33}, stream());
  const Tensor actual = bias_gelu(u, bias), expected = composed_bias_gelu(u, bias);
  EXPECT_EQ(actual.scalar_type(), element());
  EXPECT_LE(difference(actual, expected), tolerance());
  const Tensor weights = torch::randn_like(actual);
  expect_same_gradients((actual * weights).sum(), (expected * weights).sum(), {u, bias});
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(bias_gelu(u, bias), actual));
}

// A parallel residual: two norms of what two branches were added to; and its stream, read or not.
TEST_P(Rows, ResidualLayerNormsAreTheComposedOnes) {
  for (const bool stream_is_read : {true, false}) {
    const ResidualInputs in{
        leaf({3, 5, 33}, stream()), {leaf({3, 5, 33}, element()), leaf({3, 5, 33}, element())}, leaf({33}, stream())};
    const std::vector<NormWeights> norms{{leaf({33}, stream()), leaf({33}, stream())},
                                         {leaf({33}, stream()), leaf({33}, stream())}};
    std::vector<Tensor> weights;
    const auto loss = [&](const Residual& out) {
      Tensor sum = stream_is_read ? (out.stream * torch::linspace(-1, 1, 33)).sum() : torch::zeros({}, stream());
      for (const Tensor& y : out.norms) sum = sum + (y * torch::linspace(1, -2, 33)).sum();
      return sum;
    };
    const Residual actual = residual_norm(in, norms, 1e-5, element()),
                   expected = composed_residual_norm(in, norms, 1e-5, element());
    ASSERT_EQ(actual.norms.size(), 2);
    EXPECT_LE(difference(actual.stream, expected.stream), tolerance());
    for (const int i : {0, 1}) EXPECT_LE(difference(actual.norms[i], expected.norms[i]), tolerance());
    expect_same_gradients(loss(actual), loss(expected),
                          {in.stream, in.branches[0], in.branches[1], in.bias, norms[0].weight, norms[0].offset,
                           norms[1].weight, norms[1].offset});
  }
}

TEST_P(Rows, ResidualRmsNormIsTheComposedOne) {
  const ResidualInputs in{leaf({7, 16}, stream()), {leaf({7, 16}, element())}, {}};
  const std::vector<NormWeights> norms{{leaf({16}, stream()), {}}};
  const Residual actual = residual_norm(in, norms, 1e-5, element()),
                 expected = composed_residual_norm(in, norms, 1e-5, element());
  EXPECT_EQ(actual.norms[0].scalar_type(), element());
  EXPECT_LE(difference(actual.norms[0], expected.norms[0]), tolerance());
  const Tensor weights = torch::randn_like(actual.norms[0]);
  expect_same_gradients((actual.norms[0] * weights).sum(), (expected.norms[0] * weights).sum(),
                        {in.stream, in.branches[0], norms[0].weight});
}

TEST_P(Rows, TakenRowsGetTheGradientAndOthersNone) {
  const Tensor x = leaf({2, 3, 4}, element()), at = torch::tensor({4, 0, 5});
  const Tensor y = take_rows(x, at);
  EXPECT_TRUE(torch::equal(y, x.flatten(0, 1).index_select(0, at)));
  const Tensor dy = torch::randn_like(y);
  const Tensor dx = torch::autograd::grad({y}, {x}, {dy})[0].flatten(0, 1);
  EXPECT_TRUE(torch::equal(dx.index_select(0, at), dy));
  EXPECT_EQ(dx.index_select(0, torch::tensor({1, 2, 3})).abs().max().item<double>(), 0);
}

TEST_P(Rows, EmbeddedTokensSumTheirGradients) {
  const Tensor weight = leaf({5, 4}, element()), tokens = torch::tensor({{4, 0, 4}, {1, 4, 0}});
  const Tensor y = embed(weight, tokens);
  EXPECT_TRUE(torch::equal(y, torch::embedding(weight, tokens)));
  const Tensor dy = torch::randn_like(y), chosen = torch::one_hot(tokens.flatten(), 5).to(element());
  const Tensor expected = torch::matmul(chosen.t(), dy.flatten(0, 1));
  EXPECT_LE(difference(torch::autograd::grad({y}, {weight}, {dy})[0], expected), tolerance());
}

INSTANTIATE_TEST_SUITE_P(Everywhere, Rows, testing::Values(torch::kFloat32, torch::kFloat64, torch::kBFloat16),
                         [](const auto& type) { return std::string(torch::toString(type.param)); });

}  // namespace
}  // namespace recite
