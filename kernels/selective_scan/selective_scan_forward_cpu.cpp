#include "kernels/selective_scan/scan_block.h"

namespace recite::kernels {

namespace {

template <class Real>
void forward_block(const ScanBlock& block, const ScanInputs<Real>& in, Real* y, Real* states, Real* final) {
  const int64_t N = block.shape.state;
  const int64_t row_states = (block.batch * block.shape.channels + block.first) * N;
  const Lanes<Real> D = block.load(in.D + block.first), bias = block.load(in.delta_bias + block.first);
  std::vector<Lanes<Real>> A(N), h(N);
  block.load_states(in.A + block.first * N, A);
  if (in.initial) block.load_states(in.initial + row_states, h);

  for (int64_t t = 0; t < block.shape.time; ++t) {
    if (states && t % scan_checkpoint_interval == 0)
      block.store_states(h, states + block.checkpoint_at(t / scan_checkpoint_interval));
    const ScanStep<Real> step = scan_step(block, in, bias, t);
    const Real* B = in.B + (block.batch * block.shape.time + t) * N;
    const Real* C = in.C + (block.batch * block.shape.time + t) * N;
    Lanes<Real> out;
    for (int64_t l = 0; l < lanes; ++l) out[l] = D[l] * step.u[l];
    for (int64_t n = 0; n < N; ++n) {
      Lanes<Real>& hn = h[n];
      for (int64_t l = 0; l < lanes; ++l) hn[l] = exponential(step.delta[l] * A[n][l]) * hn[l] + step.input[l] * B[n];
      for (int64_t l = 0; l < lanes; ++l) out[l] += C[n] * hn[l];
    }
    if (in.z) {
      const Lanes<Real> z = block.load(in.z + block.at(t));
      for (int64_t l = 0; l < lanes; ++l) out[l] *= silu(z[l]);
    }
    block.store(out, y + block.at(t));
  }
  if (final) block.store_states(h, final + row_states);
}

}  // namespace

template <class Real>
void selective_scan_forward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, Real* y, Real* states,
                                Real* final) {
  const int64_t blocks = scan_blocks(shape);
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < shape.batch * blocks; ++task)
    forward_block(scan_block(shape, task / blocks, task % blocks), in, y, states, final);
}

template void selective_scan_forward_cpu(const ScanShape&, const ScanInputs<float>&, float*, float*, float*);
template void selective_scan_forward_cpu(const ScanShape&, const ScanInputs<double>&, double*, double*, double*);

}  // namespace recite::kernels
