#include "jobs/task_limits.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

TaskSpec spec(TaskKind kind, int n_gram = 0, int length_answer = 0, NgramKey key = NgramKey::unique) {
  return {.kind = kind, .n_gram = n_gram, .length_answer = length_answer, .ngram_key = key};
}

TEST(TaskLimits, ShortestString) {
  EXPECT_EQ(min_length(spec(TaskKind::copy)), 1);
  EXPECT_EQ(min_length(spec(TaskKind::copy, 3, 9)), 1);
  EXPECT_EQ(min_length(spec(TaskKind::prefix_ngram, 2)), 3);
  EXPECT_EQ(min_length(spec(TaskKind::prefix_ngram, 2, 1)), 3);
  EXPECT_EQ(min_length(spec(TaskKind::suffix_ngram, 2, 5)), 7);
  EXPECT_EQ(min_length(spec(TaskKind::suffix_ngram, 2, 0, NgramKey::any)), 5);
  EXPECT_EQ(min_length(spec(TaskKind::prefix_ngram, 2, 5, NgramKey::any)), 10);
  EXPECT_EQ(min_length(spec(TaskKind::duplicate_ngram, 4)), 5);
}

TEST(TaskLimits, LongestExample) {
  EXPECT_EQ(max_tokens(spec(TaskKind::copy), 20), 2 * 20 + 3);        // $s|s.
  EXPECT_EQ(max_tokens(spec(TaskKind::copy, 0, 5), 20), 20 + 5 + 3);  // $s|a.
  EXPECT_EQ(max_tokens(spec(TaskKind::copy, 0, 50), 20), 2 * 20 + 3);
  EXPECT_EQ(max_tokens(spec(TaskKind::duplicate_ngram, 4), 20), 2 * 20 + 3);
  EXPECT_EQ(max_tokens(spec(TaskKind::prefix_ngram, 2), 20), 2 + 20 + 18 + 4);  // $g|s|a.
  EXPECT_EQ(max_tokens(spec(TaskKind::prefix_ngram, 2, 5), 20), 2 + 20 + 5 + 4);
  EXPECT_EQ(max_tokens(spec(TaskKind::suffix_ngram, 3), 20), 20 + 3 + 17 + 3);  // $s|ga.
  EXPECT_EQ(max_tokens(spec(TaskKind::suffix_ngram, 3, 1), 20), 20 + 3 + 1 + 3);
}

TEST(TaskLimits, WhoUsesAnNgram) {
  EXPECT_FALSE(uses_n_gram(TaskKind::copy));
  EXPECT_TRUE(uses_n_gram(TaskKind::duplicate_ngram));
  EXPECT_TRUE(is_lookup(TaskKind::prefix_ngram) && is_lookup(TaskKind::suffix_ngram));
  EXPECT_FALSE(is_lookup(TaskKind::copy) || is_lookup(TaskKind::duplicate_ngram));
}

}  // namespace
}  // namespace recite
