// A step of decoding: reads the keys and values that are seen once, and does little else. The keys of a head are split
// among blocks, so that few heads keep the GPU busy too; in a block, groups of lanes have a key each, a lane 16 bytes
// of it. Partial softmaxes are combined in a fixed order: groups of a warp, warps, blocks.
#include <algorithm>
#include <cmath>

#include "kernels/attention/attention_cuda.h"
#include "kernels/attention/attention_launch.h"
#include "kernels/attention/attention_work.cuh"
#include "kernels/cuda/overlap.cuh"

namespace recite::kernels {

namespace {

// Blocks are small where there are many heads: all of an H100's multiprocessors hold `wanted_threads` at a time.
constexpr int many_threads = 512, few_threads = 128;
constexpr int64_t wanted_threads = 1024 * few_threads, few_heads = 256;
constexpr int keys_at_once = 4;  // of a group of lanes: loads in flight
constexpr int64_t most_splits = 64;

int64_t heads_of(const AttentionDecodeShape& shape) { return shape.batch * shape.heads; }
int threads_of(const AttentionDecodeShape& shape) { return heads_of(shape) <= few_heads ? many_threads : few_threads; }

int64_t splits_of(const AttentionDecodeShape& shape) {
  const int64_t threads = threads_of(shape), least_keys = threads == many_threads ? 256 : 128;
  return std::clamp<int64_t>(std::min(wanted_threads / threads / heads_of(shape), shape.max_tokens / least_keys), 1,
                             most_splits);
}

struct DecodeProblem {
  AttentionProblem of;  // of.time: max_tokens
  const int32_t* length;
  int splits;
};

// The sums of a softmax over some of the keys: their largest score, the sum of weights, and of weighted values.
template <int Numbers>
struct Partial {
  float largest = -INFINITY, total = 0, sums[Numbers] = {};

  // Brings the sums to the base of a score that is larger, or as large.
  __device__ void rebase(float score) {
    const float factor = score == -INFINITY ? 0 : power_of_2(largest - score);
    largest = score;
    total *= factor;
#pragma unroll
    for (float& x : sums) x *= factor;
  }
  __device__ void add_lanes(int apart) {
    rebase(fmaxf(largest, __shfl_xor_sync(~0u, largest, apart)));
    total += __shfl_xor_sync(~0u, total, apart);
#pragma unroll
    for (float& x : sums) x += __shfl_xor_sync(~0u, x, apart);
  }
};

// Number c of the new token's query or key, rotated.
template <class Element>
__device__ float rotated_number(const AttentionProblem& problem, const Element* from, int c, int t) {
  const int half = problem.rotary / 2;
  const float x = static_cast<float>(from[c]);
  if (c >= problem.rotary) return x;
  const float other = static_cast<float>(from[c < half ? c + half : c - half]);
  const int64_t angle = static_cast<int64_t>(t) * half + c % half;
  return x * problem.cos[angle] + (c < half ? -other : other) * problem.sin[angle];
}

// How a head lies over the lanes of `Threads`: `Lanes` have a key, each `Chunks` pieces of `Width` numbers, Lanes x
// Width apart.
template <class Element, int Threads, int Width, int Lanes, int Chunks>
struct DecodeLayout {
  using Number = Element;
  static constexpr int threads = Threads, warps = Threads / 32;
  static constexpr int lanes = Lanes, numbers = Width * Chunks, groups = Threads / Lanes;
  static constexpr int blocks = (Chunks == 1 ? 1024 : 512) / Threads;  // of a multiprocessor

  struct alignas(Width * sizeof(Element)) Piece {
    Element at[Width];
  };
  struct Row {
    Piece pieces[Chunks];
    __device__ float operator[](int i) const { return static_cast<float>(pieces[i / Width].at[i % Width]); }
  };

  __device__ static int group() { return threadIdx.x / Lanes; }
  __device__ static int dimension(int i) { return (i / Width * Lanes + threadIdx.x % Lanes) * Width + i % Width; }
  __device__ static Row load(const Element* from, int head, bool inside) {
    Row row = {};
#pragma unroll
    for (int i = 0; i < Chunks; ++i)
      if (const int c = dimension(i * Width); inside && c < head)
        row.pieces[i] = *reinterpret_cast<const Piece*>(from + c);
    return row;
  }
};

// The part of the calling group of lanes, of the keys begin .. last-1.
template <class Layout>
__device__ Partial<Layout::numbers> attend(const float (&query)[Layout::numbers], const typename Layout::Number* keys,
                                           const typename Layout::Number* values, int head, int begin, int last,
                                           int position, float slope) {
  Partial<Layout::numbers> partial;
  for (int at = begin; at < last; at += Layout::groups * keys_at_once) {
    typename Layout::Row key[keys_at_once], value[keys_at_once];
    float score[keys_at_once], top = partial.largest;
#pragma unroll
    for (int u = 0; u < keys_at_once; ++u) {
      const int j = at + u * Layout::groups + Layout::group();
      key[u] = Layout::load(keys + static_cast<int64_t>(j) * head, head, j < last);
      value[u] = Layout::load(values + static_cast<int64_t>(j) * head, head, j < last);
    }
#pragma unroll
    for (int u = 0; u < keys_at_once; ++u) {
      const int j = at + u * Layout::groups + Layout::group();
      score[u] = 0;
#pragma unroll
      for (int i = 0; i < Layout::numbers; ++i) score[u] += query[i] * key[u][i];
#pragma unroll
      for (int apart = Layout::lanes / 2; apart > 0; apart /= 2) score[u] += __shfl_xor_sync(~0u, score[u], apart);
      score[u] = j < last ? score[u] - slope * static_cast<float>(position - j) : -INFINITY;
      top = fmaxf(top, score[u]);
    }
    partial.rebase(top);
    const float base = top == -INFINITY ? 0 : top;
#pragma unroll
    for (int u = 0; u < keys_at_once; ++u) {
      const float weight = power_of_2(score[u] - base);
      partial.total += weight;
#pragma unroll
      for (int i = 0; i < Layout::numbers; ++i) partial.sums[i] += weight * value[u][i];
    }
  }
  return partial;
}

// Parts of a head's softmax that lie one after the other: largest, total, sums (d). In their order.
struct Combined {
  float largest = -INFINITY, total = 0, sum = 0;

  __device__ Combined(const float* parts, int count, int head, int c) {
#pragma unroll 8
    for (int i = 0; i < count; ++i) largest = fmaxf(largest, parts[i * (head + 2)]);
#pragma unroll 8
    for (int i = 0; i < count; ++i) {
      const float* const part = parts + i * (head + 2);
      const float factor = part[0] == -INFINITY ? 0 : power_of_2(part[0] - largest);
      total += factor * part[1];
      sum += factor * part[2 + c];
    }
  }
};

template <class Element, class Layout>
__global__ void __launch_bounds__(Layout::threads, Layout::blocks)
    decode_kernel(const DecodeProblem problem, const Element* qkv, Element* all_keys, Element* all_values, Element* out,
                  float* parts) {
  let_next_begin();
  await_previous();
  const int head = problem.of.head, split = blockIdx.x % problem.splits, row = blockIdx.x / problem.splits;
  const int h = row % problem.of.heads, position = problem.length[row / problem.of.heads];
  const Element* const token = qkv + static_cast<int64_t>(row) * 3 * head;
  Element* const keys = all_keys + static_cast<int64_t>(row) * problem.of.time * head;
  Element* const values = all_values + static_cast<int64_t>(row) * problem.of.time * head;

  const int first = max(0, position - Band::window(problem.of, h)), seen = position + 1 - first;
  const int each = (seen + problem.splits - 1) / problem.splits;
  const int begin = first + split * each, last = min(begin + each, position + 1);
  if (begin <= position && last == position + 1)
    for (int c = threadIdx.x; c < head; c += Layout::threads) {
      keys[static_cast<int64_t>(position) * head + c] = Element(rotated_number(problem.of, token + head, c, position));
      values[static_cast<int64_t>(position) * head + c] = token[2 * head + c];
    }
  __syncthreads();

  float query[Layout::numbers];
#pragma unroll
  for (int i = 0; i < Layout::numbers; ++i) {
    const int c = Layout::dimension(i);
    const float scale = problem.of.scale * log2_of_e * (c < problem.of.twice_from ? 1 : 2);
    query[i] = c < head ? scale * rotated_number(problem.of, token, c, position) : 0;
  }
  const float slope = problem.of.slope ? problem.of.slope[h] * log2_of_e : 0;
  auto partial = attend<Layout>(query, keys, values, head, begin, last, position, slope);
#pragma unroll
  for (int apart = Layout::lanes; apart < 32; apart *= 2) partial.add_lanes(apart);

  __shared__ float of_warps[Layout::warps * (largest_attention_head + 2)];
  float* const mine = of_warps + threadIdx.x / 32 * (head + 2);
  if (threadIdx.x % 32 == 0) {
    mine[0] = partial.largest;
    mine[1] = partial.total;
  }
#pragma unroll
  for (int i = 0; i < Layout::numbers; ++i)
    if (const int c = Layout::dimension(i); threadIdx.x % 32 < Layout::lanes && c < head) mine[2 + c] = partial.sums[i];
  __syncthreads();
  for (int c = threadIdx.x; c < head; c += Layout::threads) {
    const Combined whole(of_warps, Layout::warps, head, c);
    if (problem.splits == 1) {
      out[static_cast<int64_t>(row) * head + c] = Element(whole.sum / whole.total);
    } else {
      float* const part = parts + static_cast<int64_t>(blockIdx.x) * (head + 2);
      if (c == 0) {
        part[0] = whole.largest;
        part[1] = whole.total;
      }
      part[2 + c] = whole.sum;
    }
  }
}

template <class Element>
__global__ void combine_splits_kernel(const float* parts, int splits, int head, Element* out) {
  let_next_begin();
  await_previous();
  for (int c = threadIdx.x; c < head; c += blockDim.x) {
    const Combined whole(parts + static_cast<int64_t>(blockIdx.x) * splits * (head + 2), splits, head, c);
    out[static_cast<int64_t>(blockIdx.x) * head + c] = Element(whole.sum / whole.total);
  }
}

// The kernel for a head size: of whole 16-byte pieces where it can be, on as few lanes as hold them.
template <class Element, int Threads>
auto decode_kernel_for(int64_t head) {
  constexpr int width = 16 / sizeof(Element);
  if (head % width != 0) return decode_kernel<Element, DecodeLayout<Element, Threads, 1, 32, 8>>;
  if (head <= 8 * width) return decode_kernel<Element, DecodeLayout<Element, Threads, width, 8, 1>>;
  if (head <= 16 * width) return decode_kernel<Element, DecodeLayout<Element, Threads, width, 16, 1>>;
  return decode_kernel<Element, DecodeLayout<Element, Threads, width, 32, 8 / width>>;
}

}  // namespace

template <class Element>
void attention_decode_cuda(const AttentionDecodeShape& shape, const AttentionPosition<float>& position,
                           const Element* qkv, const int32_t* length, Element* keys, Element* values, Element* out,
                           float* workspace, cudaStream_t stream) {
  const auto [batch, heads, head, max_tokens] = shape;
  require_supported(batch, heads, head, position);
  require(max_tokens > 0 && max_tokens < INT32_MAX / largest_attention_head, "the cache must have room for a token");
  require_aligned(qkv, keys, values, out);
  const int64_t splits = splits_of(shape), rows = heads_of(shape);
  require(rows * splits < INT32_MAX, "too many heads and rows");
  const AttentionProblem problem{.batch = static_cast<int>(batch),
                                 .time = static_cast<int>(max_tokens),
                                 .heads = static_cast<int>(heads),
                                 .head = static_cast<int>(head),
                                 .rotary = static_cast<int>(position.rotary),
                                 .twice_from = static_cast<int>(std::min(position.twice_from, head)),
                                 .cos = position.cos,
                                 .sin = position.sin,
                                 .slope = position.slope,
                                 .window = position.window,
                                 .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(head))),
                                 .neighbors = 1};
  const int threads = threads_of(shape);
  const auto start = [&](auto kernel, int64_t blocks, int block_threads, auto... arguments) {
    launch_overlapping("attention", kernel, dim3(static_cast<unsigned>(blocks)), block_threads, 0, stream,
                       arguments...);
  };
  start(threads == many_threads ? decode_kernel_for<Element, many_threads>(head)
                                : decode_kernel_for<Element, few_threads>(head),
        rows * splits, threads, DecodeProblem{problem, length, static_cast<int>(splits)}, qkv, keys, values, out,
        workspace);
  if (splits > 1)
    start(combine_splits_kernel<Element>, rows, 64, workspace, static_cast<int>(splits), static_cast<int>(head), out);
}

int64_t attention_decode_workspace(const AttentionDecodeShape& shape) {
  const int64_t splits = splits_of(shape);
  return splits > 1 ? heads_of(shape) * splits * (shape.head + 2) : 0;
}

#define RECITE_INSTANTIATE(Element)                                                                                 \
  template void attention_decode_cuda(const AttentionDecodeShape&, const AttentionPosition<float>&, const Element*, \
                                      const int32_t*, Element*, Element*, Element*, float*, cudaStream_t);
RECITE_INSTANTIATE(__nv_bfloat16)
RECITE_INSTANTIATE(__half)
RECITE_INSTANTIATE(float)
#undef RECITE_INSTANTIATE

}  // namespace recite::kernels
