#include "base/philox.h"

#include <cmath>
#include <numbers>

namespace recite {

namespace {

// A bijection of 64 bits in which each input bit changes half of the output bits (the finalizer of splitmix64).
constexpr uint64_t mixed(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  x *= 0x94d049bb133111eb;
  x ^= x >> 31;
  return x;
}

constexpr uint64_t golden = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio: keeps mixed() away from its fixed point 0

// Depends on every part, on their order and on their number.
uint64_t hash_of(std::initializer_list<uint64_t> parts) {
  uint64_t hash = mixed(golden + parts.size());
  for (const uint64_t part : parts) hash = mixed((hash ^ part) + golden);
  return hash;
}

constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr int rounds = 10;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t product0 = uint64_t{0xd2511f53} * counter[0];
    const uint64_t product1 = uint64_t{0xcd9e8d57} * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
               low(product0)};
    key[0] += 0x9e3779b9;
    key[1] += 0xbb67ae85;
  }
  return counter;
}

PhiloxStream::PhiloxStream(Purpose purpose, uint64_t seed, std::initializer_list<uint64_t> name) {
  const uint64_t key = hash_of({static_cast<uint64_t>(purpose), seed});
  const uint64_t name_hash = hash_of(name);
  key_ = {low(key), high(key)};
  name_ = {low(name_hash), high(name_hash)};
}

uint32_t PhiloxStream::next() {
  if (used_ == 4) {
    buffer_ = philox4x32({low(block_), high(block_), name_[0], name_[1]}, key_);
    ++block_;
    used_ = 0;
  }
  return buffer_[used_++];
}

uint32_t PhiloxStream::below(uint32_t bound) {
  uint64_t product = uint64_t{next()} * bound;
  if (low(product) < bound) {
    // 2^32 mod bound low halves are one too many: those products are drawn again (Lemire, ACM TOMACS 29, 2019).
    const uint32_t excess = -bound % bound;
    while (low(product) < excess) product = uint64_t{next()} * bound;
  }
  return high(product);
}

double PhiloxStream::uniform() {
  const uint64_t upper = next() >> 5;  // 27 bits
  const uint64_t lower = next() >> 6;  // 26 bits
  return static_cast<double>(upper << 26 | lower) * 0x1p-53;
}

double PhiloxStream::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));  // 1 - u is never 0
  return radius * std::cos(2 * std::numbers::pi * uniform());
}

}  // namespace recite
