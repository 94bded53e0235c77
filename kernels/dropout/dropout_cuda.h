// Dropout masks on a GPU, the numbers of PhiloxStream (src/base/philox.h): the same bits as on the CPU.
//
//   mask[r,c] = 0 where number c of the stream of row r is below `dropped_below`, else `kept`
//
// Every pointer is device memory. The work is queued on `stream`; nothing waits for it. Throws std::runtime_error when
// CUDA refuses the launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

struct DropoutMask {
  int64_t rows, width;
  uint64_t key;           // of all streams: PhiloxStream::key()
  const uint64_t* names;  // (rows): PhiloxStream::name() of each row's
  uint32_t dropped_below;
  float kept;
};

// mask (rows, width): float or __nv_bfloat16.
template <class Element>
void dropout_mask_cuda(const DropoutMask& of, Element* mask, cudaStream_t stream);

}  // namespace recite::kernels
