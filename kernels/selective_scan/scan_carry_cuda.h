// States at the cuts of time, for scans whose chunks run at once.
#pragma once

#include "kernels/selective_scan/scan_cuda.cuh"

namespace recite::kernels {

// Numbers of a workspace of (B, chunks, D, N rounded up) carries, then (B, chunks, D) sums of delta'. None for one
// chunk.
inline int64_t scan_carry_floats(const ScanShape& shape, ScanChunks chunks) {
  return chunks.count == 1 ? 0 : shape.batch * chunks.count * shape.channels * (padded_state(shape.state) + 1);
}

template <class Number>
Number* scan_carry_sums(const ScanShape& shape, ScanChunks chunks, Number* carries) {
  return carries + shape.batch * chunks.count * shape.channels * padded_state(shape.state);
}

// From what each chunk adds to a zero carry, and its sum of delta', both where the next chunk's carry goes, the
// carries: the state before each chunk, or, in reverse, the gradient of the state after it. The first to be taken gets
// zeros.
template <bool Reverse, class Element>
void add_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries, cudaStream_t stream);

// Carries of the gradient.
template <class Element>
void scan_gradient_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries,
                           cudaStream_t stream);

}  // namespace recite::kernels
