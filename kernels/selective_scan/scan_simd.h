// The parts of the selective scan that are compiled for each instruction set; selective_scan_cpu.cpp calls them.
//
// A task is the channels [first, first + count) of one row; within it the vector's lanes are channels. Time is cut into
// the intervals of the kept states, and each interval of all the task's channels is done before the next, so that
// what several channels share stays in the cache.
#pragma once

#include "kernels/selective_scan/selective_scan.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

// At most scan_task_channels of them: few enough for the task's arrays to stay in the second-level cache, and a number
// that does not depend on the threads.
constexpr int64_t scan_task_channels = 256;
struct ScanTask {
  int64_t batch, first, count;
};

// Parameters with channels side by side; zeros fill each row up to `padded`.
template <class Real>
struct ScanParameters {
  int64_t padded;
  const Real* A;           // (N, padded), times log2(e): decays are powers of 2
  const Real* D;           // (padded)
  const Real* delta_bias;  // (padded)
};

template <class Real>
struct ScanForward {
  ScanShape shape;
  ScanInputs<Real> in;
  ScanParameters<Real> parameters;
  Real *y, *states;
};

template <class Real>
struct ScanBackward {
  ScanShape shape;
  ScanInputs<Real> in;
  ScanParameters<Real> parameters;
  const Real *states, *dy;
  ScanGradients<Real> gradients;
};

// What one task of the backward works in, and adds up.
template <class Real>
struct ScanBackwardTask {
  Real *A, *D, *delta_bias;  // (N, padded), (padded), (padded) of the row: sums over time; += from zeros
  Real *B, *C;               // (T, N): sums over the task's channels; =
  Real* dh;                  // (N, scan_task_channels), zeros: the gradient in the state, from the steps after
  Real* shares;              // (2, N, interval, widest_lanes): what each lane has of B and C in an interval
};

// scan_forward: h (N, scan_task_channels) is the state before the first step, and becomes that after the last.
// scan_step: one step; h (B, D, N) becomes the state after it.
RECITE_DECLARE_SIMD(template <class Real>
                    void scan_forward(const ScanForward<Real>& scan, const ScanTask& task, Real* h);
                    template <class Real> void scan_backward(const ScanBackward<Real>& scan, const ScanTask& task,
                                                             const ScanBackwardTask<Real>& to);
                    template <class Real> void scan_step(const ScanForward<Real>& scan, const ScanTask& task, Real* h);)

}  // namespace recite::kernels
