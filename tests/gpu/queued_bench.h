// Timing of CUDA kernels as a training step queues them: the host is ahead, so that its launches take no time.
#pragma once

#include "tests/gpu/bench.h"

namespace recite::kernels {

// Microseconds of run(i), i counting up, so that small inputs can take turns: the median of 21, after 5 to warm up.
template <class Run>
double queued_microseconds(const Run& run) {
  constexpr int warm_up = 5, runs = 21;
  cudaEvent_t events[warm_up + runs + 1];
  for (cudaEvent_t& event : events) check_bench(cudaEventCreate(&event));
  for (int i = 0; i < warm_up + runs; ++i) {
    check_bench(cudaEventRecord(events[i]));
    run(i);
  }
  check_bench(cudaEventRecord(events[warm_up + runs]));
  check_bench(cudaDeviceSynchronize());
  std::vector<float> times(runs);
  for (int i = 0; i < runs; ++i)
    check_bench(cudaEventElapsedTime(&times[i], events[warm_up + i], events[warm_up + i + 1]));
  std::sort(times.begin(), times.end());
  for (const cudaEvent_t event : events) cudaEventDestroy(event);
  return 1e3 * times[runs / 2];
}

}  // namespace recite::kernels
