// Dropout masks on a GPU, the numbers of PhiloxStream (src/base/philox.h): the same bits as on the CPU.
//
//   mask[b,t,c] = 0 where number c of the stream of row b, time t is below `dropped_below`, else `kept`
//
// That stream is named (step, layer, row, position + t), where (step, row, position) = places[b].
//
// Every pointer is device memory. The work is queued on `stream`; nothing waits for it. Throws std::runtime_error when
// CUDA refuses the launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

struct DropoutMask {
  int64_t batch, time, width;
  uint64_t key;  // of all streams: PhiloxStream::key()
  uint64_t layer;
  const int64_t* places;  // (batch, 3)
  uint32_t dropped_below;
  float kept;
};

// mask (batch, time, width): float or __nv_bfloat16.
template <class Element>
void dropout_mask_cuda(const DropoutMask& of, Element* mask, cudaStream_t stream);

}  // namespace recite::kernels
