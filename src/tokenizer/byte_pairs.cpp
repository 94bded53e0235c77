#include "tokenizer/byte_pairs.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

namespace recite {

namespace {

// Up to so many bytes a scan for the lowest rank beats a heap.
constexpr size_t longest_short = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(size_t merges) : slots_(std::bit_ceil(2 * merges + 2)) {
  shift_ = 64 - std::countr_zero(slots_.size());
}

// Where the pair is, or the free slot where it would be.
size_t MergeTable::slot_of(uint64_t pair) const {
  size_t slot = (pair * 0x9E3779B97F4A7C15) >> shift_;
  while (slots_[slot].pair != pair && slots_[slot].merge.rank != none) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::set(int32_t left, int32_t right, Merge merge) {
  const uint64_t pair = pair_of(left, right);
  slots_[slot_of(pair)] = {pair, merge};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  return slots_[slot_of(pair_of(left, right))].merge;
}

BytePairs::BytePairs(const std::array<int32_t, 256>& tokens, MergeTable merges)
    : byte_tokens_(tokens), merges_(std::move(merges)) {}

void BytePairs::add_whole(const std::string& bytes, int32_t token) { whole_.insert_or_assign(bytes, token); }

void BytePairs::encode(std::string_view piece, std::vector<int32_t>& tokens) const {
  const auto found = whole_.find(piece);
  if (found != whole_.end()) {
    tokens.push_back(found->second);
  } else {
    merge(piece, tokens);
  }
}

void BytePairs::merge(std::string_view piece, std::vector<int32_t>& tokens) const {
  const auto token_of = [&](char byte) { return byte_tokens_[static_cast<unsigned char>(byte)]; };
  if (piece.size() > longest_short) {
    std::vector<int32_t> symbols;
    symbols.reserve(piece.size());
    for (const char byte : piece) {
      if (token_of(byte) >= 0) symbols.push_back(token_of(byte));
    }
    return merge_long(symbols, tokens);
  }
  std::array<int32_t, longest_short> symbols;
  size_t count = 0;
  for (const char byte : piece) {
    if (token_of(byte) >= 0) symbols[count++] = token_of(byte);
  }
  merge_short(symbols.data(), count, tokens);
}

void BytePairs::merge_short(int32_t* symbols, size_t count, std::vector<int32_t>& tokens) const {
  std::array<MergeTable::Merge, longest_short> merges;  // of symbols i and i + 1
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == MergeTable::none) break;
    symbols[best] = merges[best].token;
    --count;
    std::copy(symbols + best + 2, symbols + count + 1, symbols + best + 1);
    if (best + 1 < count) {
      std::copy(merges.begin() + best + 2, merges.begin() + count, merges.begin() + best + 1);
      merges[best] = merges_.find(symbols[best], symbols[best + 1]);
    }
    if (best > 0) merges[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
  }
  tokens.insert(tokens.end(), symbols, symbols + count);
}

// A list of symbols linked both ways, and a heap of the pairs that merge; entries that have become untrue are skipped.
void BytePairs::merge_long(const std::vector<int32_t>& symbols, std::vector<int32_t>& tokens) const {
  struct Node {
    int32_t token;
    size_t before, after;
  };
  struct Candidate {
    uint32_t rank;
    size_t at;
    int32_t left, right, merged;
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
  };
  constexpr size_t nowhere = SIZE_MAX;
  std::vector<Node> nodes(symbols.size());
  for (size_t i = 0; i < nodes.size(); ++i) nodes[i] = {symbols[i], i - 1, i + 1 < nodes.size() ? i + 1 : nowhere};

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  const auto consider = [&](size_t at) {
    if (at == nowhere || nodes[at].after == nowhere) return;
    const int32_t left = nodes[at].token, right = nodes[nodes[at].after].token;
    const MergeTable::Merge merge = merges_.find(left, right);
    if (merge.rank != MergeTable::none) heap.push({merge.rank, at, left, right, merge.token});
  };
  for (size_t i = 0; i < nodes.size(); ++i) consider(i);
  while (!heap.empty()) {
    const Candidate best = heap.top();
    heap.pop();
    Node& node = nodes[best.at];
    if (node.token != best.left || node.after == nowhere || nodes[node.after].token != best.right) continue;
    Node& gone = nodes[node.after];
    node.token = best.merged;
    node.after = gone.after;
    gone.token = -1;
    if (node.after != nowhere) nodes[node.after].before = best.at;
    consider(node.before);
    consider(best.at);
  }
  for (size_t at = nodes.empty() ? nowhere : 0; at != nowhere; at = nodes[at].after) tokens.push_back(nodes[at].token);
}

}  // namespace recite
