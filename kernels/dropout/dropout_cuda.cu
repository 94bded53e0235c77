#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"
#include "kernels/dropout/dropout_cuda.h"

namespace recite::kernels {

namespace {

constexpr int threads = 256;
constexpr int block_numbers = 4;  // of one Philox block: a thread's

// philox4x32 of src/base/philox.h.
__device__ uint4 philox(uint4 counter, uint64_t key) {
  auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xd2511f53u, counter.x), low0 = 0xd2511f53u * counter.x;
    const uint32_t high1 = __umulhi(0xcd9e8d57u, counter.z), low1 = 0xcd9e8d57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ low, low1, high0 ^ counter.w ^ high, low0);
    low += 0x9e3779b9u;
    high += 0xbb67ae85u;
  }
  return counter;
}

// PhiloxStream::name() of (step, layer, row, position).
__device__ uint64_t name_of(uint64_t step, uint64_t layer, uint64_t row, uint64_t position) {
  constexpr uint64_t golden = 0x9e3779b97f4a7c15;
  const auto mixed = [](uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
  };
  const uint64_t parts[] = {step, layer, row, position};
  uint64_t hash = mixed(golden + 4);
#pragma unroll
  for (const uint64_t part : parts) hash = mixed((hash ^ part) + golden);
  return hash;
}

template <class Element>
__global__ void mask_kernel(DropoutMask of, Element* mask) {
  const int64_t blocks = (of.width + block_numbers - 1) / block_numbers;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i >= of.batch * of.time * blocks) return;
  const int64_t row = i / blocks, block = i % blocks;
  const int64_t* place = of.places + row / of.time * 3;
  const uint64_t name = name_of(place[0], of.layer, place[1], place[2] + row % of.time);
  const uint4 drawn = philox(make_uint4(static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                        static_cast<uint32_t>(name), static_cast<uint32_t>(name >> 32)),
                             of.key);
  const uint32_t numbers[block_numbers] = {drawn.x, drawn.y, drawn.z, drawn.w};
#pragma unroll
  for (int k = 0; k < block_numbers; ++k) {
    const int64_t column = block * block_numbers + k;
    if (column < of.width)
      mask[row * of.width + column] = static_cast<Element>(numbers[k] < of.dropped_below ? 0.f : of.kept);
  }
}

}  // namespace

template <class Element>
void dropout_mask_cuda(const DropoutMask& of, Element* mask, cudaStream_t stream) {
  const int64_t blocks = of.batch * of.time * ((of.width + block_numbers - 1) / block_numbers);
  if (blocks == 0) return;
  launch("the dropout mask", mask_kernel<Element>, dim3(static_cast<unsigned>((blocks + threads - 1) / threads)),
         threads, 0, stream, of, mask);
}

template void dropout_mask_cuda(const DropoutMask&, float*, cudaStream_t);
template void dropout_mask_cuda(const DropoutMask&, __nv_bfloat16*, cudaStream_t);

}  // namespace recite::kernels
