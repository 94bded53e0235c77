// Checking what attention on the GPU is asked for, and starting its kernels, for .cu files.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "kernels/attention/attention.h"
#include "kernels/cuda/launch.h"

namespace recite::kernels {

constexpr int64_t largest_attention_head = 256;

inline void require(bool condition, const std::string& what) {
  if (!condition) throw std::invalid_argument("attention on the GPU: " + what);
}

template <class... Pointers>
void require_aligned(const Pointers*... arrays) {
  require(((reinterpret_cast<uintptr_t>(arrays) % 16 == 0) && ...), "arrays must begin at a multiple of 16 bytes");
}

inline void require_supported(int64_t batch, int64_t heads, int64_t head, const AttentionPosition<float>& position) {
  require(batch > 0 && heads > 0, "batch and heads must be positive");
  require(head > 0 && head <= largest_attention_head,
          "head size " + std::to_string(head) + " is not in 1 .. " + std::to_string(largest_attention_head));
  require(position.rotary >= 0 && position.rotary % 2 == 0 && position.rotary <= head,
          "rotated dimensions (" + std::to_string(position.rotary) + ") must be even and at most the head size");
  require(position.rotary == 0 || (position.cos && position.sin), "a rotation needs cosines and sines");
  require(position.twice_from >= position.rotary, "dimensions that count twice must not be rotated");
}

// Queues blocks x threads of a kernel whose blocks have `shared_bytes` of dynamic shared memory.
template <class... Parameters, class... Arguments>
void launch_attention(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared_bytes,
                      cudaStream_t stream, Arguments... arguments) {
  launch("attention", kernel, dim3(static_cast<unsigned>(blocks)), threads, shared_bytes, stream, arguments...);
}

}  // namespace recite::kernels
