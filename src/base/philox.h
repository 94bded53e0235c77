// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A stream is named by numbers, not kept as state: any worker that names the same stream draws the same numbers, on any
// number of ranks and after any restart.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>

namespace recite {

// One block of Philox4x32-10: four 32-bit outputs for a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// What a stream is for: the first part of its name, so that no two uses ever share numbers.
enum class Purpose : uint64_t {
  training_string = 1,
  evaluation_string = 2,
  initial_weight = 3,
  dropout_mask = 4,
  sample = 5,
  prompt = 6
};

// The stream (purpose, seed, name...): 2^64 blocks of 4 numbers. The name is hashed to the upper half of the counter,
// the purpose and the seed to the key.
class PhiloxStream {
 public:
  PhiloxStream(Purpose purpose, uint64_t seed, std::initializer_list<uint64_t> name);

  uint32_t next();                 // uniform in 0..2^32-1
  uint32_t below(uint32_t bound);  // uniform in 0..bound-1 without bias (Lemire's rejection); bound > 0
  double uniform();                // uniform in [0, 1), 53 bits
  double normal();                 // N(0, 1), Box-Muller, one value for two uniforms

  // Half of what the blocks of this stream are made from, for who draws them elsewhere: block i is
  // philox4x32({i, i >> 32, name, name >> 32}, {key, key >> 32}).
  uint64_t key() const { return key_[0] | uint64_t{key_[1]} << 32; }

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 2> name_;
  uint64_t block_ = 0;
  std::array<uint32_t, 4> buffer_{};
  int used_ = 4;
};

}  // namespace recite
