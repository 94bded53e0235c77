#include "kernels/causal_conv1d/causal_conv1d.h"

#include <algorithm>

#include "kernels/causal_conv1d/conv_simd.h"
#include "kernels/simd/workspace.h"

namespace recite::kernels {

namespace {

constexpr int64_t task_channels = 64;  // two cache lines of float32 or more, side by side

// What each task needs, and the arrays it points to.
template <class Real>
struct Work {
  Work(const ConvShape& shape, const Real* x, const Real* weight_, const Real* bias_)
      : padded(rounded_up(shape.channels, widest_lanes)),
        weight(transposed(weight_, shape.channels, shape.width, padded)),
        bias(transposed(bias_, shape.channels, 1, padded)),
        in{shape, padded, x, weight.data(), bias.data()},
        per_row((shape.channels + task_channels - 1) / task_channels),
        tasks(shape.batch * per_row) {}

  ConvTask task(int64_t index) const {
    const int64_t first = index % per_row * task_channels;
    return {index / per_row, first, std::min(task_channels, in.shape.channels - first)};
  }

  // Less work than this is done sooner than other threads are woken: some 50 microseconds.
  bool worth_threads() const { return in.shape.batch * in.shape.time * in.shape.channels >= 1 << 16; }

  const int64_t padded;
  const Workspace<Real> weight, bias;
  const ConvInputs<Real> in;
  const int64_t per_row, tasks;
};

// to[d, k] = sum over rows of from[row, k, d], in order.
template <class Real>
void add_rows(const Workspace<Real>& from, int64_t rows, int64_t width, int64_t channels, int64_t padded, Real* to) {
  auto total = Workspace<Real>::zeros(width * padded);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < width * padded; ++i) total[i] += from.data()[row * width * padded + i];
  for (int64_t k = 0; k < width; ++k)
    for (int64_t d = 0; d < channels; ++d) to[d * width + k] = total[k * padded + d];
}

}  // namespace

template <class Real>
void causal_conv1d_forward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                               const Real* initial, Real* y) {
  const Work<Real> work(shape, x, weight, bias);
  const auto kernel = RECITE_SIMD(conv_forward<Real>);
#pragma omp parallel for schedule(dynamic) if (work.worth_threads())
  for (int64_t index = 0; index < work.tasks; ++index) kernel(work.in, work.task(index), initial, y);
}

template <class Real>
void causal_conv1d_step_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias, Real* window,
                            Real* y) {
  causal_conv1d_forward_cpu<Real>(shape, x, weight, bias, window, y);
  const int64_t kept = shape.width - 1, D = shape.channels;
  if (kept == 0) return;
  for (int64_t b = 0; b < shape.batch; ++b) {
    Real* row = window + b * kept * D;
    std::copy_n(row + D, (kept - 1) * D, row);
    std::copy_n(x + b * D, D, row + (kept - 1) * D);
  }
}

template <class Real>
void causal_conv1d_backward_cpu(const ConvShape& shape, const Real* x, const Real* weight, const Real* bias,
                                const Real* dy, Real* dx, Real* dweight, Real* dbias) {
  const Work<Real> work(shape, x, weight, bias);
  const auto kernel = RECITE_SIMD(conv_backward<Real>);
  const int64_t W = shape.width, padded = work.padded;
  auto row_dweight = Workspace<Real>::zeros(shape.batch * W * padded);
  auto row_dbias = Workspace<Real>::zeros(shape.batch * padded);
#pragma omp parallel for schedule(dynamic) if (work.worth_threads())
  for (int64_t index = 0; index < work.tasks; ++index) {
    const ConvTask task = work.task(index);
    kernel(work.in, task, dy, dx, &row_dweight[task.batch * W * padded], &row_dbias[task.batch * padded]);
  }
  add_rows(row_dweight, shape.batch, W, shape.channels, padded, dweight);
  add_rows(row_dbias, shape.batch, 1, shape.channels, padded, dbias);
}

template void causal_conv1d_forward_cpu(const ConvShape&, const float*, const float*, const float*, const float*,
                                        float*);
template void causal_conv1d_forward_cpu(const ConvShape&, const double*, const double*, const double*, const double*,
                                        double*);
template void causal_conv1d_step_cpu(const ConvShape&, const float*, const float*, const float*, float*, float*);
template void causal_conv1d_step_cpu(const ConvShape&, const double*, const double*, const double*, double*, double*);
template void causal_conv1d_backward_cpu(const ConvShape&, const float*, const float*, const float*, const float*,
                                         float*, float*, float*);
template void causal_conv1d_backward_cpu(const ConvShape&, const double*, const double*, const double*, const double*,
                                         double*, double*, double*);

}  // namespace recite::kernels
