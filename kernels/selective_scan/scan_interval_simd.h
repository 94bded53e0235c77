// What the forward and the backward share, for *_simd.cpp files.
#pragma once

#include "kernels/selective_scan/scan_simd.h"
#include "kernels/simd/math.h"

namespace recite::kernels::RECITE_ISA {

// Steps [begin, end) of as many channels of a row as a vector has lanes, or of the last `count`.
struct ScanTile {
  ScanShape shape;
  int64_t batch, channel, count, begin, end;
  int64_t next;  // steps to the interval worked on after this one

  RECITE_INLINE int64_t steps() const { return end - begin; }
  // The tile's channels at its step i, in a (B, T, D) array.
  RECITE_INLINE int64_t at(int64_t i) const { return (batch * shape.time + begin + i) * shape.channels + channel; }
  // The numbers of its step i in a (B, T, N) array.
  RECITE_INLINE int64_t states_at(int64_t i) const { return (batch * shape.time + begin + i) * shape.state; }
  // Its part of the states kept before the interval: row n is n * D further.
  RECITE_INLINE int64_t kept_at() const {
    const int64_t intervals = (shape.time + scan_checkpoint_interval - 1) / scan_checkpoint_interval;
    return (batch * intervals + begin / scan_checkpoint_interval) * shape.state * shape.channels + channel;
  }
  // The tile's channels in the next interval are asked for while this one is worked on.
  template <class Real>
  RECITE_INLINE Vector<Real> load_ahead(const Real* from) const {
    __builtin_prefetch(from + next * shape.channels, 0, 2);
    return load(from, count);
  }
};

// What depends on delta' and u alone, for each step of a tile.
template <class Real>
struct ScanSteps {
  Vector<Real> delta[scan_checkpoint_interval];  // delta'
  Vector<Real> input[scan_checkpoint_interval];  // delta' u
  Vector<Real> out[scan_checkpoint_interval];    // D u; the sum over states is added

  RECITE_INLINE void start(const ScanTile& tile, const ScanInputs<Real>& in, const ScanParameters<Real>& parameters) {
    const Vector<Real> D = load(parameters.D + tile.channel), bias = load(parameters.delta_bias + tile.channel);
    for (int64_t i = 0; i < tile.steps(); ++i) {
      const Vector<Real> u = tile.load_ahead(in.u + tile.at(i));
      delta[i] = softplus<Real>(tile.load_ahead(in.delta + tile.at(i)) + bias);
      input[i] = delta[i] * u;
      out[i] = D * u;
    }
  }
};

}  // namespace recite::kernels::RECITE_ISA
