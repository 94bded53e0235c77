// The learning rate over the updates of a job.
#pragma once

#include <cstdint>

#include "jobs/specs.h"

namespace recite {

// Of update k = 0..N-1, N = train.total_steps(), W = train.warmup_steps: lr * k/W while k < W (the first update is made
// with 0), then lr * (N-k)/(N-W). A job of N <= W updates ends inside the warm-up.
inline double learning_rate(const TrainSpec& train, int64_t k) {
  const auto updates = static_cast<double>(train.total_steps());
  const auto update = static_cast<double>(k);
  const double warmup = train.warmup_steps;
  if (update < warmup) return train.learning_rate * update / warmup;
  return train.learning_rate * (updates - update) / (updates - warmup);
}

}  // namespace recite
