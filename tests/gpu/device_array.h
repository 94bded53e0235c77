// Arrays on the GPU for tests and benchmarks of kernels, and numbers as the kernels see them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace recite::kernels {

inline void require_cuda(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

// Its elements are NaN (of integers: -1) until they are written.
template <class Element>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    require_cuda(cudaMalloc(&data_, size * sizeof(Element) + 1));
    require_cuda(cudaMemset(data_, 0xff, size * sizeof(Element)));
  }
  template <class Number>
  explicit DeviceArray(const std::vector<Number>& from) : DeviceArray(from.size()) {
    std::vector<Element> elements(from.size());
    for (size_t i = 0; i < from.size(); ++i) elements[i] = static_cast<Element>(from[i]);
    require_cuda(cudaMemcpy(data_, elements.data(), size_ * sizeof(Element), cudaMemcpyHostToDevice));
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  Element* data() const { return data_; }
  size_t size() const { return size_; }
  Element* data_or_null() const { return size_ ? data_ : nullptr; }
  std::vector<Element> elements() const {
    std::vector<Element> to(size_);
    require_cuda(cudaMemcpy(to.data(), data_, size_ * sizeof(Element), cudaMemcpyDeviceToHost));
    return to;
  }
  std::vector<double> numbers() const {
    std::vector<double> to;
    for (const Element x : elements()) to.push_back(static_cast<double>(static_cast<float>(x)));
    return to;
  }

 private:
  Element* data_ = nullptr;
  size_t size_;
};

// Numbers rounded to Element.
template <class Element>
std::vector<double> rounded(std::vector<double> numbers) {
  for (double& x : numbers) x = static_cast<double>(static_cast<float>(static_cast<Element>(x)));
  return numbers;
}

// ||a - b|| / ||b||; infinite where something is not finite.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  const double error = std::sqrt(difference / (norm > 0 ? norm : 1));
  return a.size() == b.size() && std::isfinite(error) ? error : INFINITY;
}

}  // namespace recite::kernels
