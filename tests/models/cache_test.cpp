// Prompts of different lengths, read in one pass with padding, and then a token at a time: the logits are those of each
// row alone in one forward pass.
#include <gtest/gtest.h>

#include "tests/models/reference.h"

namespace recite {
namespace {

using torch::Tensor;

constexpr int64_t vocabulary = 7, time_steps = 23;

class Cache : public testing::TestWithParam<reference::NamedSpec> {
 protected:
  // Row b's first lengths[b] tokens are its prompt. After each step the places `kept(step)` of the batch go on.
  static void expect_forward(Model& model, const std::vector<int64_t>& lengths, double tolerance,
                             const std::function<std::vector<int64_t>(int64_t step)>& kept = {}) {
    const auto rows = static_cast<int64_t>(lengths.size());
    const Tensor tokens = torch::randint(0, vocabulary, {rows, time_steps}, torch::kInt64);
    std::vector<Tensor> expected;
    for (int64_t b = 0; b < rows; ++b) expected.push_back(model.forward(tokens.narrow(0, b, 1), {})[0].detach());
    Tensor length = torch::tensor(lengths), alive = torch::arange(rows);
    const auto cache = model.new_cache(rows, time_steps);
    Tensor logits = model.prefill(tokens.narrow(1, 0, length.max().item<int64_t>()), length, *cache);
    for (int64_t step = 0;; ++step) {
      EXPECT_FALSE(logits.requires_grad());
      ASSERT_EQ(logits.sizes(), torch::IntArrayRef({alive.size(0), expected[0].size(1)}));
      for (int64_t i = 0; i < alive.size(0); ++i) {
        const auto b = alive[i].item<int64_t>(), read = length[i].item<int64_t>();
        EXPECT_LE(reference::difference(logits[i], expected[b][read - 1]), tolerance)
            << "row " << b << " after " << read << " tokens";
      }
      if (kept) {
        const Tensor left = torch::tensor(kept(step));
        cache->keep(left);
        alive = alive.index_select(0, left);
        length = length.index_select(0, left);
      }
      if (length.max().item<int64_t>() == time_steps) return;
      logits = model.step(tokens.index_select(0, alive).gather(1, length.unsqueeze(1)).squeeze(1), *cache);
      length = length + 1;
    }
  }
};

TEST_P(Cache, OneTokenAndThenStepsIsForward) {
  expect_forward(*reference::random_model(GetParam().spec, vocabulary), {1, 1, 1}, 1e-10);
}

TEST_P(Cache, PromptsOfAnyLengthsAndThenStepsIsForward) {
  const auto model = reference::random_model(GetParam().spec, vocabulary);
  expect_forward(*model, {17, 1, 4, 2, 3, 5, 16}, 1e-10);
  expect_forward(*model, {9}, 1e-10);
  expect_forward(*model, {2, time_steps}, 1e-10);
}

TEST_P(Cache, InFloat32TheLogitsAreTheSameToRounding) {
  const auto model = reference::random_model(GetParam().spec, vocabulary, Precision::float32);
  expect_forward(*model, {17, 1, 4, 2, 16}, 1e-5);
}

TEST_P(Cache, InBf16TheyAreNear) {
  const auto model = reference::random_model(GetParam().spec, vocabulary, Precision::bf16);
  expect_forward(*model, {17, 1, 4, 2, 16}, 0.1);
}

TEST_P(Cache, RowsMayLeaveAndChangePlaces) {
  const auto model = reference::random_model(GetParam().spec, vocabulary);
  expect_forward(*model, {8, 1, 12, 3, 6}, 1e-10, [](int64_t step) {
    if (step == 0) return std::vector<int64_t>{4, 0, 2, 3};
    if (step == 5) return std::vector<int64_t>{3, 1};
    return step < 5 ? std::vector<int64_t>{0, 1, 2, 3} : std::vector<int64_t>{0, 1};
  });
}

// What is behind a prompt, and the rows beside it, leave no trace in the cache.
TEST_P(Cache, PaddingIsNotRead) {
  const auto model = reference::random_model(GetParam().spec, vocabulary);
  const Tensor length = torch::tensor({5, 11, 2}), next = torch::tensor({3, 3, 3});
  const Tensor tokens = torch::randint(0, vocabulary, {3, 11}, torch::kInt64);
  const Tensor padding = torch::arange(11).unsqueeze(0) >= length.unsqueeze(1);
  std::vector<Tensor> logits;
  for (const int64_t filler : {0, 6}) {
    const auto cache = model->new_cache(3, 20);
    logits.push_back(model->prefill(tokens.masked_fill(padding, filler), length, *cache));
    logits.push_back(model->step(next, *cache));
    logits.push_back(model->step(next, *cache));
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_LE(reference::difference(logits[i + 3], logits[i]), 1e-14);
}

TEST_P(Cache, HasTheSameBitsOnAnyNumberOfThreads) {
  const auto model = reference::random_model(GetParam().spec, vocabulary, Precision::float32);
  const Tensor tokens = torch::randint(0, vocabulary, {4, 19}, torch::kInt64), length = torch::tensor({19, 1, 7, 12});
  const int threads = at::get_num_threads();
  std::vector<Tensor> runs;
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const auto cache = model->new_cache(4, 21);
    const Tensor first = model->prefill(tokens, length, *cache);
    runs.push_back(torch::stack({first, model->step(first.argmax(1), *cache), model->step(length % 7, *cache)}));
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(torch::equal(runs[1], runs[0]));
  EXPECT_TRUE(torch::equal(runs[2], runs[0]));
}

INSTANTIATE_TEST_SUITE_P(All, Cache, testing::ValuesIn(reference::specs()),
                         [](const auto& spec) { return spec.param.name; });

}  // namespace
}  // namespace recite
