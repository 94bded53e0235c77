// The selective scan of Mamba (Gu and Dao, arXiv 2312.00752, equations 2 and 4, algorithm 2), with its gate:
//
//   delta'[b,t,d] = softplus(delta[b,t,d] + delta_bias[d])
//   h[b,t,d,n]    = exp(delta' A[d,n]) h[b,t-1,d,n] + delta' B[b,t,n] u[b,t,d]
//   y[b,t,d]      = (sum_n C[b,t,n] h[b,t,d,n] + D[d] u[b,t,d]) * silu(z[b,t,d])
//
// Letters: B batch, T time, D channels, N state. Every array is contiguous, in the order that the shape says. The state
// is float32 (float64 in float64) throughout. No (B, T, D, N) array is made: the backward recomputes the states from
// those kept every `checkpoint_interval` steps.
#pragma once

#include <cstdint>

namespace recite::kernels {

struct ScanShape {
  int64_t batch, time, channels, state;
};

// Steps between the states that the forward keeps for the backward.
constexpr int64_t scan_checkpoint_interval = 16;
inline int64_t scan_checkpoints(int64_t time) {
  return (time + scan_checkpoint_interval - 1) / scan_checkpoint_interval;
}

template <class Real>
struct ScanInputs {
  const Real* u;           // (B, T, D)
  const Real* delta;       // (B, T, D), before bias and softplus
  const Real* A;           // (D, N), negative
  const Real* B;           // (B, T, N)
  const Real* C;           // (B, T, N)
  const Real* D;           // (D)
  const Real* z;           // (B, T, D) or null: no gate
  const Real* delta_bias;  // (D)
  const Real* initial;     // (B, D, N) or null: zeros
};

// y (B, T, D). states (B, scan_checkpoints(T), N, D): the state before each interval, channels side by side, or null
// when there will be no backward. final (B, D, N): the state after the last step, or null.
template <class Real>
void selective_scan_forward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, Real* y, Real* states, Real* final);

// One step of decoding: shape.time is 1, in.initial is not read, and state (B, D, N) becomes the state after it. Faster
// than the forward there, whose states have channels side by side.
template <class Real>
void selective_scan_step_cpu(const ScanShape& shape, const ScanInputs<Real>& in, Real* y, Real* state);

// Gradients of a scalar whose gradient in y is dy. Each is written, not added to; dz is null when z is. dB and dC are
// sums over channels, dA, dD and d_delta_bias over batch and time, all in a fixed order: the same bits on any number
// of threads (with one instruction set: kernels/simd/isa.h).
template <class Real>
struct ScanGradients {
  Real* u;
  Real* delta;
  Real* A;
  Real* B;
  Real* C;
  Real* D;
  Real* z;
  Real* delta_bias;
};
template <class Real>
void selective_scan_backward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, const Real* states, const Real* dy,
                                 const ScanGradients<Real>& gradients);

}  // namespace recite::kernels
