// Byte-pair encoding: the bytes of a piece as tokens, which are merged in pairs, the pair of the lowest rank first and,
// among equals, the leftmost.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace recite {

// What a pair of tokens becomes, and how early. Open addressing: two thirds of the time of encoding is spent here.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = none;
    int32_t token = 0;
  };
  static constexpr uint32_t none = UINT32_MAX;  // the rank of a pair that does not merge

  explicit MergeTable(size_t merges);

  // A pair given again replaces what it was.
  void set(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t pair = UINT64_MAX;
    Merge merge;
  };
  size_t slot_of(uint64_t pair) const;

  int shift_ = 0;
  std::vector<Slot> slots_;  // a power of two of them, at most half of them used
};

// Safe to use from several threads at once.
class BytePairs {
 public:
  // tokens[byte] is the token of a single byte, -1 where there is none: such bytes are left out of what is encoded.
  BytePairs(const std::array<int32_t, 256>& tokens, MergeTable merges);

  // Pieces that are one token as a whole, found without merging. `bytes` must be what encode() makes `token` of, unless
  // the merges are to be ignored for it.
  void add_whole(const std::string& bytes, int32_t token);

  // Appends the tokens of a piece. Time: n log n of its bytes.
  void encode(std::string_view piece, std::vector<int32_t>& tokens) const;

  // The same by merges alone.
  void merge(std::string_view piece, std::vector<int32_t>& tokens) const;

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  void merge_short(int32_t* symbols, size_t count, std::vector<int32_t>& tokens) const;
  void merge_long(const std::vector<int32_t>& symbols, std::vector<int32_t>& tokens) const;

  std::array<int32_t, 256> byte_tokens_;
  MergeTable merges_;
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> whole_;
};

}  // namespace recite
