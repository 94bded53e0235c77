#include "tokenizer/byte_pairs.h"

#include <algorithm>
#include <bit>
#include <queue>
#include <utility>

#include "base/error.h"

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

// A list of symbols linked both ways, and a heap of the pairs that merge: rank above place, so that the smallest one
// comes first. Each rank is of one pair alone; a symbol whose pair has another rank by now shows that an entry is
// outdated.
void BytePairs::merge_long(const std::vector<int32_t>& symbols, std::vector<int32_t>& tokens) const {
  struct Node {
    int32_t token;
    uint32_t before, after;
    MergeTable::Merge merge;  // with the next one
  };
  constexpr uint32_t nowhere = UINT32_MAX;
  if (symbols.size() >= nowhere) throw Error("a piece of 4 GiB of text without a break cannot be tokenized");
  std::vector<Node> nodes(symbols.size());
  const auto pair_up = [&](uint32_t at) {
    Node& node = nodes[at];
    node.merge = {};
    if (node.after != nowhere) node.merge = merges_.find(node.token, nodes[node.after].token);
    return node.merge.rank != MergeTable::none;
  };
  const auto entry = [&](uint32_t at) { return static_cast<uint64_t>(nodes[at].merge.rank) << 32 | at; };

  const auto count = static_cast<uint32_t>(symbols.size());
  for (uint32_t i = 0; i < count; ++i) nodes[i] = {symbols[i], i - 1, i + 1 < count ? i + 1 : nowhere, {}};
  std::vector<uint64_t> first;
  for (uint32_t i = 0; i < count; ++i) {
    if (pair_up(i)) first.push_back(entry(i));
  }
  std::priority_queue heap(std::greater<>{}, std::move(first));
  while (!heap.empty()) {
    const uint64_t best = heap.top();
    heap.pop();
    const auto at = static_cast<uint32_t>(best);
    Node& node = nodes[at];
    if (entry(at) != best) continue;
    node.token = node.merge.token;
    nodes[node.after].merge = {};
    node.after = nodes[node.after].after;
    if (node.after != nowhere) nodes[node.after].before = at;
    if (pair_up(at)) heap.push(entry(at));
    if (node.before != nowhere && pair_up(node.before)) heap.push(entry(node.before));
  }
  for (uint32_t at = count > 0 ? 0 : nowhere; at != nowhere; at = nodes[at].after) tokens.push_back(nodes[at].token);
}

}  // namespace recite
