// How fast this machine runs the parts of a job, beside what it reaches on a plain matrix product and a plain copy.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "jobs/job.h"

namespace recite {

// Seconds of one call: the median of as many calls as fit into `budget` seconds, at least three, after one that does
// not count. On a GPU each call is waited for.
double seconds_per_call(const std::function<void()>& call, torch::Device device, double budget);

// Writes what LibTorch's profiler sees of one call, on the CPU and the GPU, as a Chrome trace (chrome://tracing,
// ui.perfetto.dev).
void trace_calls(const std::function<void()>& call, torch::Device device, const std::string& path);

// What the shares of the other rows are shares of.
struct Ceilings {
  double flops = 0;  // per second, of a matrix product of 1024 (CPU) or 8192 (GPU) rows and columns
  double bytes = 0;  // per second, read and written, of a copy of 256 MiB
};

struct BenchRow {
  std::string what;                              // "attention, forward"
  std::string shape;                             // "32 x 128, 4 heads of 32"
  double seconds = 0;                            // of one call
  double flops = 0;                              // of one call; 0: not what limits it
  double bytes = 0;                              // that one call cannot but read and write; 0: not what limits it
  double tokens = 0;                             // that one call works on
  double share(const Ceilings& ceilings) const;  // of the nearer ceiling; 0 when neither counts
};
void to_json(nlohmann::json& out, const BenchRow& row);

struct BenchRun {
  Job job;  // model, task, batch_size, context_length, precision
  torch::Device device = torch::kCPU;
  double budget = 1;  // seconds a row
  std::string trace;  // file for a trace of a training step; empty: none
};

Ceilings measure_ceilings(const BenchRun& run);
// The operations of the job's model at its shapes: forward alone, and forward with backward.
std::vector<BenchRow> bench_operations(const BenchRun& run);
// Making the strings of a batch, and one training step.
BenchRow bench_strings(const BenchRun& run);
BenchRow bench_training_step(const BenchRun& run);

}  // namespace recite
