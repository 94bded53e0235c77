#include "kernels/product/fastest.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace recite::kernels {

namespace {

constexpr int turns = 7;             // of each
constexpr float turn_length = 0.5f;  // milliseconds
constexpr float first_guess = 0.1f;  // of a run's milliseconds
constexpr float most_runs = 100;     // in a turn
constexpr float clearly = 0.97f;     // of the time of the one kept so far

void check(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("timing on the GPU failed: ") + cudaGetErrorString(error));
}

class Timer {
 public:
  explicit Timer(cudaStream_t stream) : stream_(stream) {
    check(cudaEventCreate(&begin_));
    check(cudaEventCreate(&end_));
  }
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Milliseconds of one of `runs`.
  template <class Run>
  float time(int runs, const Run& run) const {
    check(cudaEventRecord(begin_, stream_));
    for (int k = 0; k < runs; ++k) run();
    check(cudaEventRecord(end_, stream_));
    check(cudaEventSynchronize(end_));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_, end_));
    return milliseconds / static_cast<float>(runs);
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_{}, end_{};
};

float median(std::vector<float> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace

size_t fastest(size_t count, const std::function<void(size_t)>& run, cudaStream_t stream) {
  const Timer timer(stream);
  std::vector<std::vector<float>> times(count);
  for (int turn = 0; turn < turns; ++turn)  // of all, one after the other: clocks change meanwhile
    for (size_t i = 0; i < count; ++i) {
      const float guess = turn == 0 ? first_guess : times[i].back();
      const float runs = std::clamp(turn_length / guess, 1.0f, most_runs);
      times[i].push_back(timer.time(static_cast<int>(runs), [&] { run(i); }));
    }
  size_t best = 0;
  float time = median(times[0]);
  for (size_t i = 1; i < count; ++i)
    if (const float other = median(times[i]); other < clearly * time) {
      best = i;
      time = other;
    }
  return best;
}

}  // namespace recite::kernels
