// Gradients of what takes or adds rows, on a GPU: of rows taken once, of an embedding, of a bias. Where two runs are to
// give the same bits LibTorch sorts the numbers of rows first, in dozens of launches.
//
// Every pointer is device memory, matrices are contiguous. The work is queued on `stream`; nothing waits for it. Two
// runs give the same bits: sums are float32, in an order that depends on the sizes alone. Throws std::invalid_argument
// for what is not supported, std::runtime_error when CUDA refuses a launch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace recite::kernels {

// to (rows, width) = 0, but for to[at[m]] = from[m], m < count. from (count, width); `at` (count): 0 <= at[m] < rows,
// none twice. Element is float or __nv_bfloat16.
struct RowsPut {
  int64_t rows, width, count;
};
template <class Element>
void put_rows_cuda(const RowsPut& shape, const int64_t* at, const Element* from, Element* to, cudaStream_t stream);

// to[v] = the sum of gradient[m] over the m < count with tokens[m] = v. gradient (count, width), to (vocabulary, width)
// float32. A token that is not in the vocabulary counts nowhere.
struct EmbeddingShape {
  int64_t count, vocabulary, width;
};
constexpr int64_t largest_embedding_vocabulary = 64;  // a block keeps sums for each token
int64_t embedding_gradient_workspace_bytes(const EmbeddingShape& shape);
template <class Element>
void embedding_gradient_cuda(const EmbeddingShape& shape, const int64_t* tokens, const Element* gradient, float* to,
                             void* workspace, cudaStream_t stream);

// to[c] = the sum of column c of a matrix (rows, columns), whose rows are `stride` apart. Columns and stride are
// multiples of 8; the matrix and the workspace begin at a multiple of 16 bytes.
struct ColumnSumsShape {
  int64_t rows, columns, stride;
};
int64_t column_sums_workspace_bytes(const ColumnSumsShape& shape);
void column_sums_cuda(const ColumnSumsShape& shape, const __nv_bfloat16* matrix, float* to, void* workspace,
                      cudaStream_t stream);

}  // namespace recite::kernels
