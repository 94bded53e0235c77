#include "kernels/selective_scan/scan_interval_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

// The one step of a channel, whose states are the lanes: sum_n C[n] h[n]. h (N) becomes the state after it.
template <class Real>
RECITE_INLINE Real step_channel(const Real* A, const Real* B, const Real* C, int64_t N, Real delta, Real input,
                                Real* h) {
  Vector<Real> out{};
  for (int64_t n = 0; n < N; n += lanes<Real>) {
    const Vector<Real> decay = exp<Real>(delta * load(A + n, N - n));
    const Vector<Real> state = decay * load(h + n, N - n) + input * load(B + n, N - n);
    store(state, h + n, N - n);
    out += state * load(C + n, N - n);
  }
  return sum<Real>(out);
}

}  // namespace

template <class Real>
void scan_step(const ScanForward<Real>& scan, const ScanTask& task, Real* h) {
  const int64_t N = scan.shape.state;
  for (int64_t c = 0; c < task.count; c += lanes<Real>) {
    const ScanTile tile{scan.shape, task.batch, task.first + c, task.count - c, 0, 1, 1};
    ScanSteps<Real> step;
    step.start(tile, scan.in, scan.parameters);
    Vector<Real> y = step.out[0];
    for (int64_t l = 0; l < lanes<Real> && l < tile.count; ++l) {
      const int64_t channel = tile.channel + l;
      y[l] += step_channel(scan.in.A + channel * N, scan.in.B + tile.states_at(0), scan.in.C + tile.states_at(0), N,
                           step.delta[0][l], step.input[0][l], h + (task.batch * scan.shape.channels + channel) * N);
    }
    if (scan.in.z) {
      const Vector<Real> z = tile.load_ahead(scan.in.z + tile.at(0));
      y *= z * sigmoid<Real>(z);
    }
    store(y, scan.y + tile.at(0), tile.count);
  }
}

template void scan_step(const ScanForward<float>&, const ScanTask&, float*);
template void scan_step(const ScanForward<double>&, const ScanTask&, double*);

}  // namespace recite::kernels::RECITE_ISA
