// Timing of CUDA kernels: medians of events, beside a copy on the device in the same run.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace recite::kernels {

inline void check_bench(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// Memory for one shape, given back together.
class BenchMemory {
 public:
  BenchMemory() = default;
  ~BenchMemory() {
    for (void* pointer : pointers_) cudaFree(pointer);
  }
  BenchMemory(const BenchMemory&) = delete;
  BenchMemory& operator=(const BenchMemory&) = delete;

  template <class Element>
  Element* unset(int64_t size) {
    void* pointer = nullptr;
    check_bench(cudaMalloc(&pointer, size * sizeof(Element)));
    pointers_.push_back(pointer);
    return static_cast<Element*>(pointer);
  }
  // Uniform numbers, a block of 2^20 of them over and over.
  template <class Element>
  Element* random(int64_t size, float low, float high) {
    Element* pointer = unset<Element>(size);
    std::mt19937 random(static_cast<unsigned>(size));
    std::uniform_real_distribution<float> uniform(low, high);
    std::vector<Element> block(std::min<int64_t>(size, 1 << 20));
    for (Element& value : block) value = static_cast<Element>(uniform(random));
    for (int64_t begin = 0; begin < size; begin += static_cast<int64_t>(block.size()))
      check_bench(cudaMemcpy(pointer + begin, block.data(),
                             std::min<int64_t>(size - begin, static_cast<int64_t>(block.size())) * sizeof(Element),
                             cudaMemcpyHostToDevice));
    return pointer;
  }

 private:
  std::vector<void*> pointers_;
};

// Microseconds of run(i), i counting up, so that small inputs can take turns: the median of 21, after 5 to warm up.
template <class Run>
double microseconds(const Run& run) {
  cudaEvent_t begin, end;
  check_bench(cudaEventCreate(&begin));
  check_bench(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 26; ++i) {
    check_bench(cudaEventRecord(begin));
    run(i);
    check_bench(cudaEventRecord(end));
    check_bench(cudaEventSynchronize(end));
    float milliseconds = 0;
    check_bench(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 5) times.push_back(milliseconds);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return 1e3 * times[times.size() / 2];
}

// Bytes read and written in a microsecond by a copy of 1 GiB.
inline double copied_bytes_per_microsecond() {
  constexpr int64_t size = int64_t{1} << 30;
  BenchMemory memory;
  char *from = memory.random<char>(size, -100, 100), *to = memory.unset<char>(size);
  return 2.0 * size /
         microseconds([&](int) { check_bench(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice)); });
}

}  // namespace recite::kernels
