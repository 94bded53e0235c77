#include <algorithm>

#include "kernels/selective_scan/scan_simd.h"
#include "kernels/simd/workspace.h"

namespace recite::kernels {

namespace {

// The rows' channels, cut into tasks.
struct Tasks {
  explicit Tasks(const ScanShape& of)
      : shape(of), per_row((of.channels + scan_task_channels - 1) / scan_task_channels), count(of.batch * per_row) {}

  ScanTask operator[](int64_t index) const {
    const int64_t first = index % per_row * scan_task_channels;
    return {index / per_row, first, std::min(scan_task_channels, shape.channels - first)};
  }

  // Less work than this is done sooner than other threads are woken: some 50 microseconds.
  bool worth_threads() const { return shape.batch * shape.time * shape.channels * shape.state >= 1 << 17; }

  const ScanShape shape;
  const int64_t per_row, count;
};

// The arrays that ScanParameters points to.
template <class Real>
struct Parameters {
  Parameters(const ScanShape& shape, const ScanInputs<Real>& in)
      : padded(rounded_up(shape.channels, widest_lanes)),
        A(transposed(in.A, shape.channels, shape.state, padded, Real(1.4426950408889634))),
        D(transposed(in.D, shape.channels, 1, padded)),
        delta_bias(transposed(in.delta_bias, shape.channels, 1, padded)) {}

  ScanParameters<Real> pointers() const { return {padded, A.data(), D.data(), delta_bias.data()}; }

  const int64_t padded;
  const Workspace<Real> A, D, delta_bias;
};

// Between a task's part of (B, D, N) and (N, scan_task_channels).
template <class Real>
void load_state(const ScanShape& shape, const ScanTask& task, const Real* from, Real* h) {
  from += (task.batch * shape.channels + task.first) * shape.state;
  for (int64_t c = 0; c < task.count; ++c)
    for (int64_t n = 0; n < shape.state; ++n) h[n * scan_task_channels + c] = from[c * shape.state + n];
}
template <class Real>
void store_state(const ScanShape& shape, const ScanTask& task, const Real* h, Real* to) {
  to += (task.batch * shape.channels + task.first) * shape.state;
  for (int64_t c = 0; c < task.count; ++c)
    for (int64_t n = 0; n < shape.state; ++n) to[c * shape.state + n] = h[n * scan_task_channels + c];
}

// What the tasks of the backward add up, before it is added up over rows and tasks.
template <class Real>
struct Partial {
  Partial(const ScanShape& shape, int64_t padded, int64_t tasks)
      : A(shape.batch * shape.state * padded),
        D(shape.batch * padded),
        delta_bias(shape.batch * padded),
        B(tasks * shape.time * shape.state),
        C(tasks * shape.time * shape.state) {}

  Workspace<Real> A;              // (B, N, padded)
  Workspace<Real> D, delta_bias;  // (B, padded)
  Workspace<Real> B, C;           // (tasks, T, N)
};

template <class Real>
void run_backward_task(const ScanBackward<Real>& scan, const Tasks& tasks, int64_t index, Partial<Real>& partial,
                       decltype(&baseline::scan_backward<Real>) kernel) {
  const int64_t N = scan.shape.state, padded = scan.parameters.padded, per_task = scan.shape.time * N;
  const ScanTask task = tasks[index];
  auto dh = Workspace<Real>::zeros(N * scan_task_channels);
  Workspace<Real> shares(2 * N * scan_checkpoint_interval * widest_lanes);
  Real *A = &partial.A[task.batch * N * padded], *D = &partial.D[task.batch * padded],
       *delta_bias = &partial.delta_bias[task.batch * padded];
  const int64_t width = rounded_up(task.count, widest_lanes);
  for (int64_t n = 0; n < N; ++n) std::fill_n(A + n * padded + task.first, width, Real(0));
  std::fill_n(D + task.first, width, Real(0));
  std::fill_n(delta_bias + task.first, width, Real(0));
  kernel(scan, task,
         {A, D, delta_bias, &partial.B[index * per_task], &partial.C[index * per_task], dh.data(), shares.data()});
}

// Called by every thread: each takes a share.
// to[c, n] = sum over rows of from[row, n, c], in order.
template <class Real>
void add_rows(const Real* from, int64_t rows, int64_t states, int64_t channels, int64_t padded, Real* to) {
#pragma omp for schedule(static) nowait
  for (int64_t n = 0; n < states; ++n) {
    auto total = Workspace<Real>::zeros(channels);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t c = 0; c < channels; ++c) total[c] += from[(row * states + n) * padded + c];
    for (int64_t c = 0; c < channels; ++c) to[c * states + n] = total[c];
  }
}

// Called by every thread: each takes a share.
// to[row] = sum over the row's tasks of from[row, task], each of `size`, in order.
template <class Real>
void add_tasks(const Real* from, int64_t rows, int64_t tasks, int64_t size, Real* to) {
#pragma omp for schedule(static) nowait
  for (int64_t row = 0; row < rows; ++row) {
    std::copy_n(from + row * tasks * size, size, to + row * size);
    for (int64_t task = 1; task < tasks; ++task)
      for (int64_t i = 0; i < size; ++i) to[row * size + i] += from[(row * tasks + task) * size + i];
  }
}

}  // namespace

template <class Real>
void selective_scan_forward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, Real* y, Real* states,
                                Real* final) {
  const Parameters<Real> parameters(shape, in);
  const ScanForward<Real> scan{shape, in, parameters.pointers(), y, states};
  const auto kernel = RECITE_SIMD(scan_forward<Real>);
  const Tasks tasks(shape);
#pragma omp parallel for schedule(dynamic) if (tasks.worth_threads())
  for (int64_t index = 0; index < tasks.count; ++index) {
    auto h = Workspace<Real>::zeros(shape.state * scan_task_channels);
    if (in.initial) load_state(shape, tasks[index], in.initial, h.data());
    kernel(scan, tasks[index], h.data());
    if (final) store_state(shape, tasks[index], h.data(), final);
  }
}

template <class Real>
void selective_scan_step_cpu(const ScanShape& shape, const ScanInputs<Real>& in, Real* y, Real* state) {
  const Parameters<Real> parameters(shape, in);
  const ScanForward<Real> scan{shape, in, parameters.pointers(), y, nullptr};
  const auto kernel = RECITE_SIMD(scan_step<Real>);
  const Tasks tasks(shape);
#pragma omp parallel for schedule(dynamic) if (tasks.worth_threads())
  for (int64_t index = 0; index < tasks.count; ++index) kernel(scan, tasks[index], state);
}

template <class Real>
void selective_scan_backward_cpu(const ScanShape& shape, const ScanInputs<Real>& in, const Real* states, const Real* dy,
                                 const ScanGradients<Real>& gradients) {
  const Parameters<Real> parameters(shape, in);
  const ScanBackward<Real> scan{shape, in, parameters.pointers(), states, dy, gradients};
  const auto kernel = RECITE_SIMD(scan_backward<Real>);
  const Tasks tasks(shape);
  Partial<Real> partial(shape, parameters.padded, tasks.count);
#pragma omp parallel if (tasks.worth_threads())
  {
#pragma omp for schedule(dynamic)
    for (int64_t index = 0; index < tasks.count; ++index) run_backward_task(scan, tasks, index, partial, kernel);
    const int64_t per_row = shape.time * shape.state;
    add_tasks(partial.B.data(), shape.batch, tasks.per_row, per_row, gradients.B);
    add_tasks(partial.C.data(), shape.batch, tasks.per_row, per_row, gradients.C);
    add_rows(partial.A.data(), shape.batch, shape.state, shape.channels, parameters.padded, gradients.A);
    add_rows(partial.D.data(), shape.batch, 1, shape.channels, parameters.padded, gradients.D);
    add_rows(partial.delta_bias.data(), shape.batch, 1, shape.channels, parameters.padded, gradients.delta_bias);
  }
}

template void selective_scan_forward_cpu(const ScanShape&, const ScanInputs<float>&, float*, float*, float*);
template void selective_scan_forward_cpu(const ScanShape&, const ScanInputs<double>&, double*, double*, double*);
template void selective_scan_step_cpu(const ScanShape&, const ScanInputs<float>&, float*, float*);
template void selective_scan_step_cpu(const ScanShape&, const ScanInputs<double>&, double*, double*);
template void selective_scan_backward_cpu(const ScanShape&, const ScanInputs<float>&, const float*, const float*,
                                          const ScanGradients<float>&);
template void selective_scan_backward_cpu(const ScanShape&, const ScanInputs<double>&, const double*, const double*,
                                          const ScanGradients<double>&);

}  // namespace recite::kernels
