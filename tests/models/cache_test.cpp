// Reading with a cache, in pieces of any size, gives what one forward pass gives.
#include <gtest/gtest.h>

#include "tests/models/reference.h"

namespace recite {
namespace {

using torch::Tensor;

class Cache : public testing::TestWithParam<reference::NamedSpec> {
 protected:
  static constexpr int64_t vocabulary = 7, rows = 3, time = 23;

  // Reads the tokens in pieces; after each, the logits must be those of the forward pass at its last token.
  void check_pieces(const std::vector<int64_t>& pieces) {
    const auto model = reference::random_model(GetParam().spec, vocabulary);
    const Tensor tokens = torch::randint(0, vocabulary, {rows, time}, torch::kInt64);
    const Tensor expected = model->forward(tokens, {});
    const auto cache = model->new_cache(rows, time);
    int64_t read = 0;
    for (const int64_t count : pieces) {
      const Tensor logits = model->read(tokens.narrow(1, read, count), *cache);
      read += count;
      EXPECT_FALSE(logits.requires_grad());
      ASSERT_EQ(logits.sizes(), torch::IntArrayRef({rows, expected.size(2)}));
      EXPECT_LE(reference::difference(logits, expected.select(1, read - 1)), 1e-10) << "after " << read << " tokens";
    }
    ASSERT_EQ(read, time);
  }
};

TEST_P(Cache, StepByStepIsForward) { check_pieces(std::vector<int64_t>(time, 1)); }
TEST_P(Cache, PromptThenStepsIsForward) { check_pieces({17, 1, 1, 1, 1, 1, 1}); }
TEST_P(Cache, PiecesOfAnySizeAreForward) { check_pieces({1, 2, 9, 1, 10}); }

INSTANTIATE_TEST_SUITE_P(All, Cache, testing::ValuesIn(reference::specs()),
                         [](const auto& spec) { return spec.param.name; });

}  // namespace
}  // namespace recite
