// States at the cuts of time, for scans whose chunks run at once.
#pragma once

#include "kernels/selective_scan/scan_cuda.cuh"

namespace recite::kernels {

// Numbers of a workspace of (B, chunks, D, N rounded up) carries, then (B, chunks, D) sums of delta'. None for one
// chunk.
inline int64_t scan_carry_floats(const ScanShape& shape, ScanChunks chunks) {
  return chunks.count == 1 ? 0 : shape.batch * chunks.count * shape.channels * (padded_state(shape.state) + 1);
}

// Forward: the state before each chunk. Reverse: the gradient of the state after each chunk.
template <class Element, bool Reverse>
void scan_carries(const ScanShape& shape, const ScanArguments<Element>& in, float* carries, cudaStream_t stream);

}  // namespace recite::kernels
