#include "kernels/product/note_difference.h"

#include "kernels/cuda/launch.h"

namespace recite::kernels {

namespace {

__global__ void compare(const uint32_t* a, const uint32_t* b, int64_t words, int* differs) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += stride)
    if (a[i] != b[i]) *differs = 1;
}

}  // namespace

void note_difference(const uint32_t* a, const uint32_t* b, int64_t words, int* differs, cudaStream_t stream) {
  launch("a comparison", compare, dim3(512), 256, 0, stream, a, b, words, differs);
}

}  // namespace recite::kernels
