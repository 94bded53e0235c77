#include "pretrained/examiner.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "eval/evaluate.h"
#include "generate/generate.h"
#include "prompts/answer.h"
#include "prompts/score.h"
#include "weights/pretrained.h"

namespace recite {

// What one batch of prompts gave. In float64, so that one all-reduce sums all of them exactly.
struct Examiner::BatchScore {
  double right = 0;
  double f1 = 0;
  double prompts = 0;
};

namespace {

EvaluationRow row_of(const EvalPoint& point) {
  EvaluationRow row;
  row.task = name_of(point.task);
  row.length = point.length;
  row.mode = name_of(EvalMode::greedy);
  return row;
}

}  // namespace

Examiner::Examiner(const Job& job, torch::Device device) : job_(job), prompts_(job) {
  const PretrainedHeader header = read_pretrained_header(job.pretrained.model);
  max_positions_ = header.max_positions;
  end_of_text_ = prompts_.tokenizer().id_of("<|endoftext|>");
  model_ = load_pretrained(job.pretrained.model, device, job.train.precision);
}

Examined Examiner::measure(const EvalPoint& point, Group group, const std::function<void()>& between_tokens) {
  Examined examined{row_of(point), "", {}};
  const std::vector<Prompt> prompts = prompts_.of_length(job_.eval, point.length);
  examined.not_run = why_not(prompts, point);
  if (!examined.not_run.empty()) return examined;

  const auto batch_size = static_cast<size_t>(job_.eval.batch_size);
  std::vector<BatchScore> scores((prompts.size() + batch_size - 1) / batch_size);
  std::vector<Sample> samples;
  for (auto i = static_cast<size_t>(group.rank()); i < scores.size(); i += static_cast<size_t>(group.size())) {
    const size_t first = i * batch_size;
    const auto batch = std::span(prompts).subspan(first, std::min(batch_size, prompts.size() - first));
    scores[i] = ask(batch, static_cast<int64_t>(first), between_tokens, samples);
  }
  static_assert(std::is_standard_layout_v<BatchScore> && sizeof(BatchScore) == 3 * sizeof(double));
  group.host.all_reduce_sum(scores.data(), scores.size() * 3, ElementType::float64);
  if (job_.run.log_samples) examined.samples = gather_samples(samples, group);

  BatchScore total;
  std::vector<double> accuracies;
  for (const BatchScore& batch : scores) {
    total.right += batch.right;
    total.f1 += batch.f1;
    total.prompts += batch.prompts;
    accuracies.push_back(batch.right / batch.prompts);
  }
  const Interval interval = wilson_interval(total.right, total.prompts);
  EvaluationRow& row = examined.row;
  row.n = static_cast<int64_t>(total.prompts);
  row.string_accuracy = row.exact_match = total.right / total.prompts;
  row.string_accuracy_std = population_deviation(accuracies);
  row.string_accuracy_low = interval.low;
  row.string_accuracy_high = interval.high;
  row.f1 = total.f1 / total.prompts;
  return examined;
}

std::string Examiner::why_not(const std::vector<Prompt>& prompts, const EvalPoint& point) const {
  size_t longest = 0;
  for (const Prompt& prompt : prompts) longest = std::max(longest, prompt.tokens.size());
  if (max_positions_ == 0 || static_cast<int64_t>(longest) <= max_positions_) return "";
  return fmt::format("{} {} was not run: a prompt has {} tokens, and {} has {} positions", name_of(point.task),
                     point.length, longest, job_.pretrained.model, max_positions_);
}

// The texts that the model writes after the prompts.
std::vector<std::string> Examiner::continuations(std::span<const Prompt> prompts,
                                                 const std::function<void()>& between_tokens) {
  const auto text_of = [this](std::span<const int32_t> tokens) { return prompts_.tokenizer().decode(tokens); };
  std::vector<std::vector<int32_t>> tokens;
  std::vector<int64_t> max_new_tokens;
  for (const Prompt& prompt : prompts) {
    tokens.push_back(prompt.tokens);
    max_new_tokens.push_back(prompt.max_new_tokens);
  }
  GenerateOptions options;
  options.finished = [&](int64_t, std::span<const int32_t> so_far) {
    between_tokens();
    return is_finished(prompts_.spec(), text_of(so_far));
  };
  if (prompts.front().suppress_end_first && model_->spec().architecture != Architecture::mamba) {
    options.end_of_text = end_of_text_;
    options.suppress_end_first = end_of_text_.has_value();
  }
  std::vector<std::string> texts;
  for (const std::vector<int32_t>& written : generate(*model_, tokens, max_new_tokens, options))
    texts.push_back(text_of(written));
  return texts;
}

Examiner::BatchScore Examiner::ask(std::span<const Prompt> batch, int64_t first,
                                   const std::function<void()>& between_tokens, std::vector<Sample>& samples) {
  const std::vector<std::string> written = continuations(batch, between_tokens);
  BatchScore sum;
  for (size_t i = 0; i < batch.size(); ++i) {
    const std::string answer = answer_of(prompts_.spec(), written[i]);
    const Score scored = score(prompts_.spec(), answer, batch[i].gold);
    sum.right += scored.exact_match;
    sum.f1 += scored.f1;
    sum.prompts += 1;
    if (job_.run.log_samples) {
      samples.push_back(
          {first + static_cast<int64_t>(i), batch[i].text, batch[i].gold, answer, scored.exact_match, scored.f1});
    }
  }
  return sum;
}

}  // namespace recite
