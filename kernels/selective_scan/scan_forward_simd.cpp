#include "kernels/selective_scan/scan_interval_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

// States n .. n+S-1 of the tile's channels through its steps. Several at a time share what they load and store of each
// step. h (N, scan_task_channels): from the tile's first channel on.
template <int S, class Real>
RECITE_INLINE void states_forward(const ScanForward<Real>& scan, const ScanTile& tile, int64_t n,
                                  ScanSteps<Real>& steps, Real* h) {
  const int64_t N = scan.shape.state, count = tile.steps();
  const Real *B = scan.in.B + tile.states_at(0) + n, *C = scan.in.C + tile.states_at(0) + n;
  Vector<Real> A[S], state[S];
  for (int s = 0; s < S; ++s) {
    A[s] = load(scan.parameters.A + (n + s) * scan.parameters.padded + tile.channel);
    state[s] = load(h + (n + s) * scan_task_channels);
    if (scan.states) store(state[s], scan.states + tile.kept_at() + (n + s) * scan.shape.channels, tile.count);
  }
  for (int64_t i = 0; i < count; ++i) {
    Vector<Real> out = steps.out[i];
    for (int s = 0; s < S; ++s) {
      state[s] = exp2_of_negative<Real>(steps.delta[i] * A[s]) * state[s] + steps.input[i] * B[i * N + s];
      out += state[s] * C[i * N + s];
    }
    steps.out[i] = out;
  }
  for (int s = 0; s < S; ++s) store(state[s], h + (n + s) * scan_task_channels);
}

template <class Real>
void forward_tile(const ScanForward<Real>& scan, const ScanTile& tile, Real* h) {
  ScanSteps<Real> steps;
  steps.start(tile, scan.in, scan.parameters);
  int64_t n = 0;
  for (; n + 2 <= scan.shape.state; n += 2) states_forward<2>(scan, tile, n, steps, h);
  if (n < scan.shape.state) states_forward<1>(scan, tile, n, steps, h);
  for (int64_t i = 0; i < tile.steps(); ++i) {
    Vector<Real> y = steps.out[i];
    if (scan.in.z) {
      const Vector<Real> z = tile.load_ahead(scan.in.z + tile.at(i));
      y *= z * sigmoid<Real>(z);
    }
    store(y, scan.y + tile.at(i), tile.count);
  }
}

}  // namespace

template <class Real>
void scan_forward(const ScanForward<Real>& scan, const ScanTask& task, Real* h) {
  for (int64_t begin = 0; begin < scan.shape.time; begin += scan_checkpoint_interval) {
    const int64_t left = scan.shape.time - begin;
    const int64_t end = begin + (left < scan_checkpoint_interval ? left : scan_checkpoint_interval);
    for (int64_t c = 0; c < task.count; c += lanes<Real>)
      forward_tile(scan, {scan.shape, task.batch, task.first + c, task.count - c, begin, end, scan_checkpoint_interval},
                   h + c);
  }
}

template void scan_forward(const ScanForward<float>&, const ScanTask&, float*);
template void scan_forward(const ScanForward<double>&, const ScanTask&, double*);

}  // namespace recite::kernels::RECITE_ISA
