// Arrays on the GPU for the tests of CUDA kernels: rounded to the element's type, poisoned with NaN, parts of wider
// rows.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cuda/rows.h"
#include "tests/kernels/arrays.h"

namespace recite::kernels {

#define ASSERT_CUDA(call) ASSERT_EQ(call, cudaSuccess) << cudaGetErrorString(cudaGetLastError())

template <class Element>
Element element_of(double value) {
  if constexpr (sizeof(Element) == 2)
    return __float2bfloat16(static_cast<float>(value));
  else
    return static_cast<Element>(value);
}
template <class Element>
double number_of(Element element) {
  return static_cast<double>(static_cast<float>(element));
}

// What Element makes of the numbers.
template <class Element>
Array rounded(Array array) {
  for (double& value : array) value = number_of(element_of<Element>(value));
  return array;
}

template <class Element>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<Element>& values) : size_(values.size()) {
    if (size_ == 0) return;
    EXPECT_EQ(cudaMalloc(reinterpret_cast<void**>(&data_), size_ * sizeof(Element)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), size_ * sizeof(Element), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  Element* data() const { return data_; }  // null when empty
  std::vector<Element> values() const {
    std::vector<Element> values(size_);
    if (size_ != 0)
      EXPECT_EQ(cudaMemcpy(values.data(), data_, size_ * sizeof(Element), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  size_t size_;
  Element* data_ = nullptr;
};

template <class Element>
std::vector<Element> poison(size_t size) {
  return std::vector<Element>(size, element_of<Element>(NAN));
}

enum class Layout { contiguous, aligned_part, odd_part };

// Rows of `width` numbers that lie in wider ones as `layout` says; what lies between them is NaN.
template <class Element>
class DeviceRowsArray {
 public:
  DeviceRowsArray(const Array& numbers, int64_t rows, int64_t width, Layout layout)
      : rows_(numbers.empty() ? 0 : rows),
        width_(width),
        first_(layout == Layout::contiguous     ? 0
               : layout == Layout::aligned_part ? 8
                                                : 1),
        stride_(layout == Layout::contiguous     ? width
                : layout == Layout::aligned_part ? (width / 8 + 3) * 8
                                                 : width + 3),
        array_(spread(numbers)) {}

  Rows<Element> rows() const { return {rows_ ? array_.data() + first_ : nullptr, stride_}; }
  Rows<const Element> inputs() const { return {rows().data, stride_}; }
  Array numbers() const {
    const std::vector<Element> values = array_.values();
    Array numbers;
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t i = 0; i < width_; ++i) numbers.push_back(number_of(values[row * stride_ + first_ + i]));
    return numbers;
  }
  // Nothing was written between the rows.
  bool gaps_are_kept() const {
    const std::vector<Element> values = array_.values();
    for (int64_t i = 0; i < static_cast<int64_t>(values.size()); ++i) {
      const int64_t column = i % stride_ - first_;
      if ((column < 0 || column >= width_) && !std::isnan(number_of(values[i]))) return false;
    }
    return true;
  }

 private:
  std::vector<Element> spread(const Array& numbers) const {
    std::vector<Element> values = poison<Element>(rows_ * stride_);
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t i = 0; i < width_; ++i)
        values[row * stride_ + first_ + i] = element_of<Element>(numbers[row * width_ + i]);
    return values;
  }

  const int64_t rows_, width_, first_, stride_;
  const DeviceArray<Element> array_;
};

// ||got - expected|| / ||expected||, whose least is 0.01; NaN where a number is.
inline double relative_error(const Array& got, const Array& expected) {
  if (got.size() != expected.size()) return NAN;
  double far = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    far += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(far / std::max(norm, 1e-4));
}

}  // namespace recite::kernels
