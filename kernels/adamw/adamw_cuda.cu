#include "kernels/adamw/adamw_cuda.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/launch.h"

namespace recite::kernels {

namespace {

constexpr int threads = 256;
constexpr int norm_packs = 4, adamw_packs = 2;  // of four numbers, whose loads are on their way at once
constexpr int most_norm_blocks = 1056;          // eight for each multiprocessor of an H100
constexpr int most_adamw_blocks = 132 * 16;
using Floats = Pack<float, 4>;

// Adds over a block's threads, in a fixed order; thread 0 gets the sum.
__device__ double sum_over_block(double value) {
  __shared__ double shared[threads / 32];
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_down_sync(~0u, value, lanes);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int warp = 1; warp < threads / 32; ++warp) value += shared[warp];
  return value;
}

__device__ double squares(const Floats& pack) {
  double sum = 0;
#pragma unroll
  for (const float value : pack.values) sum += static_cast<double>(value) * value;
  return sum;
}

__global__ __launch_bounds__(threads) void add_squares(const float* gradients, int64_t size, double* shares) {
  const auto* packs = reinterpret_cast<const Floats*>(gradients);
  const int64_t count = size / 4, step = static_cast<int64_t>(gridDim.x) * threads;
  int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  double sum = 0;
  if (i < size % 4) sum = static_cast<double>(gradients[4 * count + i]) * gradients[4 * count + i];
  for (; i + (norm_packs - 1) * step < count; i += norm_packs * step) {
    Floats loaded[norm_packs];
#pragma unroll
    for (int k = 0; k < norm_packs; ++k) loaded[k] = packs[i + k * step];
#pragma unroll
    for (int k = 0; k < norm_packs; ++k) sum += squares(loaded[k]);
  }
  for (; i < count; i += step) sum += squares(packs[i]);
  sum = sum_over_block(sum);
  if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

__global__ __launch_bounds__(threads) void add_square_shares(const double* shares, int count, double* to) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += threads) sum += shares[i];
  sum = sum_over_block(sum);
  if (threadIdx.x == 0) *to = sum;
}

// AdamWStep as the numbers that every weight needs.
struct Update {
  float kept;         // of a weight: 1 - lr d
  float beta1, new1;  // new1 = 1 - beta1
  float beta2, new2;
  float rate;               // lr / (1 - beta1^t)
  float second_correction;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
  double divisor, limit;
  const double* squared_norm;

  __device__ float factor() const {
    if (!(limit > 0)) return static_cast<float>(1 / divisor);
    const double clip = limit / (sqrt(*squared_norm) / divisor + 1e-6);
    return static_cast<float>((clip < 1 ? clip : 1) / divisor);
  }
  __device__ void apply(float gradient, float& weight, float& first, float& second) const {
    first = beta1 * first + new1 * gradient;
    second = beta2 * second + new2 * gradient * gradient;
    weight = kept * weight - rate * first / (sqrtf(second) * second_correction + epsilon);
  }
};

Update update_of(const AdamWStep& step, const double* squared_norm) {
  const auto t = static_cast<double>(step.t);
  return {static_cast<float>(1 - step.learning_rate * step.weight_decay),
          static_cast<float>(step.beta1),
          static_cast<float>(1 - step.beta1),
          static_cast<float>(step.beta2),
          static_cast<float>(1 - step.beta2),
          static_cast<float>(step.learning_rate / (1 - std::pow(step.beta1, t))),
          static_cast<float>(1 / std::sqrt(1 - std::pow(step.beta2, t))),
          static_cast<float>(step.epsilon),
          step.divisor,
          step.limit,
          squared_norm};
}

struct AdamWPack {
  Floats weights, gradients, first, second;

  __device__ void load(const AdamWBuffers& buffers, int64_t i) {
    weights = reinterpret_cast<const Floats*>(buffers.weights)[i];
    gradients = reinterpret_cast<const Floats*>(buffers.gradients)[i];
    first = reinterpret_cast<const Floats*>(buffers.first_moments)[i];
    second = reinterpret_cast<const Floats*>(buffers.second_moments)[i];
  }
  __device__ void update(const Update& step, float factor) {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      step.apply(factor * gradients.values[k], weights.values[k], first.values[k], second.values[k]);
  }
  __device__ void store(const AdamWBuffers& buffers, int64_t i) const {
    reinterpret_cast<Floats*>(buffers.weights)[i] = weights;
    reinterpret_cast<Floats*>(buffers.first_moments)[i] = first;
    reinterpret_cast<Floats*>(buffers.second_moments)[i] = second;
    if (buffers.rounded_weights) store_pack(weights.values, buffers.rounded_weights + 4 * i, 0, 4);
  }
};

template <int Packs>
__device__ void update_packs(const Update& step, float factor, const AdamWBuffers& buffers, int64_t i, int64_t stride) {
  AdamWPack packs[Packs];
#pragma unroll
  for (int k = 0; k < Packs; ++k) packs[k].load(buffers, i + k * stride);
#pragma unroll
  for (int k = 0; k < Packs; ++k) {
    packs[k].update(step, factor);
    packs[k].store(buffers, i + k * stride);
  }
}

__device__ void update_one(const Update& step, float factor, const AdamWBuffers& buffers, int64_t i) {
  step.apply(factor * buffers.gradients[i], buffers.weights[i], buffers.first_moments[i], buffers.second_moments[i]);
  if (buffers.rounded_weights) buffers.rounded_weights[i] = from_float<__nv_bfloat16>(buffers.weights[i]);
}

__global__ __launch_bounds__(threads) void adamw(const Update step, const AdamWBuffers buffers, int64_t size) {
  const float factor = step.factor();
  const int64_t count = size / 4, stride = static_cast<int64_t>(gridDim.x) * threads;
  int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  if (i < size % 4) update_one(step, factor, buffers, 4 * count + i);
  for (; i + (adamw_packs - 1) * stride < count; i += adamw_packs * stride)
    update_packs<adamw_packs>(step, factor, buffers, i, stride);
  for (; i < count; i += stride) update_packs<1>(step, factor, buffers, i, stride);
}

// Blocks of one pack for each thread, at most so many.
int blocks_of(int64_t size, int most) {
  return static_cast<int>(std::clamp<int64_t>((size + 4 * threads - 1) / (4 * threads), 1, most));
}

template <class... Elements>
void check_buffers(const char* what, int64_t size, const Elements*... buffers) {
  if (size < 1) throw std::invalid_argument(std::string(what) + " on the GPU: an empty buffer");
  if (!hold_packs<4>(buffers...))
    throw std::invalid_argument(std::string(what) + " on the GPU: a buffer that begins between multiples of 16 bytes");
}

}  // namespace

int64_t squared_norm_workspace_bytes(int64_t size) {
  return blocks_of(size, most_norm_blocks) * static_cast<int64_t>(sizeof(double));
}

void squared_norm_cuda(const float* gradients, int64_t size, double* sum, void* workspace, cudaStream_t stream) {
  constexpr const char* what = "the gradient's norm";
  check_buffers(what, size, gradients);
  const int blocks = blocks_of(size, most_norm_blocks);
  auto* shares = static_cast<double*>(workspace);
  launch(what, add_squares, dim3(blocks), threads, 0, stream, gradients, size, shares);
  launch(what, add_square_shares, dim3(1), threads, 0, stream, shares, blocks, sum);
}

void adamw_cuda(const AdamWStep& step, const AdamWBuffers& buffers, int64_t size, const double* squared_norm,
                cudaStream_t stream) {
  constexpr const char* what = "AdamW";
  check_buffers(what, size, buffers.weights, buffers.gradients, buffers.first_moments, buffers.second_moments,
                buffers.rounded_weights);
  if (step.t < 1 || !(step.divisor > 0))
    throw std::invalid_argument("AdamW on the GPU: an update below 1, or a divisor that is not positive");
  if (step.limit > 0 && !squared_norm) throw std::invalid_argument("AdamW on the GPU: a limit without a norm");
  launch(what, adamw, dim3(blocks_of(size, most_adamw_blocks)), threads, 0, stream, update_of(step, squared_norm),
         buffers, size);
}

}  // namespace recite::kernels
