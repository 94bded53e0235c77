#include "eval/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "generate/generate.h"
#include "tasks/batch.h"
#include "train/loss.h"

namespace recite {

namespace {

// What one batch of strings gave. In float64, so that one all-reduce sums all of them exactly.
struct BatchScore {
  double right_strings = 0;
  double strings = 0;
  double right_letters = 0;
  double letters = 0;

  double string_accuracy() const { return right_strings / strings; }
};
static_assert(std::is_standard_layout_v<BatchScore> && sizeof(BatchScore) == 4 * sizeof(double));

TaskSpec task_of(const Job& job, const EvalPoint& point) {
  TaskSpec task = job.task;
  task.kind = point.task;
  task.n_gram = point.n_gram;
  return task;
}

int prompt_length(const EvalBatch& batch) {
  const int length = batch.answer_begin.front();
  for (const int32_t begin : batch.answer_begin) {
    if (begin != length) throw Error(fmt::format("prompts of {} and {} tokens in one evaluation batch", length, begin));
  }
  return length;
}

using Letters = std::vector<std::vector<int32_t>>;  // of each row

Letters greedy_answers(Model& model, const EvalBatch& batch) {
  Letters prompts;
  for (int b = 0; b < batch.rows; ++b) {
    const auto row = batch.tokens.begin() + static_cast<int64_t>(b) * batch.time;
    prompts.emplace_back(row, row + batch.answer_begin[b]);
  }
  return generate(model, prompts, {batch.answer_length.begin(), batch.answer_length.end()}, {});
}

// As many for each row as for the longest answer; what is behind a row's own answer means nothing.
Letters teacher_forced_answers(Model& model, const EvalBatch& batch) {
  const int64_t prompt = prompt_length(batch);
  const int64_t longest = *std::max_element(batch.answer_length.begin(), batch.answer_length.end());
  const torch::Tensor tokens = token_tensor(batch.tokens, batch.rows, batch.time, model.device());
  const int64_t time = prompt + longest - 1;
  ForwardContext context;
  context.wanted = torch::arange(batch.rows * time).view({batch.rows, time}).narrow(1, prompt - 1, longest).flatten();
  context.wanted = context.wanted.to(model.device());
  const torch::Tensor logits = model.forward(tokens.narrow(1, 0, time), context);
  const torch::Tensor best = logits.narrow(1, 0, model.vocabulary()).argmax(-1).to(torch::kCPU);
  const int64_t* letter = best.const_data_ptr<int64_t>();
  Letters answers;
  for (int b = 0; b < batch.rows; ++b, letter += longest) answers.emplace_back(letter, letter + longest);
  return answers;
}

BatchScore score(const EvalBatch& batch, const Letters& letters) {
  BatchScore sum;
  for (int b = 0; b < batch.rows; ++b) {
    const Token* answer = &batch.tokens[static_cast<size_t>(b) * batch.time + batch.answer_begin[b]];
    int right = 0;
    for (int i = 0; i < batch.answer_length[b]; ++i)
      right += letters[static_cast<size_t>(b)][static_cast<size_t>(i)] == answer[i] ? 1 : 0;
    sum.right_letters += right;
    sum.letters += batch.answer_length[b];
    sum.right_strings += right == batch.answer_length[b] ? 1 : 0;
    sum.strings += 1;
  }
  return sum;
}

// Of every batch, on every rank.
std::vector<BatchScore> score_batches(Model& model, const Job& job, const EvalPoint& point, Group group,
                                      const std::function<void()>& between_batches) {
  const torch::NoGradGuard no_grad;
  const Task task(task_of(job, point));
  const EvalSpec& eval = job.eval;
  std::vector<BatchScore> scores(static_cast<size_t>(eval.num_batches));
  for (int i = group.rank(); i < eval.num_batches; i += group.size()) {
    const EvalBatch batch =
        evaluation_batch(task, eval.seed, point.length, int64_t{i} * eval.batch_size, eval.batch_size);
    const bool greedy = eval.mode == EvalMode::greedy;
    scores[static_cast<size_t>(i)] =
        score(batch, greedy ? greedy_answers(model, batch) : teacher_forced_answers(model, batch));
    if (between_batches) between_batches();
  }
  group.host.all_reduce_sum(scores.data(), scores.size() * sizeof(BatchScore) / sizeof(double), ElementType::float64);
  return scores;
}

}  // namespace

EvaluationRow evaluate(Model& model, const Job& job, const EvalPoint& point, Group group,
                       const std::function<void()>& between_batches) {
  const std::vector<BatchScore> scores = score_batches(model, job, point, group, between_batches);
  BatchScore total;
  std::vector<double> accuracies;
  for (const BatchScore& batch : scores) {
    accuracies.push_back(batch.string_accuracy());
    total.right_strings += batch.right_strings;
    total.strings += batch.strings;
    total.right_letters += batch.right_letters;
    total.letters += batch.letters;
  }
  const Interval interval = wilson_interval(total.right_strings, total.strings);

  EvaluationRow row;
  row.task = name_of(point.task);
  row.n_gram = point.n_gram;
  row.length = point.length;
  row.mode = name_of(job.eval.mode);
  row.n = static_cast<int64_t>(total.strings);
  row.string_accuracy = total.string_accuracy();
  row.string_accuracy_std = population_deviation(accuracies);
  row.string_accuracy_low = interval.low;
  row.string_accuracy_high = interval.high;
  row.char_accuracy = total.right_letters / total.letters;
  return row;
}

}  // namespace recite
