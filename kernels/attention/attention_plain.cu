// Attention without tensor cores, in float32, for any head size up to 256. A block has 32 rows of its own, 4 for each
// warp, and goes through tiles of 32 columns: a lane has a column while scores are computed, then dimensions while rows
// are added. As in attention_backward.cu, the backward is two kernels that share no sums.
#include "kernels/attention/attention_plain.h"

#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_work.cuh"

namespace recite::kernels {

namespace {

constexpr int plain_rows = 32, warp_rows = 4, plain_threads = plain_rows / warp_rows * 32;
constexpr int lane_dimensions = 8;  // 256 / 32

// Rows of float32, an odd number of 16-byte pieces long, so that 8 rows on end lie in different banks.
__host__ __device__ inline int plain_stride(int head) { return ((head + 3) / 4 | 1) * 4; }

// A block's view of one head.
template <class Element>
struct PlainHead {
  const AttentionProblem& problem;
  const WorkItem work;
  const int head = problem.head, stride = plain_stride(problem.head), lane = threadIdx.x % 32;

  // The first number of time t in an array (B, T, H, parts, d).
  __device__ int64_t at(int t, int part, int parts) const {
    return (((static_cast<int64_t>(work.batch) * problem.time + t) * problem.heads + work.head) * parts + part) * head;
  }

  // Rows from time t on to shared memory: zeros after the last and around them; rotated when `rotary` > 0.
  __device__ void load(float* tile, const Element* array, int t, int part, int parts, int rotary) const {
    const int half = rotary / 2;
    for (int i = threadIdx.x; i < plain_rows * stride; i += plain_threads) {
      const int row = i / stride, c = i % stride;
      float x = 0;
      if (c < head && t + row < problem.time) {
        const Element* const from = array + at(t + row, part, parts);
        x = static_cast<float>(from[c]);
        if (c < rotary) {
          const int angle = (t + row) * half + c % half;
          const float other = static_cast<float>(from[c < half ? c + half : c - half]);
          x = x * problem.cos[angle] + (c < half ? -other : other) * problem.sin[angle];
        }
      }
      tile[i] = x;
    }
  }

  // Products of the warp's rows with the lane's column.
  __device__ void products(const float* rows, const float* columns, float (&to)[warp_rows]) const {
    for (float& x : to) x = 0;
    for (int c = 0; c < head; c += 4) {
      const float4 b = *reinterpret_cast<const float4*>(columns + lane * stride + c);
#pragma unroll
      for (int r = 0; r < warp_rows; ++r) {
        const float4 a = *reinterpret_cast<const float4*>(rows + r * stride + c);
        to[r] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
      }
    }
  }
  // The same for scores: dimensions that count twice are added once more.
  __device__ void scores(const float* rows, const float* columns, float (&to)[warp_rows]) const {
    products(rows, columns, to);
    for (int c = problem.twice_from; c < head; ++c)
#pragma unroll
      for (int r = 0; r < warp_rows; ++r) to[r] += rows[r * stride + c] * columns[lane * stride + c];
  }

  // sums += weights (of the lane's column, for each of the warp's rows) times the rows of the columns.
  __device__ void add(const float (&weights)[warp_rows], const float* columns,
                      float (&sums)[warp_rows][lane_dimensions]) const {
    for (int j = 0; j < plain_rows; ++j)
#pragma unroll
      for (int r = 0; r < warp_rows; ++r) {
        const float weight = __shfl_sync(~0u, weights[r], j);
#pragma unroll
        for (int i = 0; i < lane_dimensions; ++i)
          if (const int c = lane + 32 * i; c < head) sums[r][i] += weight * columns[j * stride + c];
      }
  }

  // Writes gradients of queries or keys: scaled, and rotated back by way of the warp's rows in shared memory.
  __device__ void store_rotated(const float (&sums)[warp_rows][lane_dimensions], float* rows, int t, int part,
                                Element* to) const {
    const int half = problem.rotary / 2;
    __syncwarp();  // the rows were read until now
#pragma unroll
    for (int r = 0; r < warp_rows; ++r)
#pragma unroll
      for (int i = 0; i < lane_dimensions; ++i)
        if (const int c = lane + 32 * i; c < head)
          rows[r * stride + c] = sums[r][i] * (c < problem.twice_from ? problem.scale : 2 * problem.scale);
    __syncwarp();
    for (int r = 0; r < warp_rows && t + r < problem.time; ++r)
      for (int c = lane; c < head; c += 32) {
        float x = rows[r * stride + c];
        if (c < problem.rotary) {
          const int angle = (t + r) * half + c % half;
          const float other = rows[r * stride + (c < half ? c + half : c - half)];
          x = x * problem.cos[angle] + (c < half ? other : -other) * problem.sin[angle];
        }
        to[at(t + r, part, 3) + c] = Element(x);
      }
  }
  // Writes rows times `factor`, without more.
  __device__ void store(const float (&sums)[lane_dimensions], float factor, Element* to) const {
#pragma unroll
    for (int i = 0; i < lane_dimensions; ++i)
      if (const int c = lane + 32 * i; c < head) to[c] = Element(sums[i] * factor);
  }
};

__device__ inline float sum_of_warp(float x) {
  for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(~0u, x, apart);
  return x;
}
__device__ inline float largest_of_warp(float x) {
  for (int apart = 16; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, apart));
  return x;
}

// The base-2 score of a query and a key that are `distance` apart, given their product.
__device__ inline float plain_score(float product, float scale, float slope, int distance, int window) {
  return distance < 0 || distance > window ? -INFINITY : product * scale - slope * static_cast<float>(distance);
}

template <class Element>
__global__ void __launch_bounds__(plain_threads)
    plain_forward_kernel(const AttentionProblem problem, const Element* qkv, Element* out, float* log_sum) {
  extern __shared__ __align__(16) float plain_shared[];
  const int tiles = (problem.time + plain_rows - 1) / plain_rows;
  const PlainHead<Element> head{problem, WorkItem(problem, tiles)};
  float *const queries = plain_shared, *const keys = queries + plain_rows * head.stride,
               *const values = keys + plain_rows * head.stride;
  const int own = (tiles - 1 - head.work.rank) * plain_rows, warp_row = threadIdx.x / 32 * warp_rows;
  const int window = Band::window(problem, head.work.head), row = own + warp_row;
  const float scale = problem.scale * log2_of_e, slope = problem.slope ? problem.slope[head.work.head] * log2_of_e : 0;

  head.load(queries, qkv, own, 0, 3, problem.rotary);
  float sums[warp_rows][lane_dimensions] = {}, total[warp_rows] = {}, largest[warp_rows];
  for (float& x : largest) x = -INFINITY;
  for (int t = own; t >= 0 && t + plain_rows > own - window; t -= plain_rows) {
    __syncthreads();
    head.load(keys, qkv, t, 1, 3, problem.rotary);
    head.load(values, qkv, t, 2, 3, 0);
    __syncthreads();
    float weights[warp_rows];
    head.scores(queries + warp_row * head.stride, keys, weights);
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      const float score = plain_score(weights[r], scale, slope, row + r - (t + head.lane), window);
      const float top = fmaxf(largest[r], largest_of_warp(score)), base = top == -INFINITY ? 0 : top;
      const float before = power_of_2(largest[r] - base);
      weights[r] = power_of_2(score - base);
      largest[r] = top;
      total[r] = total[r] * before + weights[r];
#pragma unroll
      for (float& x : sums[r]) x *= before;
    }
    head.add(weights, values, sums);
  }
#pragma unroll
  for (int r = 0; r < warp_rows; ++r) {
    total[r] = sum_of_warp(total[r]);
    if (row + r >= problem.time) continue;
    head.store(sums[r], 1 / total[r], out + head.at(row + r, 0, 1));
    if (log_sum && head.lane == 0) log_sum[head.work.row_of_sums(problem) + row + r] = largest[r] + log2f(total[r]);
  }
}

template <class Element>
__global__ void __launch_bounds__(plain_threads)
    plain_query_gradient_kernel(const AttentionProblem problem, const Element* qkv, const Element* out,
                                const float* log_sum, const Element* dout, Element* dqkv, float* delta) {
  extern __shared__ __align__(16) float plain_shared[];
  const int tiles = (problem.time + plain_rows - 1) / plain_rows;
  const PlainHead<Element> head{problem, WorkItem(problem, tiles)};
  const int tile = plain_rows * head.stride;
  float *const queries = plain_shared, *const douts = queries + tile, *const keys = douts + tile,
               *const values = keys + tile;
  const int own = (tiles - 1 - head.work.rank) * plain_rows, warp_row = threadIdx.x / 32 * warp_rows;
  const int window = Band::window(problem, head.work.head), row = own + warp_row;
  const float scale = problem.scale * log2_of_e, slope = problem.slope ? problem.slope[head.work.head] * log2_of_e : 0;

  head.load(queries, qkv, own, 0, 3, problem.rotary);
  head.load(douts, dout, own, 0, 1, 0);
  __syncthreads();
  float base[warp_rows] = {}, deltas[warp_rows] = {};
#pragma unroll
  for (int r = 0; r < warp_rows; ++r)
    if (row + r < problem.time) {
      for (int c = head.lane; c < head.head; c += 32)
        deltas[r] += douts[(warp_row + r) * head.stride + c] * static_cast<float>(out[head.at(row + r, 0, 1) + c]);
      deltas[r] = sum_of_warp(deltas[r]);
      base[r] = log_sum[head.work.row_of_sums(problem) + row + r];
      if (head.lane == 0) delta[head.work.row_of_sums(problem) + row + r] = deltas[r];
    }
  float sums[warp_rows][lane_dimensions] = {};
  for (int t = own; t >= 0 && t + plain_rows > own - window; t -= plain_rows) {
    __syncthreads();
    head.load(keys, qkv, t, 1, 3, problem.rotary);
    head.load(values, qkv, t, 2, 3, 0);
    __syncthreads();
    float weights[warp_rows], dweights[warp_rows];
    head.scores(queries + warp_row * head.stride, keys, weights);
    head.products(douts + warp_row * head.stride, values, dweights);
#pragma unroll
    for (int r = 0; r < warp_rows; ++r)
      weights[r] = power_of_2(plain_score(weights[r], scale, slope, row + r - (t + head.lane), window) - base[r]) *
                   (dweights[r] - deltas[r]);
    head.add(weights, keys, sums);
  }
  head.store_rotated(sums, queries + warp_row * head.stride, row, 0, dqkv);
}

template <class Element>
__global__ void __launch_bounds__(plain_threads)
    plain_key_gradient_kernel(const AttentionProblem problem, const Element* qkv, const float* log_sum,
                              const float* delta, const Element* dout, Element* dqkv) {
  extern __shared__ __align__(16) float plain_shared[];
  const PlainHead<Element> head{problem, WorkItem(problem, (problem.time + plain_rows - 1) / plain_rows)};
  const int tile = plain_rows * head.stride;
  float *const keys = plain_shared, *const values = keys + tile, *const queries = values + tile,
               *const douts = queries + tile;
  const int own = head.work.rank * plain_rows, warp_row = threadIdx.x / 32 * warp_rows;
  const int window = Band::window(problem, head.work.head), row = own + warp_row;
  const float scale = problem.scale * log2_of_e, slope = problem.slope ? problem.slope[head.work.head] * log2_of_e : 0;

  head.load(keys, qkv, own, 1, 3, problem.rotary);
  head.load(values, qkv, own, 2, 3, 0);
  float dkeys[warp_rows][lane_dimensions] = {}, dvalues[warp_rows][lane_dimensions] = {};
  for (int t = own; t < problem.time && t < own + plain_rows + window; t += plain_rows) {
    __syncthreads();
    head.load(queries, qkv, t, 0, 3, problem.rotary);
    head.load(douts, dout, t, 0, 1, 0);
    __syncthreads();
    const bool inside = t + head.lane < problem.time;
    const int64_t at = head.work.row_of_sums(problem) + t + head.lane;
    const float base = inside ? log_sum[at] : 0, delta_of_query = inside ? delta[at] : 0;
    float weights[warp_rows], dweights[warp_rows];
    head.scores(keys + warp_row * head.stride, queries, weights);
    head.products(values + warp_row * head.stride, douts, dweights);
#pragma unroll
    for (int r = 0; r < warp_rows; ++r) {
      weights[r] = power_of_2(plain_score(weights[r], scale, slope, t + head.lane - (row + r), window) - base);
      dweights[r] = weights[r] * (dweights[r] - delta_of_query);
    }
    head.add(weights, douts, dvalues);
    head.add(dweights, queries, dkeys);
  }
  head.store_rotated(dkeys, keys + warp_row * head.stride, row, 1, dqkv);
#pragma unroll
  for (int r = 0; r < warp_rows; ++r)
    if (row + r < problem.time) head.store(dvalues[r], 1, dqkv + head.at(row + r, 2, 3));
}

int64_t plain_blocks(const AttentionProblem& problem) {
  return static_cast<int64_t>(problem.batch) * problem.heads * ((problem.time - 1) / plain_rows + 1);
}
size_t plain_tile_bytes(const AttentionProblem& problem) {
  return plain_rows * plain_stride(problem.head) * sizeof(float);
}

}  // namespace

template <class Element>
void launch_plain_attention_forward(const AttentionProblem& problem, const Element* qkv, Element* out, float* log_sum,
                                    cudaStream_t stream) {
  launch_attention(plain_forward_kernel<Element>, plain_blocks(problem), plain_threads, 3 * plain_tile_bytes(problem),
                   stream, problem, qkv, out, log_sum);
}

template <class Element>
void launch_plain_attention_backward(const AttentionProblem& problem, const Element* qkv, const Element* out,
                                     const float* log_sum, const Element* dout, Element* dqkv, float* delta,
                                     cudaStream_t stream) {
  const size_t bytes = 4 * plain_tile_bytes(problem);
  launch_attention(plain_query_gradient_kernel<Element>, plain_blocks(problem), plain_threads, bytes, stream, problem,
                   qkv, out, log_sum, dout, dqkv, delta);
  launch_attention(plain_key_gradient_kernel<Element>, plain_blocks(problem), plain_threads, bytes, stream, problem,
                   qkv, log_sum, delta, dout, dqkv);
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
