#include "kernels/rows/rows_cuda.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/launch.h"

namespace recite::kernels {

namespace {

constexpr int threads = 256;

template <class Element, int Size>
__global__ __launch_bounds__(threads) void put_rows(const int64_t* at, const Element* from, Element* to,
                                                    int64_t width) {
  const int64_t m = blockIdx.x;
  using Moved = Pack<Element, Size>;
  const auto* row = reinterpret_cast<const Moved*>(from + m * width);
  auto* place = reinterpret_cast<Moved*>(to + at[m] * width);
  for (int64_t i = threadIdx.x; i < width / Size; i += threads) place[i] = row[i];
}

// How rows are shared among blocks.
struct Shares {
  int64_t rows, count;  // of each, and how many

  // At least `least` rows for each, and of many rows as many as give this number of shares.
  Shares(int64_t all, int64_t least, int64_t most)
      : rows(std::max(least, (all + most - 1) / most)), count((all + rows - 1) / rows) {}
};
Shares shares_of(const EmbeddingShape& shape) { return {shape.count, 128, 64}; }
Shares shares_of(const ColumnSumsShape& shape) { return {shape.rows, 32, 256}; }

constexpr int token_pack = 4, token_threads = 128;

// Each thread has a pack of neighbouring columns, of which it keeps sums for each token. Rows are read some at a time.
template <class Element, int Size>
__global__ __launch_bounds__(token_threads) void add_rows_of_tokens(const EmbeddingShape shape, int64_t share_rows,
                                                                    const int64_t* tokens, const Element* gradient,
                                                                    float* shares) {
  using Columns = Pack<Element, Size>;
  using Sums = Pack<float, Size>;
  extern __shared__ float4 memory[];
  Sums* sums = reinterpret_cast<Sums*>(memory) + threadIdx.x;  // (vocabulary, threads)
  constexpr int ahead = 8;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * token_threads + threadIdx.x) * Size;
  if (column >= shape.width) return;
  for (int64_t v = 0; v < shape.vocabulary; ++v) sums[v * token_threads] = {};
  const int64_t begin = blockIdx.y * share_rows, end = min(begin + share_rows, shape.count);
  for (int64_t first = begin; first < end; first += ahead) {
    int64_t token[ahead];
    Columns row[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      const int64_t m = first + k;
      token[k] = m < end ? tokens[m] : -1;
      row[k] = m < end ? *reinterpret_cast<const Columns*>(gradient + m * shape.width + column) : Columns{};
    }
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      if (token[k] < 0 || token[k] >= shape.vocabulary) continue;
      Sums& of_token = sums[token[k] * token_threads];
      Sums added = of_token;
#pragma unroll
      for (int i = 0; i < Size; ++i) added.values[i] += to_float(row[k].values[i]);
      of_token = added;
    }
  }
  float* share = shares + blockIdx.y * shape.vocabulary * shape.width + column;
  for (int64_t v = 0; v < shape.vocabulary; ++v)
    *reinterpret_cast<Sums*>(share + v * shape.width) = sums[v * token_threads];
}

constexpr int column_pack = 8, column_threads = 128;

// A thread has a pack of neighbouring columns, a block a long stretch of its share's rows.
__global__ __launch_bounds__(column_threads) void add_rows(const ColumnSumsShape shape, int64_t share_rows,
                                                           const __nv_bfloat16* matrix, float* shares) {
  using Columns = Pack<__nv_bfloat16, column_pack>;
  constexpr int ahead = 8;
  let_next_begin();
  await_previous();
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * column_threads + threadIdx.x) * column_pack;
  if (column >= shape.columns) return;
  const int64_t begin = blockIdx.y * share_rows, end = min(begin + share_rows, shape.rows);
  float sums[column_pack] = {};
  for (int64_t first = begin; first < end; first += ahead) {
    Columns loaded[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      loaded[k] =
          first + k < end ? *reinterpret_cast<const Columns*>(matrix + (first + k) * shape.stride + column) : Columns{};
#pragma unroll
    for (const Columns& of_row : loaded)
#pragma unroll
      for (int i = 0; i < column_pack; ++i) sums[i] += to_float(of_row.values[i]);
  }
  store_pack(sums, shares + blockIdx.y * shape.columns, static_cast<int>(column), static_cast<int>(shape.columns));
}

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(std::string("rows on the GPU: ") + what);
}

}  // namespace

template <class Element>
void put_rows_cuda(const RowsPut& shape, const int64_t* at, const Element* from, Element* to, cudaStream_t stream) {
  constexpr const char* what = "putting rows";
  require(shape.rows >= 0 && shape.count >= 0 && shape.count < INT32_MAX && shape.width >= 0,
          "a negative or too large size");
  check_cuda(cudaMemsetAsync(to, 0, shape.rows * shape.width * sizeof(Element), stream), what);
  if (shape.count == 0 || shape.width == 0) return;
  constexpr int size = 16 / sizeof(Element);
  const bool packs = shape.width % size == 0 && hold_packs<size>(from, to);
  launch(what, packs ? put_rows<Element, size> : put_rows<Element, 1>, dim3(static_cast<unsigned>(shape.count)),
         threads, 0, stream, at, from, to, shape.width);
}

int64_t embedding_gradient_workspace_bytes(const EmbeddingShape& shape) {
  return shares_of(shape).count * shape.vocabulary * shape.width * static_cast<int64_t>(sizeof(float));
}

template <class Element>
void embedding_gradient_cuda(const EmbeddingShape& shape, const int64_t* tokens, const Element* gradient, float* to,
                             void* workspace, cudaStream_t stream) {
  constexpr const char* what = "an embedding's gradient";
  require(shape.count > 0 && shape.width > 0, "no tokens, or a width of 0");
  require(shape.vocabulary > 0 && shape.vocabulary <= largest_embedding_vocabulary, "a vocabulary beyond the largest");
  require(shape.vocabulary * shape.width < INT32_MAX, "an embedding that is too large");
  auto* to_add = static_cast<float*>(workspace);
  const Shares shares = shares_of(shape);
  const auto columns = [](int size) { return int64_t{token_threads} * size; };
  const auto shared_bytes = [&](int size) { return shape.vocabulary * columns(size) * int64_t{sizeof(float)}; };
  const bool packs = shape.width % token_pack == 0 && hold_packs<token_pack>(gradient, to_add) &&
                     shared_bytes(token_pack) <= device_attribute(what, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int size = packs ? token_pack : 1;
  const int64_t block_columns = columns(size);
  const dim3 blocks(static_cast<unsigned>((shape.width + block_columns - 1) / block_columns),
                    static_cast<unsigned>(shares.count));
  launch(what, packs ? add_rows_of_tokens<Element, token_pack> : add_rows_of_tokens<Element, 1>, blocks, token_threads,
         shared_bytes(size), stream, shape, shares.rows, tokens, gradient, to_add);
  add_all_shares<1>(what, to_add, shares.count, shape.vocabulary * shape.width, {{to}}, stream);
}

int64_t column_sums_workspace_bytes(const ColumnSumsShape& shape) {
  return shares_of(shape).count * shape.columns * static_cast<int64_t>(sizeof(float));
}

void column_sums_cuda(const ColumnSumsShape& shape, const __nv_bfloat16* matrix, float* to, void* workspace,
                      cudaStream_t stream) {
  constexpr const char* what = "the sums of columns";
  require(shape.rows > 0 && shape.columns > 0 && shape.columns < INT32_MAX, "an empty or too large matrix");
  require(shape.columns % column_pack == 0 && shape.stride % column_pack == 0 && hold_packs<column_pack>(matrix),
          "columns, or the rows' begins, that are not multiples of 16 bytes");
  auto* to_add = static_cast<float*>(workspace);
  const Shares shares = shares_of(shape);
  constexpr int64_t block_columns = column_threads * column_pack;
  const dim3 blocks(static_cast<unsigned>((shape.columns + block_columns - 1) / block_columns),
                    static_cast<unsigned>(shares.count));
  launch_overlapping(what, add_rows, blocks, column_threads, 0, stream, shape, shares.rows, matrix, to_add);
  add_all_shares<1>(what, to_add, shares.count, shape.columns, {{to}}, stream);
}

#define RECITE_INSTANTIATE(Element)                                                                           \
  template void put_rows_cuda(const RowsPut&, const int64_t*, const Element*, Element*, cudaStream_t);        \
  template void embedding_gradient_cuda(const EmbeddingShape&, const int64_t*, const Element*, float*, void*, \
                                        cudaStream_t);
RECITE_INSTANTIATE(float)
RECITE_INSTANTIATE(__nv_bfloat16)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
