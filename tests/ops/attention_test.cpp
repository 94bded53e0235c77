// Attention on the CPU runs the kernel; the same function written with LibTorch's operations, and LibTorch's autograd,
// are what it is compared with here, every element of the gradient.
#include "ops/attention.h"

#include <gtest/gtest.h>

#include <string>
#include <tuple>

namespace recite {
namespace {

using torch::Tensor;

constexpr int64_t batch = 2, time_steps = 37, heads = 3, head = 16;

double difference(const Tensor& a, const Tensor& b) { return ((a - b).abs().max() / b.abs().max()).item<double>(); }

AttentionPlaces places_of(const std::string& kind, torch::ScalarType dtype) {
  AttentionPlaces places;
  if (kind == "rope") {
    const Tensor angle =
        torch::outer(torch::arange(time_steps, torch::kFloat64), torch::tensor({1.0, 0.01}, torch::kFloat64));
    places.cos = angle.cos().to(dtype);
    places.sin = angle.sin().to(dtype);
  }
  if (kind == "alibi") places.slope = torch::tensor({0.5, 0.25, 0.125}, torch::kFloat64).to(dtype);
  if (kind == "hard_alibi") places.window = torch::tensor({int64_t{0}, int64_t{4}, INT64_MAX}, torch::kInt64);
  if (kind == "twice") places.twice_from = 4;
  return places;
}

class AttentionOp : public testing::TestWithParam<std::tuple<torch::ScalarType, std::string>> {
 protected:
  torch::ScalarType dtype() const { return std::get<0>(GetParam()); }
  const std::string& kind() const { return std::get<1>(GetParam()); }
  torch::ScalarType places_dtype() const { return dtype() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32; }
  double tolerance() const { return dtype() == torch::kFloat64 ? 1e-12 : dtype() == torch::kFloat32 ? 2e-5 : 1e-2; }
};

TEST_P(AttentionOp, AndItsGradientAreThoseOfTheComposedOne) {
  torch::manual_seed(7);
  const Tensor qkv =
      torch::randn({batch, time_steps, heads, 3, head}, torch::kFloat64).to(dtype()).set_requires_grad(true);
  // Composed in the precision of sums, of the same elements.
  const Tensor exact_qkv = qkv.detach().to(places_dtype()).set_requires_grad(true);
  const AttentionPlaces places = places_of(kind(), places_dtype());
  const Tensor expected = composed_causal_attention(exact_qkv, places), actual = causal_attention(qkv, places);
  EXPECT_EQ(actual.scalar_type(), dtype());
  EXPECT_LE(difference(actual.to(places_dtype()), expected), tolerance());
  const Tensor weights = torch::randn_like(actual);
  const Tensor expected_gradient =
      torch::autograd::grad({(expected * weights.to(places_dtype())).sum()}, {exact_qkv})[0];
  const Tensor gradient = torch::autograd::grad({(actual * weights).sum()}, {qkv})[0];
  EXPECT_LE(difference(gradient.to(places_dtype()), expected_gradient), tolerance());
}

// A bias that was added to qkv as a constant has the gradient that it would have if the addition gave it, whether qkv
// has one or not.
TEST_P(AttentionOp, GivesTheGradientOfABiasOfQkv) {
  torch::manual_seed(7);
  const Tensor rows = torch::randn({batch, time_steps, heads * 3 * head}, torch::kFloat64).to(dtype());
  const Tensor bias = torch::randn({heads * 3 * head}, torch::kFloat64).to(places_dtype()).set_requires_grad(true);
  const AttentionPlaces places = places_of(kind(), places_dtype());
  const Tensor qkv = (rows + bias.detach()).to(dtype()).view({batch, time_steps, heads, 3, head});
  const Tensor weights = torch::randn({batch, time_steps, heads * head}, places_dtype());
  const auto gradient = [&](const Tensor& out) {
    return torch::autograd::grad({(out.to(places_dtype()) * weights).sum()}, {bias})[0];
  };
  const Tensor added = rows.to(places_dtype()) + (qkv.view_as(rows) - rows).to(places_dtype()) + (bias - bias.detach());
  const Tensor expected = gradient(composed_causal_attention(added.view(qkv.sizes()), places));
  // The sums are over numbers that were rounded, and that are greater than they.
  const double tolerance_of_sums = 2 * tolerance();
  for (const bool frozen : {false, true}) {
    const Tensor given = gradient(causal_attention(qkv.detach().requires_grad_(!frozen), places, bias));
    EXPECT_EQ(given.scalar_type(), places_dtype());
    EXPECT_LE(difference(given, expected), tolerance_of_sums);
  }
  const Tensor exact = qkv.to(places_dtype());
  EXPECT_LE(difference(gradient(composed_causal_attention(exact, places, bias)), expected), tolerance());
}

TEST_P(AttentionOp, WithoutGradientIsTheSame) {
  torch::manual_seed(7);
  const Tensor qkv = torch::randn({batch, time_steps, heads, 3, head}, dtype());
  const AttentionPlaces places = places_of(kind(), places_dtype());
  const Tensor with = causal_attention(qkv.detach().requires_grad_(true), places),
               without = causal_attention(qkv, places);
  EXPECT_TRUE(torch::equal(with, without));
  EXPECT_FALSE(without.requires_grad());
}

// Rows of several lengths: a prompt each, read at once with padding behind it, then one token after the other.
TEST_P(AttentionOp, PromptsAndStepsOverACacheAreThatOfWholeRows) {
  torch::manual_seed(7);
  const std::vector<int64_t> prompts{5, 1, 12};
  const auto rows = static_cast<int64_t>(prompts.size());
  const Tensor qkv = torch::randn({rows, time_steps, heads, 3, head}, torch::kFloat64).to(dtype());
  AttentionPlaces places = places_of(kind(), places_dtype());
  const Tensor expected = composed_causal_attention(qkv.to(places_dtype()), places);
  AttentionPlaces of_prompts = places;
  for (Tensor* angles : {&of_prompts.cos, &of_prompts.sin})
    if (angles->defined()) *angles = angles->narrow(0, 0, 12);
  for (const auto step : {attention_step, composed_attention_step}) {
    const bool composed = step == composed_attention_step;
    if (composed && dtype() == torch::kBFloat16) continue;  // is for elements that no kernel takes
    const AttentionCache cache = AttentionCache::make(rows, heads, time_steps, head, qkv.options());
    keep_prompts(qkv.narrow(1, 0, 12), of_prompts, cache);
    Tensor length = torch::tensor(prompts).to(torch::kInt32);
    while (length.max().item<int32_t>() < time_steps) {
      std::vector<Tensor> tokens, wanted;
      for (int64_t b = 0; b < rows; ++b) {
        tokens.push_back(qkv[b][length[b].item<int32_t>()]);
        wanted.push_back(expected[b][length[b].item<int32_t>()]);
      }
      const Tensor out = step(torch::stack(tokens), places, length, cache);
      EXPECT_EQ(out.scalar_type(), dtype());
      EXPECT_LE(difference(out.to(places_dtype()), torch::stack(wanted)), tolerance()) << length;
      length.add_(1);
    }
  }
}

TEST(AttentionStep, RefusesAPlaceThatTheCacheHasNotGot) {
  const AttentionCache cache = AttentionCache::make(1, 2, 3, 4, torch::kFloat32);
  EXPECT_THROW(attention_step(torch::zeros({1, 2, 3, 4}), {}, torch::full({1}, 3, torch::kInt32), cache), c10::Error);
}

TEST(AttentionOfFloat16, IsNearFloat32OnTheCpu) {
  torch::manual_seed(7);
  const Tensor qkv = torch::randn({batch, time_steps, heads, 3, head}).to(torch::kFloat16);
  const AttentionPlaces places = places_of("rope", torch::kFloat32);
  const Tensor whole = causal_attention(qkv, places), exact = causal_attention(qkv.to(torch::kFloat32), places);
  EXPECT_EQ(whole.scalar_type(), torch::kFloat16);
  EXPECT_LE(difference(whole.to(torch::kFloat32), exact), 1e-3);
  const AttentionCache cache = AttentionCache::make(batch, heads, time_steps, head, qkv.options());
  for (int t = 0; t < time_steps; ++t) {
    const Tensor step = attention_step(qkv.select(1, t), places, torch::full({batch}, t, torch::kInt32), cache);
    EXPECT_EQ(step.scalar_type(), torch::kFloat16);
    EXPECT_LE(difference(step.to(torch::kFloat32), exact.select(1, t)), 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(Everywhere, AttentionOp,
                         testing::Combine(testing::Values(torch::kFloat32, torch::kFloat64, torch::kBFloat16),
                                          testing::Values("nope", "rope", "alibi", "hard_alibi", "twice")),
                         [](const auto& param) {
                           return std::string(torch::toString(std::get<0>(param.param))) + "_" +
                                  std::get<1>(param.param);
                         });

}  // namespace
}  // namespace recite
