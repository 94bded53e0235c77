#include <fmt/format.h>

#include "bench/bench.h"
#include "tasks/batch.h"
#include "train/trainer.h"

namespace recite {

namespace {

bool attends(Architecture architecture) {
  return architecture != Architecture::mamba && architecture != Architecture::lstm;
}

// Forward and backward: six for each parameter and token (embeddings are looked up), and the products of attention.
double step_flops(const Job& job, double tokens) {
  const double embeddings = static_cast<double>(vocabulary_size(job.task)) * job.model.hidden_size;
  const double products = 6 * tokens * (static_cast<double>(parameter_count(job.model, job.task)) - embeddings);
  if (!attends(job.model.architecture)) return products;
  const double attention = 7.0 * tokens * job.train.context_length * job.model.hidden_size * job.model.layers;
  return products + attention;
}

std::string batch_text(const Job& job) {
  return fmt::format("{} x {}", job.train.batch_size, job.train.context_length);
}

}  // namespace

BenchRow bench_strings(const BenchRun& run) {
  const Task task(run.job.task);
  int64_t step = 0;
  const auto make = [&] { training_batch(task, run.job.train, step++, 0, run.job.train.batch_size); };
  BenchRow row;
  row.what = fmt::format("strings, {}", name_of(run.job.task.kind));
  row.shape = batch_text(run.job);
  row.tokens = static_cast<double>(run.job.train.batch_size) * run.job.train.context_length;
  row.seconds = seconds_per_call(make, torch::kCPU, run.budget);
  return row;
}

BenchRow bench_training_step(const BenchRun& run) {
  SoloCollective alone;
  Trainer trainer(run.job, run.device, {alone, alone});
  BenchRow row;
  row.what = fmt::format("training step, {}", name_of(run.job.model.architecture));
  row.shape = fmt::format("{}, {} layers of {}", batch_text(run.job), run.job.model.layers, run.job.model.hidden_size);
  row.tokens = static_cast<double>(run.job.train.batch_size) * run.job.train.context_length;
  row.flops = step_flops(run.job, row.tokens);
  row.seconds = seconds_per_call([&] { trainer.step(); }, run.device, run.budget);
  return row;
}

}  // namespace recite
