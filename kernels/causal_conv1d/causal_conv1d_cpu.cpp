#include "kernels/causal_conv1d/causal_conv1d.h"

#include <algorithm>
#include <vector>

#include "kernels/math.h"

namespace recite::kernels {

namespace {

constexpr int64_t block_size = 64;  // channels that one thread works on at a time

// Channels first..first+count-1 of row b, with the weights laid out so that channels lie side by side.
template <class Real>
struct Block {
  Block(const ConvShape& of, int64_t index, const Real* weight, const Real* bias) : shape(of) {
    const int64_t blocks = (of.channels + block_size - 1) / block_size;
    batch = index / blocks;
    first = index % blocks * block_size;
    count = std::min(block_size, of.channels - first);
    weights.resize(of.width * count);
    for (int64_t k = 0; k < of.width; ++k)
      for (int64_t d = 0; d < count; ++d) weights[k * count + d] = weight[(first + d) * of.width + k];
    biases.assign(bias + first, bias + first + count);
  }

  int64_t at(int64_t t) const { return (batch * shape.time + t) * shape.channels + first; }

  const ConvShape shape;
  int64_t batch, first, count;
  std::vector<Real> weights;  // (W, count)
  std::vector<Real> biases;   // (count)
};

int64_t block_count(const ConvShape& shape) { return shape.batch * ((shape.channels + block_size - 1) / block_size); }

// The `count` inputs of time t, or null where they are zeros.
template <class Real>
const Real* input_at(const Block<Real>& block, const Real* x, const Real* initial, int64_t t) {
  if (t >= 0) return x + block.at(t);
  if (!initial) return nullptr;
  const int64_t before = block.shape.width - 1;
  return initial + (block.batch * before + before + t) * block.shape.channels + block.first;
}

// sum[d] = bias[d] + sum_k weight[d,k] x[t-W+1+k,d]
template <class Real>
void weighted_sum(const Block<Real>& block, const Real* x, const Real* initial, int64_t t, Real* sum) {
  std::copy(block.biases.begin(), block.biases.end(), sum);
  for (int64_t k = 0; k < block.shape.width; ++k) {
    const Real* input = input_at(block, x, initial, t - block.shape.width + 1 + k);
    if (!input) continue;
    const Real* weight = &block.weights[k * block.count];
    for (int64_t d = 0; d < block.count; ++d) sum[d] += weight[d] * input[d];
  }
}

// The gradients of one block: dx is written; dweight (W, count) and dbias (count), of this row alone, are added to.
template <class Real>
void backward_block(const Block<Real>& block, const Real* x, const Real* dy, Real* dx, Real* dweight, Real* dbias) {
  const int64_t width = block.shape.width, count = block.count;
  Real sum[block_size];
  for (int64_t t = 0; t < block.shape.time; ++t) std::fill_n(dx + block.at(t), count, Real(0));
  for (int64_t t = 0; t < block.shape.time; ++t) {
    weighted_sum<Real>(block, x, nullptr, t, sum);
    Real* dsum = sum;
    for (int64_t d = 0; d < count; ++d) dsum[d] = dy[block.at(t) + d] * silu_slope(sum[d]);
    for (int64_t d = 0; d < count; ++d) dbias[d] += dsum[d];
    for (int64_t k = std::max<int64_t>(0, width - 1 - t); k < width; ++k) {
      const int64_t source = block.at(t - width + 1 + k);
      for (int64_t d = 0; d < count; ++d) dx[source + d] += block.weights[k * count + d] * dsum[d];
      for (int64_t d = 0; d < count; ++d) dweight[k * count + d] += x[source + d] * dsum[d];
    }
  }
}

}  // namespace

template <class Real>
void causal_conv1d_forward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                               const Real* initial, Real* y) {
#pragma omp parallel for schedule(static)
  for (int64_t index = 0; index < block_count(shape); ++index) {
    const Block<Real> block(shape, index, weight, bias);
    Real sum[block_size];
    for (int64_t t = 0; t < shape.time; ++t) {
      weighted_sum(block, x, initial, t, sum);
      for (int64_t d = 0; d < block.count; ++d) y[block.at(t) + d] = silu(sum[d]);
    }
  }
}

template <class Real>
void causal_conv1d_backward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                                const Real* dy, Real* dx, Real* dweight, Real* dbias) {
  // Sums of each row apart, added in the order of the rows afterwards: no result depends on the number of threads.
  std::vector<Real> row_dweight(shape.batch * shape.width * shape.channels);
  std::vector<Real> row_dbias(shape.batch * shape.channels);
#pragma omp parallel for schedule(static)
  for (int64_t index = 0; index < block_count(shape); ++index) {
    const Block<Real> block(shape, index, weight, bias);
    const int64_t place = block.batch * shape.channels + block.first;
    backward_block(block, x, dy, dx, &row_dweight[place * shape.width], &row_dbias[place]);
  }
  std::fill_n(dweight, shape.channels * shape.width, Real(0));
  std::fill_n(dbias, shape.channels, Real(0));
  for (int64_t index = 0; index < block_count(shape); ++index) {
    const Block<Real> block(shape, index, weight, bias);
    const int64_t place = block.batch * shape.channels + block.first;
    for (int64_t d = 0; d < block.count; ++d) {
      dbias[block.first + d] += row_dbias[place + d];
      for (int64_t k = 0; k < shape.width; ++k)
        dweight[(block.first + d) * shape.width + k] += row_dweight[place * shape.width + k * block.count + d];
    }
  }
}

template void causal_conv1d_forward_cpu(const ConvShape&, const float*, const float*, const float*, const float*,
                                        float*);
template void causal_conv1d_forward_cpu(const ConvShape&, const double*, const double*, const double*, const double*,
                                        double*);
template void causal_conv1d_backward_cpu(const ConvShape&, const float*, const float*, const float*, const float*,
                                         float*, float*, float*);
template void causal_conv1d_backward_cpu(const ConvShape&, const double*, const double*, const double*, const double*,
                                         double*, double*, double*);

}  // namespace recite::kernels
