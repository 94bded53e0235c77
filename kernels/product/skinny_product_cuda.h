// Products of few rows with a weight on a GPU, as a step of generation makes them: what takes their time is reading the
// weight, once.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace recite::kernels {

// y (rows, columns) = x (rows, inner) times the transpose of weight (columns, inner), plus bias (columns), which may be
// null. With gelu_bias (columns) it is GELU of that, rounded to Element, plus gelu_bias (kernels/gelu/gelu.h). weight
// is contiguous; rows of x and y lie their stride apart. Element is __nv_bfloat16 or __half; sums are float32. A row of
// y has the same bits whatever the other rows are, and however many.
//
// All of it is device memory; x and weight begin at multiples of 16 bytes. The weight is a parameter for
// cuda/overlap.cuh.
struct SkinnyProductShape {
  int64_t rows;                // 1 .. most_skinny_rows
  int64_t columns;             // of y
  int64_t inner;               // a multiple of 8
  int64_t x_stride, y_stride;  // x's a multiple of 8
};
constexpr int64_t most_skinny_rows = 8;  // cuBLAS is faster with more
// Whether it is supported, of matrices that begin there.
bool takes_skinny_product(const SkinnyProductShape& shape, const void* x, const void* weight);
template <class Element>
struct SkinnyProduct {
  SkinnyProductShape shape;
  const Element *x, *weight;
  const Element* bias = nullptr;
  const float* gelu_bias = nullptr;
  Element* y;
};

// One or two products, neither of which reads the other's y, by one kernel, in which the second's weight is read
// without a pause after the first's. Each has the bits that it has alone. Queued on `stream`. Throws
// std::invalid_argument for what is not supported, std::runtime_error when CUDA refuses the launch.
template <class Element>
void skinny_products_cuda(const std::vector<SkinnyProduct<Element>>& products, cudaStream_t stream);

}  // namespace recite::kernels
