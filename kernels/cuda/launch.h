// Starting CUDA kernels, for .cu files.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace recite::kernels {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + " on the GPU failed: " + cudaGetErrorString(error));
}

// Of the current device.
inline int device_attribute(const char* what, cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), what);
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), what);
  return value;
}
inline int multiprocessors(const char* what) { return device_attribute(what, cudaDevAttrMultiProcessorCount); }

template <class... Parameters>
void allow_shared(const char* what, void (*kernel)(Parameters...), size_t shared_bytes) {
  if (shared_bytes > 48 * 1024)  // more than every kernel may have
    check_cuda(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
        what);
}

// Queues a kernel whose blocks have `shared_bytes` of dynamic shared memory.
template <class... Parameters, class... Arguments>
void launch(const char* what, void (*kernel)(Parameters...), dim3 blocks, int threads, size_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  allow_shared(what, kernel, shared_bytes);
  kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...);
  check_cuda(cudaGetLastError(), what);
}

}  // namespace recite::kernels
