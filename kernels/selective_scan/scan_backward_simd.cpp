#include "kernels/selective_scan/scan_interval_simd.h"

namespace recite::kernels::RECITE_ISA {

namespace {

constexpr int64_t interval = scan_checkpoint_interval;

// A tile's way back through its interval.
template <class Real>
struct BackwardTile {
  const ScanBackward<Real>& scan;
  const ScanBackwardTask<Real>& to;
  const ScanTile tile;
  ScanSteps<Real> steps;
  Vector<Real> dout[interval];    // gradient in what the gate multiplies
  Vector<Real> dinput[interval];  // gradient in delta' u
  Vector<Real> ddelta[interval];  // gradient in delta', divided by ln 2; that of delta' u is added at the end

  BackwardTile(const ScanBackward<Real>& of, const ScanBackwardTask<Real>& sums, const ScanTile& place)
      : scan(of), to(sums), tile(place) {}

  void run() {
    steps.start(tile, scan.in, scan.parameters);
    for (int64_t i = 0; i < tile.steps(); ++i) {
      dout[i] = tile.load_ahead(scan.dy + tile.at(i));
      if (scan.in.z) {
        const Vector<Real> z = tile.load_ahead(scan.in.z + tile.at(i));
        dout[i] *= z * sigmoid<Real>(z);
      }
      dinput[i] = ddelta[i] = Vector<Real>{};
    }
    int64_t n = 0;
    for (; n + 2 <= scan.shape.state; n += 2) states_back<2>(n);
    if (n < scan.shape.state) states_back<1>(n);
    for (int64_t i = 0; i < tile.steps(); ++i) finish_step(i);
  }

  // States n .. n+S-1 of every channel: recomputed from those kept, then back. Several at a time share what they load
  // and store of each step.
  template <int S>
  RECITE_INLINE void states_back(int64_t n) {
    Vector<Real> decay[S][interval], h[S][interval + 1], A[S];
    for (int s = 0; s < S; ++s) {
      A[s] = load(scan.parameters.A + (n + s) * scan.parameters.padded + tile.channel);
      h[s][0] = load(scan.states + tile.kept_at() + (n + s) * scan.shape.channels, tile.count);
    }
    const int64_t N = scan.shape.state, count = tile.steps();
    const Real *B = scan.in.B + tile.states_at(0) + n, *C = scan.in.C + tile.states_at(0) + n;
    for (int64_t i = 0; i < count; ++i) {
      Vector<Real> out = steps.out[i];
      for (int s = 0; s < S; ++s) {
        decay[s][i] = exp2_of_negative<Real>(steps.delta[i] * A[s]);
        h[s][i + 1] = decay[s][i] * h[s][i] + steps.input[i] * B[i * N + s];
        out += h[s][i + 1] * C[i * N + s];
      }
      steps.out[i] = out;
    }
    go_back<S>(n, A, decay, h);
  }

  template <int S>
  RECITE_INLINE void go_back(int64_t n, const Vector<Real>* A, const Vector<Real> (*decay)[interval],
                             const Vector<Real> (*h)[interval + 1]) {
    const int64_t N = scan.shape.state, padded = scan.parameters.padded;
    const Real *B = scan.in.B + tile.states_at(0) + n, *C = scan.in.C + tile.states_at(0) + n;
    Real *dh_kept = to.dh + n * scan_task_channels + tile.channel % scan_task_channels,
         *dA_kept = to.A + n * padded + tile.channel, *share_B = to.shares + n * interval * lanes<Real>,
         *share_C = share_B + N * interval * lanes<Real>;
    Vector<Real> dh[S], dA[S];
    for (int s = 0; s < S; ++s) {
      dh[s] = load(dh_kept + s * scan_task_channels);
      dA[s] = load(dA_kept + s * padded);
    }
    for (int64_t i = tile.steps() - 1; i >= 0; --i) {
      Vector<Real> to_input = dinput[i], to_delta = ddelta[i];
      for (int s = 0; s < S; ++s) {
        dh[s] += dout[i] * C[i * N + s];
        add(h[s][i + 1] * dout[i], share_C + (s * interval + i) * lanes<Real>);
        add(dh[s] * steps.input[i], share_B + (s * interval + i) * lanes<Real>);
        to_input += dh[s] * B[i * N + s];
        dh[s] *= decay[s][i];
        const Vector<Real> dexponent = dh[s] * h[s][i];
        to_delta += dexponent * A[s];
        dA[s] += dexponent * steps.delta[i];
      }
      dinput[i] = to_input;
      ddelta[i] = to_delta;
    }
    for (int s = 0; s < S; ++s) {
      store(dh[s], dh_kept + s * scan_task_channels);
      store(dA[s], dA_kept + s * padded);
    }
  }

  RECITE_INLINE void finish_step(int64_t i) {
    const Vector<Real> u = load(scan.in.u + tile.at(i), tile.count), D = load(scan.parameters.D + tile.channel);
    const Vector<Real> raw =
        load(scan.in.delta + tile.at(i), tile.count) + load(scan.parameters.delta_bias + tile.channel);
    const Vector<Real> dstep = (ddelta[i] * Real(ln_2) + u * dinput[i]) * sigmoid<Real>(raw);
    store(D * dout[i] + steps.delta[i] * dinput[i], scan.gradients.u + tile.at(i), tile.count);
    store(dstep, scan.gradients.delta + tile.at(i), tile.count);
    add(dstep, to.delta_bias + tile.channel);
    add(u * dout[i], to.D + tile.channel);
    if (!scan.in.z) return;
    const Vector<Real> z = load(scan.in.z + tile.at(i), tile.count), s = sigmoid<Real>(z);
    const Vector<Real> dgate = load(scan.dy + tile.at(i), tile.count) * steps.out[i];
    store(dgate * s * (1 + z * (1 - s)), scan.gradients.z + tile.at(i), tile.count);
  }

  RECITE_INLINE static void add(Vector<Real> v, Real* to) { store(load(to) + v, to); }
};

template <class Real>
void interval_back(const ScanBackward<Real>& scan, const ScanTask& task, const ScanBackwardTask<Real>& to,
                   int64_t begin, int64_t end) {
  const int64_t N = scan.shape.state, shares = N * interval * lanes<Real>;
  for (int64_t i = 0; i < 2 * shares; ++i) to.shares[i] = 0;
  for (int64_t c = 0; c < task.count; c += lanes<Real>) {
    BackwardTile<Real>(scan, to, {scan.shape, task.batch, task.first + c, task.count - c, begin, end, -interval}).run();
  }
  for (int64_t i = 0; i < end - begin; ++i)
    for (int64_t n = 0; n < N; ++n) {
      const Real* share = to.shares + (n * interval + i) * lanes<Real>;
      to.B[(begin + i) * N + n] = sum<Real>(load(share));
      to.C[(begin + i) * N + n] = sum<Real>(load(share + shares));
    }
}

}  // namespace

template <class Real>
void scan_backward(const ScanBackward<Real>& scan, const ScanTask& task, const ScanBackwardTask<Real>& to) {
  for (int64_t begin = (scan.shape.time - 1) / interval * interval; begin >= 0; begin -= interval) {
    const int64_t left = scan.shape.time - begin;
    interval_back(scan, task, to, begin, begin + (left < interval ? left : interval));
  }
}

template void scan_backward(const ScanBackward<float>&, const ScanTask&, const ScanBackwardTask<float>&);
template void scan_backward(const ScanBackward<double>&, const ScanTask&, const ScanBackwardTask<double>&);

}  // namespace recite::kernels::RECITE_ISA
