// A pretrained model at the points of its job: prompts in, a row of /evaluations out.
#pragma once

#include <torch/torch.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/collective.h"
#include "jobs/job.h"
#include "models/model.h"
#include "pretrained/job_prompts.h"
#include "pretrained/samples.h"
#include "results/rows.h"

namespace recite {

struct Examined {
  EvaluationRow row;            // the caller fills job, try and run
  std::string not_run;          // why the row has n = 0; else ""
  std::vector<Sample> samples;  // with run.log_samples, those of all ranks
};

class Examiner {
 public:
  // Reads the job's model onto the device, its tokenizer and its texts. Throws UsageError that names the file.
  Examiner(const Job& job, torch::Device device);

  // Asks the prompts of a point in batches of eval.batch_size; batch i is asked by rank i mod G, and every rank returns
  // the same. Answers are decoded greedily. The row: string_accuracy and exact_match are the share that is exactly
  // right (string_accuracy_std over the batches, of the population; Wilson interval at 95 %), f1 is the mean of
  // squad's.
  //
  // Prompts of which one has more tokens than the model has positions are not asked: n = 0, and nothing measured.
  // `between_tokens` is called all the time; it may throw.
  Examined measure(const EvalPoint& point, Group group, const std::function<void()>& between_tokens);

 private:
  struct BatchScore;

  std::string why_not(const std::vector<Prompt>& prompts, const EvalPoint& point) const;
  std::vector<std::string> continuations(std::span<const Prompt> prompts, const std::function<void()>& between_tokens);
  BatchScore ask(std::span<const Prompt> batch, int64_t first, const std::function<void()>& between_tokens,
                 std::vector<Sample>& samples);

  Job job_;
  JobPrompts prompts_;
  int64_t max_positions_;  // 0: no limit
  std::optional<int32_t> end_of_text_;
  std::unique_ptr<Model> model_;
};

}  // namespace recite
