#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

// Sets *differs (device memory) to 1 where two arrays of 4-byte words are not equal; else it is left as it was.
void note_difference(const uint32_t* a, const uint32_t* b, int64_t words, int* differs, cudaStream_t stream);

}  // namespace recite::kernels
