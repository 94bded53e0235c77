// What the forward and the backward of the selective scan on the CPU share: the work is cut into blocks of `lanes`
// channels of one row, and within a block arrays are (N, lanes), so that the compiler vectorises over channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/math.h"
#include "kernels/selective_scan/selective_scan.h"

namespace recite::kernels {

constexpr int64_t lanes = 16;

// One number for each channel of a block. The last block of a row may have fewer than `lanes` channels: the others are
// 0.
template <class Real>
struct alignas(64) Lanes {
  Real value[lanes] = {};

  Real& operator[](int64_t l) { return value[l]; }
  Real operator[](int64_t l) const { return value[l]; }
};

// In a fixed order.
template <class Real>
Real sum(const Lanes<Real>& v) {
  Real part[lanes / 2];
  for (int64_t l = 0; l < lanes / 2; ++l) part[l] = v[l] + v[l + lanes / 2];
  for (int64_t width = lanes / 4; width > 0; width /= 2)
    for (int64_t l = 0; l < width; ++l) part[l] += part[l + width];
  return part[0];
}

// Channels first..first+count-1 of row `batch`.
struct ScanBlock {
  ScanShape shape;
  int64_t batch, first, count;

  template <class Real>
  Lanes<Real> load(const Real* from) const {
    Lanes<Real> to;
    std::copy_n(from, count, to.value);
    return to;
  }
  template <class Real>
  void store(const Lanes<Real>& from, Real* to) const {
    std::copy_n(from.value, count, to);
  }
  // The block's channels in a (B, T, D) array at time t.
  int64_t at(int64_t t) const { return (batch * shape.time + t) * shape.channels + first; }

  // The block's part of an array (..., D, N), which begins at its first channel, to and from (N, lanes).
  template <class Real>
  void load_states(const Real* from, std::vector<Lanes<Real>>& to) const {
    for (int64_t n = 0; n < shape.state; ++n)
      for (int64_t l = 0; l < count; ++l) to[n][l] = from[l * shape.state + n];
  }
  template <class Real>
  void store_states(const std::vector<Lanes<Real>>& from, Real* to) const {
    for (int64_t n = 0; n < shape.state; ++n)
      for (int64_t l = 0; l < count; ++l) to[l * shape.state + n] = from[n][l];
  }
  // Where the block's part begins in the states kept before interval `checkpoint`.
  int64_t checkpoint_at(int64_t checkpoint) const {
    const int64_t row = batch * scan_checkpoints(shape.time) + checkpoint;
    return (row * shape.channels + first) * shape.state;
  }
};

inline int64_t scan_blocks(const ScanShape& shape) { return (shape.channels + lanes - 1) / lanes; }

inline ScanBlock scan_block(const ScanShape& shape, int64_t batch, int64_t index) {
  return {shape, batch, index * lanes, std::min(lanes, shape.channels - index * lanes)};
}

// delta' and what depends on it alone, of one step.
template <class Real>
struct ScanStep {
  Lanes<Real> u, delta, input;  // delta' and delta' u
};

template <class Real>
ScanStep<Real> scan_step(const ScanBlock& block, const ScanInputs<Real>& in, const Lanes<Real>& bias, int64_t t) {
  ScanStep<Real> step;
  step.u = block.load(in.u + block.at(t));
  step.delta = block.load(in.delta + block.at(t));
  for (int64_t l = 0; l < lanes; ++l) step.delta[l] = softplus(step.delta[l] + bias[l]);
  for (int64_t l = 0; l < lanes; ++l) step.input[l] = step.delta[l] * step.u[l];
  return step;
}

}  // namespace recite::kernels
