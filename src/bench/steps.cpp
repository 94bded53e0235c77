#include <fmt/format.h>

#include "bench/bench.h"
#include "models/model.h"
#include "tasks/batch.h"
#include "train/trainer.h"

namespace recite {

namespace {

bool attends(Architecture architecture) {
  return architecture != Architecture::mamba && architecture != Architecture::lstm;
}

// Forward and backward: six for each parameter and token (embeddings are looked up), and the products of attention.
// The parameters after the last layer's attention, scan or recurrence see the answers alone, and those before the
// first's the tokens of a small vocabulary (models/model.h), as strings of letters have: next to nothing.
double step_flops(const Job& job, double tokens, double answers) {
  const double d = job.model.hidden_size, head = static_cast<double>(vocabulary_size(job.task)) * d;
  const bool attention = attends(job.model.architecture);
  double of_answers = head;
  if (attention) of_answers += 9 * d * d;                                      // output and MLP projections
  if (job.model.architecture == Architecture::mamba) of_answers += 2 * d * d;  // output projection
  const double parameters = static_cast<double>(parameter_count(job.model, job.task));
  double of_tokens = parameters - of_answers;
  if (job.model.architecture != Architecture::mamba) of_tokens -= head;         // the embedding; Mamba's is its head
  if (attention) of_tokens -= 3 * d * d;                                        // queries, keys and values
  if (attention) (job.model.layers > 1 ? of_tokens : of_answers) -= 8 * d * d;  // MLP
  if (job.model.architecture == Architecture::mamba) of_tokens -= 4 * d * d;    // input projection
  const double scores = attention ? 7.0 * tokens * job.train.context_length * d * job.model.layers : 0;
  return 6 * (tokens * of_tokens + answers * of_answers) + scores;
}

// Passes are recorded when their kind has come before (train/gpu_passes.h), and the number of a step's answers decides
// on the kind: while they are, steps are slower than most of a sweep's. Ends when none was for a while, or at once
// where they are not recorded. `train` takes enough steps for a first one.
void record_passes(const Trainer& trainer, const std::function<void()>& train) {
  constexpr int enough_calls = 5;
  train();
  for (int calls_without = 0; trainer.captured_passes() > 0 && calls_without < enough_calls;) {
    const size_t before = trainer.captured_passes();
    train();
    calls_without = trainer.captured_passes() == before ? calls_without + 1 : 0;
  }
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
  const Batch batch = training_batch(Task(run.job.task), run.job.train, 0, 0, run.job.train.batch_size);
  row.flops = step_flops(run.job, row.tokens, static_cast<double>(batch.answer_tokens()));
  // A GPU's steps are queued one behind the other, as in a sweep.
  const int steps = run.device.is_cuda() ? 10 : 1;
  const auto train = [&] {
    for (int i = 0; i < steps; ++i) {
      trainer.start_step();
      trainer.take_reports(1);
    }
  };
  if (run.device.is_cuda()) record_passes(trainer, train);
  row.seconds = seconds_per_call(train, run.device, run.budget) / steps;
  if (!run.trace.empty()) trace_calls([&] { trainer.step(); }, run.device, run.trace);
  return row;
}

}  // namespace recite
