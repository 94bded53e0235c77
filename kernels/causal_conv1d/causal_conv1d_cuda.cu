#include "kernels/causal_conv1d/causal_conv1d_cuda.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/overlap.cuh"

namespace recite::kernels {
namespace {

// A thread has a vector of neighbouring channels and goes through a segment of time; a warp's lanes are neighbouring
// vectors, a block's warps consecutive segments.
constexpr int conv_warps = 8, conv_threads = 32 * conv_warps;

// How a direction cuts its work: channels of a vector, steps of the longest segment, and blocks that a multiprocessor
// holds at least.
template <int Vector, int Longest, int Blocks>
struct ConvCut {
  static constexpr int vector = Vector, longest = Longest, blocks = Blocks;
  static constexpr int channels = 32 * Vector;  // of a block
};
// The forward loads a segment at once.
template <class Element>
using ForwardCut = ConvCut<4, sizeof(Element) == 2 ? 14 : 8, 3>;
// The backward copies `steps` of them ahead of those that it takes. At width 4 the longest segment and the 3 steps
// after it are whole batches.
template <int Steps, int Longest>
struct ConvBackwardCut : ConvCut<4, Longest, 2> {
  static constexpr int steps = Steps;
};
template <class Element>
using BackwardCut = ConvBackwardCut<sizeof(Element) == 2 ? 8 : 4, 29>;

template <class Element>
struct ConvArguments {
  int time, channels;
  int segment;  // steps of a warp
  Rows<const Element> x, dy;
  Rows<Element> y, dx;
  const float *weight, *bias;
  const Element* initial;
  float* partials;  // (B, blocks of time, W + 1, D): of dweight, then of dbias
};

template <int Size>
using Vector = float[Size];

// Where a thread works.
struct Place {
  int channel, begin, end;
  int64_t row;  // of step 0
};
template <class Cut, class Element>
__device__ Place place_of(const ConvArguments<Element>& in) {
  const int begin = (blockIdx.y * conv_warps + threadIdx.x / 32) * in.segment;
  return {static_cast<int>(blockIdx.x * Cut::channels + threadIdx.x % 32 * Cut::vector), begin,
          min(in.time, begin + in.segment), static_cast<int64_t>(blockIdx.z) * in.time};
}

// The convolution at the step whose window begins with `window`.
template <int Width, int Size>
__device__ float convolved(const Vector<Size>* window, const Vector<Size> (&weight)[Width], const Vector<Size>& bias,
                           int i) {
  float sum = bias[i];
#pragma unroll
  for (int k = 0; k < Width; ++k) sum += weight[k][i] * window[k][i];
  return sum;
}

template <int Count, int Size>
__device__ void copy_vectors(const Vector<Size>* from, Vector<Size>* to) {
#pragma unroll
  for (int k = 0; k < Count; ++k)
#pragma unroll
    for (int i = 0; i < Size; ++i) to[k][i] = from[k][i];
}

// A row's neighbours as they are in memory.
template <int Size, bool Aligned, class Element>
__device__ Pack<Element, Size> load_neighbours(const Element* row, int channel, int channels) {
  if constexpr (Aligned) {
    return load_pack<Size>(row, channel, channels);
  } else {
    Pack<Element, Size> neighbours;
#pragma unroll
    for (int i = 0; i < Size; ++i)
      neighbours.values[i] = channel + i < channels ? row[channel + i] : from_float<Element>(0);
    return neighbours;
  }
}

// The filter of a block's channels, then their bias, which its warps load together.
template <class Cut, class Element, int Count>
__device__ void load_block_filter(const ConvArguments<Element>& in, float (&filter)[Count][Cut::channels]) {
  constexpr int width = Count - 1, weights = width * Cut::channels, all = weights + Cut::channels;
  constexpr int each = (all + conv_threads - 1) / conv_threads;
  const auto row = [](int i) { return i < weights ? i % width : width; };
  const auto channel = [](int i) { return i < weights ? i / width : i - weights; };
  float numbers[each];
#pragma unroll
  for (int j = 0; j < each; ++j) {
    const int i = threadIdx.x + j * conv_threads, k = row(i), d = blockIdx.x * Cut::channels + channel(i);
    const float* from = k < width ? in.weight : in.bias;
    const bool exists = i < all && from && d < in.channels;
    numbers[j] = exists ? from[k < width ? int64_t{d} * width + k : d] : 0;
  }
#pragma unroll
  for (int j = 0; j < each; ++j)
    if (const int i = threadIdx.x + j * conv_threads; i < all) filter[row(i)][channel(i)] = numbers[j];
}

template <class Element, class Cut, int Width, bool Aligned>
__global__ __launch_bounds__(conv_threads, Cut::blocks) void conv_forward(ConvArguments<Element> in) {
  constexpr int size = Cut::vector, steps = Cut::longest, past = Width - 1;
  const Place at = place_of<Cut>(in);
  const bool works = at.channel < in.channels && at.begin < at.end;
  Pack<Element, size> x[past + steps];  // x[k] is step begin - past + k; past the segment, its last
  if (works) {
#pragma unroll
    for (int k = 0; k < steps; ++k)
      x[past + k] = load_neighbours<size, Aligned>(in.x.data + (at.row + min(at.begin + k, at.end - 1)) * in.x.stride,
                                                   at.channel, in.channels);
#pragma unroll
    for (int k = 0; k < past; ++k) {
      const int t = at.begin - past + k;
      if (t >= 0)
        x[k] = load_neighbours<size, Aligned>(in.x.data + (at.row + t) * in.x.stride, at.channel, in.channels);
      else if (in.initial)
        x[k] = load_neighbours<size, false>(in.initial + (int64_t{blockIdx.z} * past + past + t) * in.channels,
                                            at.channel, in.channels);
      else
        x[k] = {};
    }
  }

  __shared__ __align__(16) float filter[Width + 1][Cut::channels];
  load_block_filter<Cut>(in, filter);
  __syncthreads();
  if (!works) return;
  Vector<size> weight[Width], bias, window[Width];
#pragma unroll
  for (int k = 0; k < Width; ++k) unpack(&filter[k][threadIdx.x % 32 * size], weight[k]);
  unpack(&filter[Width][threadIdx.x % 32 * size], bias);
#pragma unroll
  for (int k = 0; k < past; ++k) unpack(x[k].values, window[k]);
#pragma unroll
  for (int k = 0; k < steps; ++k) {
    if (at.begin + k >= at.end) break;
    unpack(x[past + k].values, window[past]);
    Vector<size> y;
#pragma unroll
    for (int i = 0; i < size; ++i) {
      y[i] = convolved(window, weight, bias, i);
      y[i] *= sigmoid(y[i]);
    }
    store<Aligned>(in.y, at.row + at.begin + k, at.channel, in.channels, y);
    copy_vectors<past>(window + 1, window);
  }
}

template <class Element, class Cut, int Width>
struct BackwardShared {
  float filter[Width + 1][Cut::channels];
  union {
    // Of x, then of dy, in turns. A thread copies what it will take itself.
    alignas(16) Element ahead[2][Cut::steps][2][conv_threads][Cut::vector];
    float sums[conv_warps][Width + 1][Cut::channels];  // of dweight, then of dbias
  };
};

// Adds the warps' sums, in order, and leaves the block's share.
template <class Cut, int Width, class Element>
__device__ void store_shares(const ConvArguments<Element>& in,
                             const float (&sums)[conv_warps][Width + 1][Cut::channels]) {
  constexpr int channels = Cut::channels;
  const int64_t block = static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y;
  for (int j = threadIdx.x; j < (Width + 1) * channels; j += conv_threads) {
    const int k = j / channels, c = j % channels, d = blockIdx.x * channels + c;
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < conv_warps; ++warp) sum += sums[warp][k][c];
    if (d < in.channels) in.partials[(block * (Width + 1) + k) * in.channels + d] = sum;
  }
}

// With s the convolution and g = dy silu'(s): dx[t] = sum_k weight[k] g[t+W-1-k]. A thread computes g for W - 1 steps
// past its segment too, which another adds to dweight.
template <class Element, class Cut, int Width, bool Aligned>
__global__ __launch_bounds__(conv_threads, Cut::blocks) void conv_backward(ConvArguments<Element> in) {
  constexpr int size = Cut::vector, steps = Cut::steps, past = Width - 1;
  extern __shared__ float4 memory[];
  auto& shared = *reinterpret_cast<BackwardShared<Element, Cut, Width>*>(memory);
  const Place at = place_of<Cut>(in);
  const bool works = at.channel < in.channels && at.begin < at.end;
  const int end = at.end + past, last = min(in.time, end) - 1;
  const Element* next_x = in.x.data + (at.row + at.begin) * in.x.stride;
  const Element* next_dy = in.dy.data + (at.row + at.begin) * in.dy.stride;
  Element* next_dx = in.dx.data + (at.row + at.begin) * in.dx.stride;
  const auto ask = [&](int t, int turn) {  // past the last step: the last
#pragma unroll
    for (int k = 0; k < steps; ++k) {
      auto& to = shared.ahead[turn][k];
      copy_ahead<Aligned>(Rows<const Element>{next_x, 0}, 0, at.channel, in.channels, to[0][threadIdx.x]);
      copy_ahead<Aligned>(Rows<const Element>{next_dy, 0}, 0, at.channel, in.channels, to[1][threadIdx.x]);
      if (t + k < last) next_x += in.x.stride, next_dy += in.dy.stride;
    }
  };
  Pack<Element, size> before[Width] = {};  // the segment; the last is not used
  if (works) {
    ask(at.begin, 0);
#pragma unroll
    for (int k = 0; k < past; ++k)
      if (const int t = at.begin - past + k; t >= 0)
        before[k] = load_neighbours<size, Aligned>(in.x.data + (at.row + t) * in.x.stride, at.channel, in.channels);
  }
  load_block_filter<Cut>(in, shared.filter);
  __syncthreads();

  Vector<size> sums[Width + 1] = {};
  if (works) {
    Vector<size> weight[Width], bias, x[Width], g[Width] = {};  // x and g of the last W steps
    const int lane_first = threadIdx.x % 32 * size;
#pragma unroll
    for (int k = 0; k < Width; ++k) unpack(&shared.filter[k][lane_first], weight[k]);
    unpack(&shared.filter[Width][lane_first], bias);
#pragma unroll
    for (int k = 0; k < past; ++k) unpack(before[k].values, x[k]);
    for (int t0 = at.begin, turn = 0; t0 < end; t0 += steps, turn ^= 1) {
      await_copies();
      if (t0 + steps < end) ask(t0 + steps, turn ^ 1);
#pragma unroll
      for (int k = 0; k < steps; ++k) {
        const int t = t0 + k;
        Vector<size> dy, dx;
        unpack(shared.ahead[turn][k][0][threadIdx.x], x[past]);
        unpack(shared.ahead[turn][k][1][threadIdx.x], dy);
#pragma unroll
        for (int i = 0; i < size; ++i) {
          const float s = convolved(x, weight, bias, i), gate = sigmoid(s);
          g[past][i] = t < in.time ? dy[i] * gate * (1 + s * (1 - gate)) : 0;
          dx[i] = 0;
#pragma unroll
          for (int j = 0; j < Width; ++j) dx[i] += weight[j][i] * g[past - j][i];
          const float own = t < at.end ? g[past][i] : 0;
#pragma unroll
          for (int j = 0; j < Width; ++j) sums[j][i] += own * x[j][i];
          sums[Width][i] += own;
        }
        if (t >= at.begin + past && t < end) {
          store<Aligned>(Rows<Element>{next_dx, 0}, 0, at.channel, in.channels, dx);
          next_dx += in.dx.stride;
        }
        copy_vectors<past>(x + 1, x);
        copy_vectors<past>(g + 1, g);
      }
    }
  }
  __syncthreads();  // the sums lie where copies were
#pragma unroll
  for (int k = 0; k <= Width; ++k) pack(sums[k], &shared.sums[threadIdx.x / 32][k][threadIdx.x % 32 * size]);
  __syncthreads();
  store_shares<Cut, Width>(in, shared.sums);
}

// dweight and dbias: the blocks' shares. The warps of a block add every conv_warps-th share, then are added in order.
__global__ __launch_bounds__(conv_threads) void add_block_shares(const float* partials, int count, int width,
                                                                 int channels, float* dweight, float* dbias) {
  __shared__ float shared[conv_warps][32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = blockIdx.x * 32 + lane, k = blockIdx.y;
  float sum = 0;
  if (d < channels)
    for (int j = warp; j < count; j += conv_warps)
      sum += partials[(static_cast<int64_t>(j) * (width + 1) + k) * channels + d];
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || d >= channels) return;
  sum = 0;
  for (int j = 0; j < conv_warps; ++j) sum += shared[j][lane];
  if (k < width && dweight) dweight[static_cast<int64_t>(d) * width + k] = sum;
  if (k == width && dbias) dbias[d] = sum;
}

template <class Element, int Width>
__global__ void conv_step(int64_t rows, ConvArguments<Element> in, Element* window) {
  let_next_begin();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x, b = i / in.channels;
  const int d = static_cast<int>(i % in.channels);
  if (b >= rows) return;
  Element* past = window + b * (Width - 1) * in.channels + d;
#pragma unroll
  for (int k = 0; k < Width - 1; ++k) fetch_ahead(past + static_cast<int64_t>(k) * in.channels);
  float sum = in.bias ? in.bias[d] : 0, weight[Width];
#pragma unroll
  for (int k = 0; k < Width; ++k) weight[k] = in.weight[static_cast<int64_t>(d) * Width + k];
  await_previous();
  const Element x = in.x.data[b * in.x.stride + d];
#pragma unroll
  for (int k = 0; k < Width; ++k) {
    const Element here = k < Width - 1 ? past[static_cast<int64_t>(k) * in.channels] : x;
    if (k > 0) past[static_cast<int64_t>(k - 1) * in.channels] = here;
    sum += weight[k] * to_float(here);
  }
  in.y.data[b * in.y.stride + d] = from_float<Element>(sum * sigmoid(sum));
}

void check_shape(const ConvShape& shape) {
  const auto refuse = [](const std::string& what) {
    throw std::invalid_argument("causal convolution on the GPU: " + what);
  };
  if (shape.batch < 1 || shape.time < 1 || shape.channels < 1) refuse("an empty array");
  if (shape.batch > 65535) refuse("more than 65535 rows");
  if (shape.time > (1 << 22) || shape.channels > (1 << 24)) refuse("more than 2^22 steps or 2^24 channels");
  if (shape.width < 1 || shape.width > 4) refuse("width " + std::to_string(shape.width) + ", not 1 to 4");
}

// Calls f(std::integral_constant<int, W>).
template <class F>
void with_width(int64_t width, const F& f) {
  switch (width) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 3:
      return f(std::integral_constant<int, 3>());
    default:
      return f(std::integral_constant<int, 4>());
  }
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Cut>
int64_t time_blocks(const ConvShape& shape) {
  return ceil_div(shape.time, conv_warps * Cut::longest);
}

template <class Cut>
dim3 conv_blocks(const ConvShape& shape) {
  return dim3(static_cast<unsigned>(ceil_div(shape.channels, Cut::channels)),
              static_cast<unsigned>(time_blocks<Cut>(shape)), static_cast<unsigned>(shape.batch));
}

template <class Cut, class Element>
ConvArguments<Element> conv_arguments(const ConvShape& shape, Rows<const Element> x, const float* weight,
                                      const float* bias) {
  ConvArguments<Element> arguments{};
  arguments.time = static_cast<int>(shape.time), arguments.channels = static_cast<int>(shape.channels);
  arguments.segment = static_cast<int>(ceil_div(shape.time, time_blocks<Cut>(shape) * conv_warps));
  arguments.x = x, arguments.weight = weight, arguments.bias = bias;
  return arguments;
}

}  // namespace

template <class Element>
void causal_conv1d_forward_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                                const Element* initial, Rows<Element> y, cudaStream_t stream) {
  using Cut = ForwardCut<Element>;
  check_shape(shape);
  ConvArguments<Element> arguments = conv_arguments<Cut>(shape, x, weight, bias);
  arguments.y = y, arguments.initial = initial;
  const bool aligned = shape.channels % 8 == 0 && is_aligned(x) && is_aligned(y);
  with_width(shape.width, [&](auto width) {
    constexpr int W = decltype(width)::value;
    launch("causal convolution", aligned ? conv_forward<Element, Cut, W, true> : conv_forward<Element, Cut, W, false>,
           conv_blocks<Cut>(shape), conv_threads, 0, stream, arguments);
  });
}

template <class Element>
void causal_conv1d_step_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                             Element* window, Rows<Element> y, cudaStream_t stream) {
  check_shape(shape);
  if (shape.time != 1) throw std::invalid_argument("causal convolution on the GPU: a step of more than one token");
  ConvArguments<Element> arguments = conv_arguments<ForwardCut<Element>>(shape, x, weight, bias);
  arguments.y = y;
  with_width(shape.width, [&](auto width) {
    const dim3 blocks(static_cast<unsigned>(ceil_div(shape.batch * shape.channels, conv_threads)));
    launch_overlapping("a step of the causal convolution", conv_step<Element, decltype(width)::value>, blocks,
                       conv_threads, 0, stream, shape.batch, arguments, window);
  });
}

int64_t causal_conv1d_backward_workspace_bytes(const ConvShape& shape) {
  using Cut = BackwardCut<float>;
  static_assert(Cut::longest == BackwardCut<__nv_bfloat16>::longest);
  check_shape(shape);
  return shape.batch * time_blocks<Cut>(shape) * (shape.width + 1) * shape.channels *
         static_cast<int64_t>(sizeof(float));
}

template <class Element>
void causal_conv1d_backward_cuda(const ConvShape& shape, Rows<const Element> x, const float* weight, const float* bias,
                                 Rows<const Element> dy, Rows<Element> dx, float* dweight, float* dbias,
                                 void* workspace, cudaStream_t stream) {
  constexpr const char* what = "causal convolution's gradient";
  using Cut = BackwardCut<Element>;
  check_shape(shape);
  ConvArguments<Element> arguments = conv_arguments<Cut>(shape, x, weight, bias);
  arguments.dy = dy, arguments.dx = dx, arguments.partials = static_cast<float*>(workspace);
  const bool aligned = shape.channels % 8 == 0 && is_aligned(x) && is_aligned(dy) && is_aligned(dx);
  with_width(shape.width, [&](auto width) {
    constexpr int W = decltype(width)::value;
    launch(what, aligned ? conv_backward<Element, Cut, W, true> : conv_backward<Element, Cut, W, false>,
           conv_blocks<Cut>(shape), conv_threads, sizeof(BackwardShared<Element, Cut, W>), stream, arguments);
  });
  const dim3 blocks(static_cast<unsigned>(ceil_div(shape.channels, 32)), static_cast<unsigned>(shape.width + 1));
  launch(what, add_block_shares, blocks, conv_threads, 0, stream, arguments.partials,
         static_cast<int>(shape.batch * time_blocks<Cut>(shape)), static_cast<int>(shape.width), arguments.channels,
         dweight, dbias);
}

#define RECITE_CONV(Element)                                                                                           \
  template void causal_conv1d_forward_cuda<Element>(const ConvShape&, Rows<const Element>, const float*, const float*, \
                                                    const Element*, Rows<Element>, cudaStream_t);                      \
  template void causal_conv1d_step_cuda<Element>(const ConvShape&, Rows<const Element>, const float*, const float*,    \
                                                 Element*, Rows<Element>, cudaStream_t);                               \
  template void causal_conv1d_backward_cuda<Element>(const ConvShape&, Rows<const Element>, const float*,              \
                                                     const float*, Rows<const Element>, Rows<Element>, float*, float*, \
                                                     void*, cudaStream_t);
RECITE_CONV(float)
RECITE_CONV(__nv_bfloat16)
#undef RECITE_CONV

}  // namespace recite::kernels
