// Small kernels one after the other: each is launched while the one before it on the stream still runs, and waits for
// it where it first needs what that wrote (programmatic dependent launch, since sm_90; before that they follow each
// other as others do).
//
// A kernel started by launch_overlapping() calls await_previous(), in every thread that goes on, before it touches
// memory. What follows may begin once all blocks called let_next_begin() or ended, so that it is called first: who
// follows waits for the end of this kernel.
//
// Parameters may be read before await_previous(): no kernel that calls let_next_begin() writes one, and a kernel that
// does not call it has ended before the next begins. Memory is far when a kernel begins, and this is when reading it
// costs nothing.
#pragma once

#include "kernels/cuda/launch.h"

namespace recite::kernels {

__device__ inline void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ inline void await_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Brings near, before await_previous(), what may still be written: it is not read, and changes there, too.
__device__ inline void fetch_ahead(const void* from) { asm volatile("prefetch.global.L2 [%0];" ::"l"(from)); }

// Whether a kernel's code has those instructions: code of an older version may run on a newer GPU.
template <class... Parameters>
bool can_overlap(const char* what, void (*kernel)(Parameters...)) {
  constexpr int first_version = 90;
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), what);
  return attributes.ptxVersion >= first_version;
}

// As launch().
template <class... Parameters, class... Arguments>
void launch_overlapping(const char* what, void (*kernel)(Parameters...), dim3 blocks, int threads, size_t shared_bytes,
                        cudaStream_t stream, const Arguments&... arguments) {
  if (!can_overlap(what, kernel)) return launch(what, kernel, blocks, threads, shared_bytes, stream, arguments...);
  allow_shared(what, kernel, shared_bytes);
  cudaLaunchAttribute overlapping{};
  overlapping.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlapping.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlapping;
  config.numAttrs = 1;
  check_cuda(cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...), what);
}

}  // namespace recite::kernels
