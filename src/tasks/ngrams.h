// Searches for the n-grams of a string: its windows of n letters at the starts 0..L-n, overlaps included.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/philox.h"
#include "tasks/alphabet.h"

namespace recite {

using Letters = std::span<const Token>;

// The starts <= last_start, ascending, whose n-gram occurs once in the whole string. Needs 1 <= n <= L. Time O(L) for
// n <= 12 and random letters.
std::vector<int> unique_starts(Letters string, int n, int last_start);

// Start of the first occurrence of an n-gram that does occur.
int first_occurrence(Letters string, Letters ngram);

struct NgramPair {
  std::vector<Token> first;
  std::vector<Token> second;
};

// Two different n-grams: the first at a uniform start, the second at a start uniform among those that hold another one.
// None when the string has only one n-gram.
std::optional<NgramPair> draw_different_ngrams(Letters string, int n, PhiloxStream& random);

// Replaces every occurrence of `from` by `to` (of the same length), left to right: an occurrence that overlaps the one
// replaced before it stays.
void replace_ngram(std::span<Token> string, Letters from, Letters to);

}  // namespace recite
