#include "tasks/ngrams.h"

#include <algorithm>
#include <bit>
#include <cstdint>

namespace recite {

namespace {

constexpr int letter_bits = 5;
constexpr int code_letters = 64 / letter_bits;

// For each start, the first min(n, 12) letters of its n-gram as one number.
std::vector<uint64_t> ngram_codes(Letters string, int n) {
  const int letters = std::min(n, code_letters);
  const uint64_t mask = (uint64_t{1} << (letter_bits * letters)) - 1;
  std::vector<uint64_t> codes(string.size() - n + 1);
  uint64_t code = 0;
  for (int i = 0; i < letters - 1; ++i) code = code << letter_bits | string[i];
  for (size_t start = 0; start < codes.size(); ++start) {
    code = (code << letter_bits | string[start + letters - 1]) & mask;
    codes[start] = code;
  }
  return codes;
}

// For each start, whether its n-gram occurs at another start too. Open addressing in a table at most half full.
std::vector<bool> repeated_starts(Letters string, int n) {
  const std::vector<uint64_t> codes = ngram_codes(string, n);
  const int rest = std::max(n - code_letters, 0);
  const auto equal = [&](int a, int b) {
    if (codes[a] != codes[b]) return false;
    const Letters rest_a = string.subspan(a + n - rest, rest);
    return std::equal(rest_a.begin(), rest_a.end(), string.begin() + b + n - rest);
  };
  const int bits = std::bit_width(2 * codes.size() - 1);
  std::vector<int> table(size_t{1} << bits, -1);
  std::vector<bool> repeated(codes.size());
  for (int start = 0; start < static_cast<int>(codes.size()); ++start) {
    size_t slot = codes[start] * 0x9e3779b97f4a7c15 >> (64 - bits);
    while (table[slot] >= 0 && !equal(table[slot], start)) slot = (slot + 1) & (table.size() - 1);
    if (table[slot] < 0) {
      table[slot] = start;
    } else {
      repeated[table[slot]] = repeated[start] = true;
    }
  }
  return repeated;
}

}  // namespace

std::vector<int> unique_starts(Letters string, int n, int last_start) {
  const std::vector<bool> repeated = repeated_starts(string, n);
  std::vector<int> starts;
  starts.reserve(last_start + 1);
  for (int start = 0; start <= last_start; ++start) {
    if (!repeated[start]) starts.push_back(start);
  }
  return starts;
}

int first_occurrence(Letters string, Letters ngram) {
  return static_cast<int>(std::search(string.begin(), string.end(), ngram.begin(), ngram.end()) - string.begin());
}

std::optional<NgramPair> draw_different_ngrams(Letters string, int n, PhiloxStream& random) {
  const int starts = static_cast<int>(string.size()) - n + 1;
  const Letters first = string.subspan(random.below(starts), n);
  std::vector<int> others;
  for (int start = 0; start < starts; ++start) {
    if (!std::ranges::equal(first, string.subspan(start, n))) others.push_back(start);
  }
  if (others.empty()) return std::nullopt;
  const Letters second = string.subspan(others[random.below(static_cast<uint32_t>(others.size()))], n);
  return NgramPair{{first.begin(), first.end()}, {second.begin(), second.end()}};
}

void replace_ngram(std::span<Token> string, Letters from, Letters to) {
  auto at = std::search(string.begin(), string.end(), from.begin(), from.end());
  while (at != string.end()) {
    at = std::copy(to.begin(), to.end(), at);
    at = std::search(at, string.end(), from.begin(), from.end());
  }
}

}  // namespace recite
