// Timing of CUDA kernels as a training step queues them: the host is ahead, so that its launches take no time, and
// inputs take turns, so that none is still in the cache.
//
// A program of benches prints one JSON object a row to stdout (compare_gpu.py reads them), and the
// same as text, beside the rate of a copy in the same run, to stderr. Its argument, if there is one, is a part of the
// text of the rows that are wanted.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
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
  template <class Element>
  Element* copied(const std::vector<Element>& values) {
    Element* pointer = unset<Element>(static_cast<int64_t>(values.size()));
    check_bench(cudaMemcpy(pointer, values.data(), values.size() * sizeof(Element), cudaMemcpyHostToDevice));
    return pointer;
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

// How many sets of inputs, of so many bytes each, are several times what a GPU's cache holds.
inline int64_t turns_of(double bytes) { return std::max<int64_t>(1, std::llround(std::ceil(200e6 / bytes))); }

// Microseconds of run(i), i counting up, so that inputs can take turns: the median of 21, after 5 to warm up.
template <class Run>
double queued_microseconds(const Run& run) {
  constexpr int warm_up = 5, runs = 21;
  cudaEvent_t events[warm_up + runs + 1];
  for (cudaEvent_t& event : events) check_bench(cudaEventCreate(&event));
  for (int i = 0; i < warm_up + runs; ++i) {
    check_bench(cudaEventRecord(events[i]));
    run(i);
  }
  check_bench(cudaEventRecord(events[warm_up + runs]));
  check_bench(cudaDeviceSynchronize());
  std::vector<float> times(runs);
  for (int i = 0; i < runs; ++i)
    check_bench(cudaEventElapsedTime(&times[i], events[warm_up + i], events[warm_up + i + 1]));
  std::sort(times.begin(), times.end());
  for (const cudaEvent_t event : events) cudaEventDestroy(event);
  return 1e3 * times[runs / 2];
}

// As `recite` names a type of numbers.
template <class Element>
constexpr const char* dtype_of() {
  if (std::is_same_v<Element, __nv_bfloat16>) return "bf16";
  return std::is_same_v<Element, __half> ? "float16" : "float32";
}

struct BenchRow {
  const char* operation;         // "attention"
  nlohmann::ordered_json shape;  // {{"B", 64}, {"T", 220}}
  const char* dtype;             // dtype_of<Element>()
  const char* direction;         // "forward", "backward", "step" for what has no backward, or "token"
  double bytes;                  // that one run cannot but read and write
  double flops = 0;              // of one run; 0: not what limits it

  std::string text() const {
    std::string text = std::string(operation) + " " + dtype;
    for (const auto& [name, value] : shape.items())
      text += " " + name + " " + (value.is_string() ? value.get<std::string>() : value.dump());
    return text + ", " + direction;
  }
};

class Bench {
 public:
  Bench(int argc, char** argv) : wanted_(argc > 1 ? argv[1] : "") {
    constexpr int64_t size = int64_t{1} << 30;
    BenchMemory memory;
    char *from = memory.random<char>(size, -100, 100), *to = memory.unset<char>(size);
    const BenchRow copy{"copy", {{"bytes", size}}, "bytes", "step", 2.0 * size};
    const double time =
        queued_microseconds([&](int) { check_bench(cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice)); });
    copied_bytes_per_microsecond_ = copy.bytes / time;
    print(copy, time);
  }

  template <class Run>
  void time(const BenchRow& row, const Run& run) const {
    if (row.text().find(wanted_) != std::string::npos) print(row, queued_microseconds(run));
  }

 private:
  void print(const BenchRow& row, double microseconds) const {
    std::fprintf(stderr, "%-80s %9.1f us %7.0f MB, %.2f of a copy\n", row.text().c_str(), microseconds, row.bytes / 1e6,
                 row.bytes / microseconds / copied_bytes_per_microsecond_);
    const nlohmann::ordered_json line = {
        {"operation", row.operation},   {"shape", row.shape}, {"dtype", row.dtype}, {"direction", row.direction},
        {"microseconds", microseconds}, {"bytes", row.bytes}, {"flops", row.flops}};
    std::puts(line.dump().c_str());
    std::fflush(stdout);
  }

  const std::string wanted_;
  double copied_bytes_per_microsecond_ = 0;
};

}  // namespace recite::kernels
