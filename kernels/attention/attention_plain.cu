// Attention without tensor cores, in float32, for any head size up to 256. A block has a tile of its own rows, and goes
// through tiles of columns. A thread has four of the rows: with some of a tile's columns while scores are computed,
// then, by way of shared memory, with some of the dimensions while weighted rows are added. As in
// attention_backward.cu, the backward is two kernels that share no sums.
#include "kernels/attention/attention_plain.h"

#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

namespace {

constexpr int thread_rows = 4, row_threads = 16;  // rows of a thread; threads that share them, half a warp

// For heads of at most `Widest` dimensions.
template <int Widest>
struct PlainTiles {
  static constexpr int rows = Widest <= 128 ? 64 : 32, columns = Widest <= 64 ? 64 : 32;
  static constexpr int threads = rows / thread_rows * row_threads, blocks = Widest <= 128 ? 2 : 1;
  static constexpr int thread_columns = columns / row_threads, thread_pieces = Widest / (4 * row_threads);
  static constexpr int weights_stride = rows + 4;  // of a column's weights
  static constexpr int weights_size = columns * weights_stride;
};

// Rows of float32, an odd number of 16-byte pieces long, so that 8 rows on end lie in different banks.
__host__ __device__ inline int plain_stride(int head) { return ((head + 3) / 4 | 1) * 4; }

__device__ inline float4 four_at(const float* from) { return *reinterpret_cast<const float4*>(from); }

// Over the threads that share a row.
__device__ inline float sum_of_row(float x) {
#pragma unroll
  for (int apart = row_threads / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(~0u, x, apart);
  return x;
}
__device__ inline float largest_of_row(float x) {
#pragma unroll
  for (int apart = row_threads / 2; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, apart));
  return x;
}

// The base-2 score of a query and a key that are `distance` apart, given their product.
__device__ inline float plain_score(float product, float scale, float slope, int distance, int window) {
  return distance < 0 || distance > window ? -INFINITY : product * scale - slope * static_cast<float>(distance);
}

// A thread's view of one head. Of the block's own rows it has four from first_row() on, of a tile's columns each
// column(j), and dimensions dimension(i) .. + 3. No other warp has its rows.
template <class Element, int Widest>
struct PlainHead {
  using Tiles = PlainTiles<Widest>;
  using Weights = float[thread_rows][Tiles::thread_columns];
  using Sums = float[thread_rows][Tiles::thread_pieces][4];

  const AttentionProblem& problem;
  const WorkItem work;
  const int head = problem.head, stride = plain_stride(problem.head);

  __device__ static int first_row() { return threadIdx.x / row_threads * thread_rows; }
  __device__ static int column(int j) { return threadIdx.x % row_threads + j * row_threads; }
  __device__ static int dimension(int i) { return (threadIdx.x % row_threads + i * row_threads) * 4; }

  // The first number of time t in an array (B, T, H, parts, d).
  __device__ int64_t at(int t, int part, int parts) const {
    return (((static_cast<int64_t>(work.batch) * problem.time + t) * problem.heads + work.head) * parts + part) * head;
  }
  // Dimension c of time t, given the one that it is turned with; back with sign -1.
  __device__ float turned(float x, float other, int t, int c, float sign) const {
    const int half = problem.rotary / 2, angle = t * half + c % half;
    return x * problem.cos[angle] + (c < half ? -sign : sign) * other * problem.sin[angle];
  }
  __device__ int turned_with(int c) const {
    return c < problem.rotary / 2 ? c + problem.rotary / 2 : c - problem.rotary / 2;
  }

  // `Rows` rows from time t on to shared memory, with zeros after the last and after each. Queries and keys are turned;
  // what counts twice is doubled in own ones, for of one factor of the products is enough.
  template <int Rows>
  __device__ void load(float* tile, const Element* array, int t, int part, int parts, bool turn, bool own) const {
    constexpr int warps = Tiles::threads / 32, rows = Rows / warps;  // of a warp, whose loads are in flight together
    const int first = threadIdx.x / 32, last = problem.time - 1 - t;
    const Element* const from = array + at(t, part, parts);
    const int row_stride = problem.heads * parts * head;
    const auto number = [&](int i, int c) {  // from a place that exists, without a branch
      const int row = first + i * warps;
      const auto x = static_cast<float>(from[static_cast<int64_t>(min(row, last)) * row_stride + min(c, head - 1)]);
      return row <= last && c < head ? x : 0;
    };
    for (int c = threadIdx.x % 32; c < (head + 3) / 4 * 4; c += 32) {
      float x[rows];
#pragma unroll
      for (int i = 0; i < rows; ++i) x[i] = number(i, c);
      if (turn && c < problem.rotary) {
        float other[rows];
#pragma unroll
        for (int i = 0; i < rows; ++i) other[i] = number(i, turned_with(c));
#pragma unroll
        for (int i = 0; i < rows; ++i) x[i] = turned(x[i], other[i], t + min(first + i * warps, last), c, 1);
      }
#pragma unroll
      for (int i = 0; i < rows; ++i)
        tile[(first + i * warps) * stride + c] = turn && own && c >= problem.twice_from ? 2 * x[i] : x[i];
    }
  }
  __device__ void load_own(float* tile, const Element* array, int t, int part, int parts, bool turn) const {
    load<Tiles::rows>(tile, array, t, part, parts, turn, true);
  }
  __device__ void load_columns(float* tile, const Element* array, int t, int part, int parts, bool turn) const {
    load<Tiles::columns>(tile, array, t, part, parts, turn, false);
  }

  // Of own rows with columns.
  __device__ void products(const float* rows, const float* columns, Weights& to) const {
    for (auto& row : to)
      for (float& x : row) x = 0;
    for (int c = 0; c < head; c += 4) {
      float4 b[Tiles::thread_columns];
#pragma unroll
      for (int j = 0; j < Tiles::thread_columns; ++j) b[j] = four_at(columns + column(j) * stride + c);
#pragma unroll
      for (int r = 0; r < thread_rows; ++r) {
        const float4 a = four_at(rows + (first_row() + r) * stride + c);
#pragma unroll
        for (int j = 0; j < Tiles::thread_columns; ++j) {
          to[r][j] = fmaf(a.x, b[j].x, to[r][j]);
          to[r][j] = fmaf(a.y, b[j].y, to[r][j]);
          to[r][j] = fmaf(a.z, b[j].z, to[r][j]);
          to[r][j] = fmaf(a.w, b[j].w, to[r][j]);
        }
      }
    }
  }

  // sums += weights times the rows of the columns. `shared` (columns, weights_stride) is the warp's own where its rows
  // are.
  __device__ void add(const Weights& weights, float* shared, const float* columns, Sums& sums) const {
    float* const own = shared + first_row();
    __syncwarp();  // the weights before were read until now
#pragma unroll
    for (int j = 0; j < Tiles::thread_columns; ++j)
      *reinterpret_cast<float4*>(own + column(j) * Tiles::weights_stride) =
          make_float4(weights[0][j], weights[1][j], weights[2][j], weights[3][j]);
    __syncwarp();
#pragma unroll 4
    for (int j = 0; j < Tiles::columns; ++j) {
      const float4 of_rows = four_at(own + j * Tiles::weights_stride);
      const float weight[thread_rows] = {of_rows.x, of_rows.y, of_rows.z, of_rows.w};
#pragma unroll
      for (int i = 0; i < Tiles::thread_pieces; ++i) {
        if (dimension(i) >= head) continue;
        const float4 x = four_at(columns + j * stride + dimension(i));
#pragma unroll
        for (int r = 0; r < thread_rows; ++r) {
          sums[r][i][0] += weight[r] * x.x;
          sums[r][i][1] += weight[r] * x.y;
          sums[r][i][2] += weight[r] * x.z;
          sums[r][i][3] += weight[r] * x.w;
        }
      }
    }
  }

  // Calls one(c, number) for the thread's numbers of row r.
  template <class One>
  __device__ void for_numbers(const Sums& sums, int r, const One& one) const {
#pragma unroll
    for (int i = 0; i < Tiles::thread_pieces; ++i)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (const int c = dimension(i) + e; c < head) one(c, sums[r][i][e]);
  }
  // Writes row r, times `factor`.
  __device__ void store(const Sums& sums, int r, float factor, Element* to) const {
    for_numbers(sums, r, [&](int c, float x) { to[c] = Element(x * factor); });
  }
  // Writes gradients of queries or keys, from time t on: scaled, and turned back by way of own rows in shared memory.
  __device__ void store_turned(const Sums& sums, float* rows, int t, int part, Element* to) const {
    float* const own = rows + first_row() * stride;
    __syncwarp();  // the rows were read until now
#pragma unroll
    for (int r = 0; r < thread_rows; ++r)
      for_numbers(sums, r, [&](int c, float x) {
        own[r * stride + c] = x * (c < problem.twice_from ? problem.scale : 2 * problem.scale);
      });
    __syncwarp();
    for (int r = 0; r < thread_rows && t + first_row() + r < problem.time; ++r)
      for (int c = threadIdx.x % row_threads; c < head; c += row_threads) {
        const int time = t + first_row() + r;
        float x = own[r * stride + c];
        if (c < problem.rotary) x = turned(x, own[r * stride + turned_with(c)], time, c, -1);
        to[at(time, part, 3) + c] = Element(x);
      }
  }
};

// What a block does: its own rows, the tiles of columns that they meet, and how a pair of them is scored.
template <int Widest>
struct PlainWork {
  const int window, own, first, last;
  const float scale, slope;

  __device__ PlainWork(const AttentionProblem& problem, const WorkItem& work, bool of_queries)
      : PlainWork(problem, work, of_queries, Band::window(problem, work.head)) {}

 private:
  using Tiles = PlainTiles<Widest>;
  __device__ static int own_of(const AttentionProblem& problem, const WorkItem& work, bool of_queries) {
    return (of_queries ? (problem.time - 1) / Tiles::rows - work.rank : work.rank) * Tiles::rows;
  }
  __device__ PlainWork(const AttentionProblem& problem, const WorkItem& work, bool of_queries, int window_)
      : window(window_),
        own(own_of(problem, work, of_queries)),
        first((of_queries ? Band::of_query(window) : Band::of_key(window)).template first_tile<Tiles::columns>(own)),
        last((of_queries ? Band::of_query(window) : Band::of_key(window))
                 .template last_tile<Tiles::columns>(own, Tiles::rows, problem.time)),
        scale(problem.scale * log2_of_e),
        slope(problem.slope ? problem.slope[work.head] * log2_of_e : 0) {}
};

template <int Widest>
__host__ __device__ int plain_ranks(const AttentionProblem& problem) {
  return (problem.time - 1) / PlainTiles<Widest>::rows + 1;
}

template <class Element, int Widest>
__global__ void __launch_bounds__(PlainTiles<Widest>::threads, PlainTiles<Widest>::blocks)
    plain_forward_kernel(const AttentionProblem problem, const Element* qkv, Element* out, float* log_sum) {
  using Head = PlainHead<Element, Widest>;
  using Tiles = PlainTiles<Widest>;
  extern __shared__ __align__(16) float plain_shared[];
  const Head head{problem, WorkItem(problem, plain_ranks<Widest>(problem))};
  const PlainWork<Widest> work(problem, head.work, true);
  float *const queries = plain_shared, *const keys = queries + Tiles::rows * head.stride,
               *const values = keys + Tiles::columns * head.stride,
               *const shared = values + Tiles::columns * head.stride;
  const int row = work.own + Head::first_row();

  head.load_own(queries, qkv, work.own, 0, 3, true);
  typename Head::Sums sums = {};
  float total[thread_rows] = {}, largest[thread_rows];
  for (float& x : largest) x = -INFINITY;
  for (int tile = work.last - 1; tile >= work.first; --tile) {
    const int t = tile * Tiles::columns;
    __syncthreads();
    head.load_columns(keys, qkv, t, 1, 3, true);
    head.load_columns(values, qkv, t, 2, 3, false);
    __syncthreads();
    typename Head::Weights weights;
    head.products(queries, keys, weights);
#pragma unroll
    for (int r = 0; r < thread_rows; ++r) {
      float top = largest[r];
#pragma unroll
      for (int j = 0; j < Tiles::thread_columns; ++j) {
        const int distance = row + r - (t + Head::column(j));
        weights[r][j] = plain_score(weights[r][j], work.scale, work.slope, distance, work.window);
        top = fmaxf(top, weights[r][j]);
      }
      top = largest_of_row(top);
      const float base = top == -INFINITY ? 0 : top, before = power_of_2(largest[r] - base);
      largest[r] = top;
      total[r] *= before;
#pragma unroll
      for (float& weight : weights[r]) {
        weight = power_of_2(weight - base);
        total[r] += weight;
      }
#pragma unroll
      for (auto& piece : sums[r])
        for (float& x : piece) x *= before;
    }
    head.add(weights, shared, values, sums);
  }
#pragma unroll
  for (int r = 0; r < thread_rows; ++r) {
    total[r] = sum_of_row(total[r]);
    if (row + r >= problem.time) continue;
    head.store(sums, r, 1 / total[r], out + head.at(row + r, 0, 1));
    if (log_sum && threadIdx.x % row_threads == 0)
      log_sum[head.work.row_of_sums(problem) + row + r] = largest[r] + log2f(total[r]);
  }
}

template <class Element, int Widest>
__global__ void __launch_bounds__(PlainTiles<Widest>::threads, PlainTiles<Widest>::blocks)
    plain_query_gradient_kernel(const AttentionProblem problem, const Element* qkv, const Element* out,
                                const float* log_sum, const Element* dout, Element* dqkv, float* delta) {
  using Head = PlainHead<Element, Widest>;
  using Tiles = PlainTiles<Widest>;
  extern __shared__ __align__(16) float plain_shared[];
  const Head head{problem, WorkItem(problem, plain_ranks<Widest>(problem))};
  const PlainWork<Widest> work(problem, head.work, true);
  float *const queries = plain_shared, *const douts = queries + Tiles::rows * head.stride,
               *const keys = douts + Tiles::rows * head.stride, *const values = keys + Tiles::columns * head.stride,
               *const shared = values + Tiles::columns * head.stride;
  const int row = work.own + Head::first_row();

  head.load_own(queries, qkv, work.own, 0, 3, true);
  head.load_own(douts, dout, work.own, 0, 1, false);
  __syncthreads();
  float base[thread_rows] = {}, deltas[thread_rows] = {};
#pragma unroll
  for (int r = 0; r < thread_rows; ++r) {
    const bool inside = row + r < problem.time;
    for (int c = threadIdx.x % row_threads; inside && c < head.head; c += row_threads)
      deltas[r] +=
          douts[(Head::first_row() + r) * head.stride + c] * static_cast<float>(out[head.at(row + r, 0, 1) + c]);
    deltas[r] = sum_of_row(deltas[r]);
    if (!inside) continue;
    base[r] = log_sum[head.work.row_of_sums(problem) + row + r];
    if (threadIdx.x % row_threads == 0) delta[head.work.row_of_sums(problem) + row + r] = deltas[r];
  }
  typename Head::Sums sums = {};
  for (int tile = work.last - 1; tile >= work.first; --tile) {
    const int t = tile * Tiles::columns;
    __syncthreads();
    head.load_columns(keys, qkv, t, 1, 3, true);
    head.load_columns(values, qkv, t, 2, 3, false);
    __syncthreads();
    typename Head::Weights weights, dweights;
    head.products(queries, keys, weights);
    head.products(douts, values, dweights);
#pragma unroll
    for (int r = 0; r < thread_rows; ++r)
#pragma unroll
      for (int j = 0; j < Tiles::thread_columns; ++j) {
        const int distance = row + r - (t + Head::column(j));
        const float score = plain_score(weights[r][j], work.scale, work.slope, distance, work.window);
        weights[r][j] = power_of_2(score - base[r]) * (dweights[r][j] - deltas[r]);
      }
    head.add(weights, shared, keys, sums);
  }
  head.store_turned(sums, queries, work.own, 0, dqkv);
}

template <class Element, int Widest>
__global__ void __launch_bounds__(PlainTiles<Widest>::threads, PlainTiles<Widest>::blocks)
    plain_key_gradient_kernel(const AttentionProblem problem, const Element* qkv, const float* log_sum,
                              const float* delta, const Element* dout, Element* dqkv) {
  using Head = PlainHead<Element, Widest>;
  using Tiles = PlainTiles<Widest>;
  extern __shared__ __align__(16) float plain_shared[];
  const Head head{problem, WorkItem(problem, plain_ranks<Widest>(problem))};
  const PlainWork<Widest> work(problem, head.work, false);
  float *const keys = plain_shared, *const values = keys + Tiles::rows * head.stride,
               *const queries = values + Tiles::rows * head.stride,
               *const douts = queries + Tiles::columns * head.stride,
               *const shared = douts + Tiles::columns * head.stride;
  const int row = work.own + Head::first_row();

  head.load_own(keys, qkv, work.own, 1, 3, true);
  head.load_own(values, qkv, work.own, 2, 3, false);
  typename Head::Sums dkeys = {}, dvalues = {};
  for (int tile = work.first; tile < work.last; ++tile) {
    const int t = tile * Tiles::columns;
    __syncthreads();
    head.load_columns(queries, qkv, t, 0, 3, true);
    head.load_columns(douts, dout, t, 0, 1, false);
    __syncthreads();
    typename Head::Weights weights, dweights;
    head.products(keys, queries, weights);
    head.products(values, douts, dweights);
#pragma unroll
    for (int j = 0; j < Tiles::thread_columns; ++j) {
      const int query = t + Head::column(j);
      const bool inside = query < problem.time;  // else dout and the query are zeros
      const int64_t at = head.work.row_of_sums(problem) + query;
      const float base = inside ? log_sum[at] : 0, delta_of_query = inside ? delta[at] : 0;
#pragma unroll
      for (int r = 0; r < thread_rows; ++r) {
        const float score = plain_score(weights[r][j], work.scale, work.slope, query - (row + r), work.window);
        weights[r][j] = power_of_2(score - base);
        dweights[r][j] = weights[r][j] * (dweights[r][j] - delta_of_query);
      }
    }
    head.add(weights, shared, douts, dvalues);
    head.add(dweights, shared, queries, dkeys);
  }
  head.store_turned(dkeys, keys, work.own, 1, dqkv);
#pragma unroll
  for (int r = 0; r < thread_rows; ++r)
    if (row + r < problem.time) head.store(dvalues, r, 1, dqkv + head.at(row + r, 2, 3));
}

// Of a block with tiles for `own` arrays of own rows and two of columns.
template <int Widest>
size_t plain_shared_bytes(int head, int own) {
  using Tiles = PlainTiles<Widest>;
  const int rows = own * Tiles::rows + 2 * Tiles::columns;
  return (rows * plain_stride(head) + Tiles::weights_size) * sizeof(float);
}

// Calls start(std::integral_constant<int, Widest>()) with the tiles for a head size: smaller ones where the GPU's
// blocks have no room.
template <class Start>
void with_plain_tiles(int head, int own, const Start& start) {
  if (head <= 64) return start(std::integral_constant<int, 64>());
  const auto room = static_cast<size_t>(device_attribute("attention", cudaDevAttrMaxSharedMemoryPerBlockOptin));
  if (head <= 128 && plain_shared_bytes<128>(head, own) <= room) return start(std::integral_constant<int, 128>());
  start(std::integral_constant<int, 256>());
}

template <int Widest, class Kernel, class... Arguments>
void launch_plain(Kernel* kernel, const AttentionProblem& problem, int own, cudaStream_t stream,
                  const Arguments&... arguments) {
  launch_attention(kernel, static_cast<int64_t>(problem.batch) * problem.heads * plain_ranks<Widest>(problem),
                   PlainTiles<Widest>::threads, plain_shared_bytes<Widest>(problem.head, own), stream, problem,
                   arguments...);
}

}  // namespace

template <class Element>
void launch_plain_attention_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                                    cudaStream_t stream) {
  constexpr int own = 1;
  with_plain_tiles(problem.head, own, [&](auto widest) {
    launch_plain<widest()>(plain_forward_kernel<Element, widest()>, problem, own, stream, qkv, out, log_sum);
  });
}

template <class Element>
void launch_plain_attention_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                                     const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                                     cudaStream_t stream) {
  constexpr int own = 2;
  with_plain_tiles(problem.head, own, [&](auto widest) {
    launch_plain<widest()>(plain_query_gradient_kernel<Element, widest()>, problem, own, stream, qkv, out, log_sum,
                           dout, dqkv, delta);
    launch_plain<widest()>(plain_key_gradient_kernel<Element, widest()>, problem, own, stream, qkv, log_sum, delta,
                           dout, dqkv);
  });
}

#define RECITE_INSTANTIATE(Element)                                                                                    \
  template void launch_plain_attention_forward(const AttentionProblem&, const Element*, Element*, float*,              \
                                               cudaStream_t);                                                          \
  template void launch_plain_attention_backward(const AttentionProblem&, const Element*, const Element*, const float*, \
                                                const Element*, Element*, float*, cudaStream_t);
RECITE_INSTANTIATE(__nv_bfloat16)
RECITE_INSTANTIATE(__half)
RECITE_INSTANTIATE(float)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
