// Jobs that train in milliseconds.
#pragma once

#include "jobs/job.h"

namespace recite {

inline Job tiny_job(Architecture architecture, Precision precision) {
  Job job;
  job.task.vocab_size = 6;
  job.model.architecture = architecture;
  job.model.hidden_size = 16;
  job.model.layers = 2;
  job.model.heads = 2;
  job.model.num_masked_heads = 1;
  job.model.state_dim = 4;
  job.train.seed = 5;
  job.train.steps = 50;
  job.train.batch_size = 8;
  job.train.min_length = 1;
  job.train.max_length = 4;
  job.train.context_length = 24;
  job.train.learning_rate = 1e-4;
  job.train.warmup_steps = 10;
  job.train.precision = precision;
  return job;
}

}  // namespace recite
