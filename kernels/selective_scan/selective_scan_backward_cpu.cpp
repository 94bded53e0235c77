#include "kernels/selective_scan/scan_block.h"

namespace recite::kernels {

namespace {

// Blocks whose shares of dB and dC are added up by one thread: fewer partial sums to keep, and a number of them that
// does not depend on the threads.
constexpr int64_t blocks_per_group = 16;

int64_t group_count(const ScanShape& shape) { return (scan_blocks(shape) + blocks_per_group - 1) / blocks_per_group; }

// Sums that several threads have a share of, before they are added up.
template <class Real>
struct Partial {
  explicit Partial(const ScanShape& shape)
      : B(shape.batch * group_count(shape) * shape.time * shape.state),
        C(B.size()),
        A(shape.batch * shape.channels * shape.state),
        D(shape.batch * shape.channels),
        delta_bias(D.size()) {}

  std::vector<Real> B, C;           // (B, groups, T, N)
  std::vector<Real> A;              // (B, D, N)
  std::vector<Real> D, delta_bias;  // (B, D)
};

// One block's way back through time.
template <class Real>
class BackwardBlock {
 public:
  BackwardBlock(const ScanBlock& block, const ScanInputs<Real>& in, const Real* states, const Real* dy,
                const ScanGradients<Real>& gradients)
      : block_(block),
        in_(in),
        states_(states),
        dy_(dy),
        gradients_(gradients),
        N_(block.shape.state),
        D_(block.load(in.D + block.first)),
        bias_(block.load(in.delta_bias + block.first)),
        A_(N_),
        dA_(N_),
        dh_(N_),
        h_((scan_checkpoint_interval + 1) * N_),
        decay_(scan_checkpoint_interval * N_),
        steps_(scan_checkpoint_interval) {
    block.load_states(in.A + block.first * N_, A_);
  }

  // dB, dC (T, N): of the block's row and group, added to.
  void run(Real* dB, Real* dC) {
    for (int64_t checkpoint = scan_checkpoints(block_.shape.time) - 1; checkpoint >= 0; --checkpoint) {
      const int64_t begin = checkpoint * scan_checkpoint_interval;
      const int64_t end = std::min(begin + scan_checkpoint_interval, block_.shape.time);
      recompute(checkpoint, begin, end);
      for (int64_t t = end - 1; t >= begin; --t) step_back(t, t - begin, dB + t * N_, dC + t * N_);
    }
  }

  void store_sums(Partial<Real>& partial) const {
    const int64_t place = block_.batch * block_.shape.channels + block_.first;
    block_.store_states(dA_, &partial.A[place * N_]);
    block_.store(dD_, &partial.D[place]);
    block_.store(dbias_, &partial.delta_bias[place]);
  }

 private:
  // The states before and after each step of one interval, from the one kept.
  void recompute(int64_t checkpoint, int64_t begin, int64_t end) {
    block_.load_states(states_ + block_.checkpoint_at(checkpoint), h_);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t i = t - begin;
      const ScanStep<Real>& step = steps_[i] = scan_step(block_, in_, bias_, t);
      const Real* B = in_.B + (block_.batch * block_.shape.time + t) * N_;
      for (int64_t n = 0; n < N_; ++n) {
        const Lanes<Real>& before = h_[i * N_ + n];
        Lanes<Real>&after = h_[(i + 1) * N_ + n], &decay = decay_[i * N_ + n];
        for (int64_t l = 0; l < lanes; ++l) decay[l] = exponential(step.delta[l] * A_[n][l]);
        for (int64_t l = 0; l < lanes; ++l) after[l] = decay[l] * before[l] + step.input[l] * B[n];
      }
    }
  }

  // Step t, the i-th of its interval.
  void step_back(int64_t t, int64_t i, Real* dB, Real* dC) {
    const ScanStep<Real>& step = steps_[i];
    const int64_t row = (block_.batch * block_.shape.time + t) * N_;
    const Lanes<Real> dout = gate_back(t, i, in_.C + row);
    Lanes<Real> dinput, ddelta;
    for (int64_t n = 0; n < N_; ++n) {
      const Lanes<Real>&before = h_[i * N_ + n], &after = h_[(i + 1) * N_ + n], &decay = decay_[i * N_ + n];
      const Real B = in_.B[row + n], C = in_.C[row + n];
      Lanes<Real>& dh = dh_[n];
      Lanes<Real> to_B, to_C;
      for (int64_t l = 0; l < lanes; ++l) {
        dh[l] += C * dout[l];
        to_C[l] = after[l] * dout[l];
        to_B[l] = dh[l] * step.input[l];
        dinput[l] += dh[l] * B;
        const Real dexponent = dh[l] * decay[l] * before[l];
        ddelta[l] += dexponent * A_[n][l];
        dA_[n][l] += dexponent * step.delta[l];
        dh[l] *= decay[l];
      }
      dB[n] += sum(to_B);
      dC[n] += sum(to_C);
    }
    store_step(t, step, dout, dinput, ddelta);
  }

  // The gradient in what the gate multiplies; writes dz.
  Lanes<Real> gate_back(int64_t t, int64_t i, const Real* C) const {
    Lanes<Real> dout = block_.load(dy_ + block_.at(t));
    if (!in_.z) return dout;
    Lanes<Real> out;
    for (int64_t l = 0; l < lanes; ++l) out[l] = D_[l] * steps_[i].u[l];
    for (int64_t n = 0; n < N_; ++n)
      for (int64_t l = 0; l < lanes; ++l) out[l] += C[n] * h_[(i + 1) * N_ + n][l];
    const Lanes<Real> z = block_.load(in_.z + block_.at(t));
    Lanes<Real> dz;
    for (int64_t l = 0; l < lanes; ++l) dz[l] = dout[l] * out[l] * silu_slope(z[l]);
    for (int64_t l = 0; l < lanes; ++l) dout[l] *= silu(z[l]);
    block_.store(dz, gradients_.z + block_.at(t));
    return dout;
  }

  void store_step(int64_t t, const ScanStep<Real>& step, const Lanes<Real>& dout, const Lanes<Real>& dinput,
                  Lanes<Real>& ddelta) {
    Lanes<Real> du;
    const Lanes<Real> raw = block_.load(in_.delta + block_.at(t));
    for (int64_t l = 0; l < lanes; ++l) {
      du[l] = D_[l] * dout[l] + step.delta[l] * dinput[l];
      dD_[l] += step.u[l] * dout[l];
      ddelta[l] = (ddelta[l] + step.u[l] * dinput[l]) * sigmoid(raw[l] + bias_[l]);
      dbias_[l] += ddelta[l];
    }
    block_.store(du, gradients_.u + block_.at(t));
    block_.store(ddelta, gradients_.delta + block_.at(t));
  }

  const ScanBlock block_;
  const ScanInputs<Real>& in_;
  const Real* states_;
  const Real* dy_;
  const ScanGradients<Real>& gradients_;
  const int64_t N_;
  const Lanes<Real> D_, bias_;
  std::vector<Lanes<Real>> A_, dA_;     // (N)
  std::vector<Lanes<Real>> dh_;         // (N): gradient in the state, from the steps after
  std::vector<Lanes<Real>> h_, decay_;  // (interval + 1, N), (interval, N)
  std::vector<ScanStep<Real>> steps_;   // (interval)
  Lanes<Real> dD_, dbias_;
};

// to[i] = sum over `terms` of from[terms, size], in order.
template <class Real>
void add_up(const Real* from, int64_t terms, int64_t size, Real* to) {
  std::copy_n(from, size, to);
  for (int64_t term = 1; term < terms; ++term)
    for (int64_t i = 0; i < size; ++i) to[i] += from[term * size + i];
}

}  // namespace

template <class Real>
void selective_scan_backward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, const Real* states, const Real* dy,
                                 const ScanGradients<Real>& gradients) {
  Partial<Real> partial(shape);
  const int64_t groups = group_count(shape), blocks = scan_blocks(shape), per_row = shape.time * shape.state;
#pragma omp parallel for schedule(static)
  for (int64_t task = 0; task < shape.batch * groups; ++task) {
    const int64_t first = task % groups * blocks_per_group;
    for (int64_t index = first; index < std::min(first + blocks_per_group, blocks); ++index) {
      BackwardBlock<Real> block(scan_block(shape, task / groups, index), in, states, dy, gradients);
      block.run(&partial.B[task * per_row], &partial.C[task * per_row]);
      block.store_sums(partial);
    }
  }
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < shape.batch; ++b) {
    add_up(&partial.B[b * groups * per_row], groups, per_row, gradients.B + b * per_row);
    add_up(&partial.C[b * groups * per_row], groups, per_row, gradients.C + b * per_row);
  }
  add_up(partial.A.data(), shape.batch, shape.channels * shape.state, gradients.A);
  add_up(partial.D.data(), shape.batch, shape.channels, gradients.D);
  add_up(partial.delta_bias.data(), shape.batch, shape.channels, gradients.delta_bias);
}

template void selective_scan_backward_cpu(const ScanShape&, const ScanInputs<float>&, const float*, const float*,
                                          const ScanGradients<float>&);
template void selective_scan_backward_cpu(const ScanShape&, const ScanInputs<double>&, const double*, const double*,
                                          const ScanGradients<double>&);

}  // namespace recite::kernels
