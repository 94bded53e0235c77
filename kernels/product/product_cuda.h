// Matrix products on a GPU, by cuBLASLt with algorithms of our choice.
//
//   C = op(A) op(B) + bias + addend, in bf16        or        C = op(A) op(B), or C += op(A) op(B), in float32
//
// Matrices lie by rows, each row `stride` elements after the one before. Sums are float32.
//
// cuBLASLt offers several algorithms for a product, and its own first choice is often not the fastest. Those that give
// the SAME BITS as the first choice can be timed, and a clearly faster one be kept (fastest.h): what comes out does not
// depend on which it is, so that two runs agree.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

struct ProductShape {
  int64_t rows, columns, inner;  // C (rows, columns); op(A) (rows, inner); op(B) (inner, columns)
  bool a_transposed = false;     // A lies as (inner, rows)
  bool b_transposed = false;     // B lies as (columns, inner)
  int64_t a_stride, b_stride, c_stride;
};

// Queued on `stream`; the device is the current one. Safe to call from several threads, but work of one
// device's products, and graphs that hold it, share memory: they must not run at the same time. Throw
// std::invalid_argument for an empty shape, std::runtime_error when CUDA or cuBLASLt refuses.
struct ProductInputs {
  const __nv_bfloat16 *a, *b;
  const __nv_bfloat16* bias = nullptr;    // (columns), or null
  const __nv_bfloat16* addend = nullptr;  // lies as C does, and may be C; or null
};
void product_cuda(const ProductShape& shape, const ProductInputs& in, __nv_bfloat16* c, cudaStream_t stream);
// `adds`: to what C holds, which counts for nothing without.
void product_cuda(const ProductShape& shape, const __nv_bfloat16* a, const __nv_bfloat16* b, float* c, bool adds,
                  cudaStream_t stream);

// Of a graph that was captured with products, on the current device, before it is instantiated: some clear a counter
// before they begin (product_counters.h), which it then does for all of them at once, at its begin. Throws
// std::runtime_error when CUDA refuses.
void clear_product_counters_at_once(cudaGraph_t graph);

// While one lives, products of shapes that were not timed yet are, in any thread, when they are met (which waits for
// the device, and takes memory for two results); but for products on a stream that is being captured.
class ProductTiming {
 public:
  ProductTiming();
  ~ProductTiming();
  ProductTiming(const ProductTiming&) = delete;
  ProductTiming& operator=(const ProductTiming&) = delete;
};

}  // namespace recite::kernels
