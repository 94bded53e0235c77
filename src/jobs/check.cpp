#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "jobs/job.h"
#include "jobs/task_limits.h"

namespace recite {

namespace {

constexpr size_t max_spec_bytes = 8192;  // of the results file's column

template <class... Values>
[[noreturn]] void refuse(fmt::format_string<Values...> format, Values&&... values) {
  throw UsageError(fmt::format(format, std::forward<Values>(values)...));
}

void check_attention(const ModelSpec& model) {
  if (model.heads < 1 || model.hidden_size % model.heads != 0) {
    refuse("model.heads = {} does not divide model.hidden_size = {}: change one of them", model.heads,
           model.hidden_size);
  }
  const int rotated = model.hidden_size / model.heads / 4;
  if (model.architecture == Architecture::rope && (rotated < 2 || rotated % 2 != 0)) {
    refuse(
        "model.heads = {} leaves {} dimensions a head of model.hidden_size = {}, and rope rotates a quarter of them, "
        "in "
        "pairs: that quarter must be even; use fewer heads or a larger hidden_size",
        model.heads, model.hidden_size / model.heads, model.hidden_size);
  }
  if (model.architecture == Architecture::hard_alibi && model.num_masked_heads > model.heads) {
    refuse("model.num_masked_heads = {} is more than model.heads = {}", model.num_masked_heads, model.heads);
  }
}

void check_model(const ModelSpec& model) {
  if (model.hidden_size < 1) refuse("model.hidden_size = {}: at least 1", model.hidden_size);
  if (model.layers < 1) refuse("model.layers = {}: at least 1", model.layers);
  switch (model.architecture) {
    case Architecture::mamba:
      if (model.state_dim < 1) refuse("model.state_dim = {}: at least 1", model.state_dim);
      return;
    case Architecture::lstm:
      if (!(model.dropout >= 0 && model.dropout < 1)) refuse("model.dropout = {}: 0 <= dropout < 1", model.dropout);
      return;
    default:
      check_attention(model);
  }
}

// Why `length` is too short for the task, in the terms of its options.
void check_length(const TaskSpec& task, int length, const char* length_option, const char* n_gram_option) {
  if (length >= min_length(task)) return;
  if (!uses_n_gram(task.kind))
    refuse("{} = {}: task {} needs at least 1 letter", length_option, length, name_of(task.kind));
  refuse("{} = {} is too short for task {} with {} = {} and task.length_answer = {}: at least {} letters",
         length_option, length, name_of(task.kind), n_gram_option, task.n_gram, task.length_answer, min_length(task));
}

void check_n_gram(const TaskSpec& task, const char* n_gram_option) {
  if (uses_n_gram(task.kind) && task.n_gram < 1) {
    refuse("{} = {}: task {} needs at least 1", n_gram_option, task.n_gram, name_of(task.kind));
  }
}

// One letter has no two different n-grams, and none that occurs once in a string longer than itself.
void check_letters(const TaskSpec& task, const char* task_option) {
  const bool needs_two =
      task.kind == TaskKind::duplicate_ngram || (is_lookup(task.kind) && task.ngram_key == NgramKey::unique);
  if (needs_two && task.vocab_size < 2)
    refuse("{} = {} needs task.vocab_size of at least 2{}", task_option, name_of(task.kind),
           is_lookup(task.kind) ? ", or task.ngram_key = any" : "");
}

void check_task(const TaskSpec& task) {
  if (reads_text(task.kind)) {
    refuse("sweep.task = {} asks pretrained models, and there is none: set pretrained.model to the folder of one",
           name_of(task.kind));
  }
  if (task.vocab_size < 1 || task.vocab_size > 26) refuse("task.vocab_size = {}: 1..26", task.vocab_size);
  if (task.length_answer < 0) refuse("task.length_answer = {}: at least 0 (0: all)", task.length_answer);
  if (task.kind == TaskKind::duplicate_ngram) {
    refuse("sweep.task = duplicate_ngram is for evaluation only: train on copy, and set eval.task = duplicate_ngram");
  }
  check_n_gram(task, "task.n_gram");
  check_letters(task, "sweep.task");
}

void check_training_lengths(const Job& job) {
  const TrainSpec& train = job.train;
  if (train.min_length > train.max_length) {
    refuse("train.min_length = {} is more than train.max_length = {}", train.min_length, train.max_length);
  }
  check_length(job.task, train.min_length, "train.min_length", "task.n_gram");
  const int needed = max_tokens(job.task, train.max_length);
  if (needed > train.context_length) {
    refuse(
        "train.max_length = {} does not fit: a string of task {} then takes up to {} tokens, and train.context_length "
        "= "
        "{}; raise train.context_length to {} or lower train.max_length",
        train.max_length, name_of(job.task.kind), needed, train.context_length, needed);
  }
}

void check_batches(const Job& job) {
  const TrainSpec& train = job.train;
  if (train.precision == Precision::float16) {
    refuse(
        "train.precision = float16 is for pretrained models that are only evaluated: small gradients vanish in it; "
        "train in bf16, tf32, float32 or float64");
  }
  if (train.steps < 1 || train.epochs < 1)
    refuse("train.steps = {} and train.epochs = {}: at least 1", train.steps, train.epochs);
  if (job.ranks < 1) refuse("sweep.ranks_per_job = {}: at least 1", job.ranks);
  if (train.batch_size < 1 || train.batch_size % job.ranks != 0) {
    refuse("train.batch_size = {} cannot be divided among sweep.ranks_per_job = {} ranks: make it a multiple",
           train.batch_size, job.ranks);
  }
}

void check_point(const Job& job, const EvalPoint& point) {
  TaskSpec task = job.task;
  task.kind = point.task;
  if (reads_text(task.kind)) {
    refuse(
        "eval.task = {} asks pretrained models, and this model is trained on letters: use sweep.task with "
        "pretrained.model",
        name_of(task.kind));
  }
  task.n_gram = point.n_gram;
  const char* n_gram_option = job.eval.n_grams.empty() ? "task.n_gram" : "eval.n_gram";
  check_n_gram(task, n_gram_option);
  check_letters(task, "eval.task");
  check_length(task, point.length, "eval.lengths", n_gram_option);
  const int needed = max_tokens(task, point.length);
  if (job.eval.context_length > 0 && needed > job.eval.context_length) {
    refuse(
        "eval.lengths = {} does not fit: a string of task {} then takes up to {} tokens, and eval.context_length = {}; "
        "raise it to {}, or set it to 0 (no limit)",
        point.length, name_of(task.kind), needed, job.eval.context_length, needed);
  }
}

void check_stop(const Job& job) {
  const EvalSpec& eval = job.eval;
  if (eval.stop_at_accuracy <= 0) return;
  if (eval.every < 1) {
    refuse("eval.stop_at_accuracy = {} is looked at every eval.every steps, which is 0: set eval.every",
           eval.stop_at_accuracy);
  }
  const int length = eval.stop_length > 0 ? eval.stop_length : job.train.max_length;
  check_length(job.task, length, "eval.stop_length", "task.n_gram");
}

void check_evaluation(const Job& job) {
  const EvalSpec& eval = job.eval;
  if (eval.lengths.empty()) refuse("eval.lengths is empty: at least one length");
  if (eval.batch_size < 1 || eval.num_batches < 1) {
    refuse("eval.batch_size = {} and eval.num_batches = {}: at least 1", eval.batch_size, eval.num_batches);
  }
  for (const EvalPoint& point : eval_points(job)) check_point(job, point);
  for (const int length : eval.every_lengths) {
    if (std::find(eval.lengths.begin(), eval.lengths.end(), length) != eval.lengths.end()) continue;
    refuse("eval.every_lengths has {}, which is none of eval.lengths: add it there, or leave it out here", length);
  }
  check_stop(job);
}

constexpr size_t max_model_name = 32;  // of the results file's column

void check_folder(const Job& job) {
  if (job.model_name().empty() || job.model_name().size() > max_model_name) {
    refuse(
        "pretrained.model = {}: the last part of the folder's name tells models apart in results, and takes 1 to {} "
        "bytes: rename or link it",
        job.pretrained.model, max_model_name);
  }
}

void check_text_task(const Job& job) {
  const TaskKind kind = job.task.kind;
  const PretrainedSpec& asked = job.pretrained;
  if (!reads_text(kind)) {
    refuse(
        "sweep.task = {} is made of letters, and pretrained.model = {} reads text: c4_copy, phone_book or squad "
        "(letters for a model that was trained here: recite eval)",
        name_of(kind), asked.model);
  }
  for (const TaskKind other : job.eval.tasks) {
    if (other == kind) continue;
    refuse("eval.task = {}: a pretrained model is asked one task, sweep.task = {}; repeat sweep.task for several",
           name_of(other), name_of(kind));
  }
  if (kind == TaskKind::c4_copy && asked.c4_corpus.empty())
    refuse("pretrained.c4_corpus is needed for sweep.task = c4_copy: texts, as C4's .json.gz");
  if (kind == TaskKind::squad && asked.squad_file.empty())
    refuse("pretrained.squad_file is needed for sweep.task = squad: its official JSON");
}

void check_text_lengths(const Job& job) {
  if (job.eval.lengths.empty() && job.task.kind != TaskKind::squad)
    refuse("eval.lengths is empty: at least one length");
  constexpr int fewest_entries = 3;  // two examples and the one that is asked for
  for (const int length : job.eval.lengths) {
    if (job.task.kind == TaskKind::phone_book && length < fewest_entries)
      refuse("eval.lengths = {}: a phone book has at least {} entries", length, fewest_entries);
    if (job.task.kind == TaskKind::squad && length % job.pretrained.squad_bins != 0) {
      refuse(
          "eval.lengths = {}: of task squad they are the upper edges of bins, multiples of pretrained.squad_bins = "
          "{}; empty: all bins",
          length, job.pretrained.squad_bins);
    }
  }
}

void check_pretrained(const Job& job) {
  if (job.ranks < 1) refuse("sweep.ranks_per_job = {}: at least 1", job.ranks);
  check_folder(job);
  check_text_task(job);
  check_text_lengths(job);
}

}  // namespace

std::vector<EvalPoint> eval_points(const Job& job) {
  const std::vector<TaskKind> tasks = job.eval.tasks.empty() ? std::vector{job.task.kind} : job.eval.tasks;
  const std::vector<int> n_grams = job.eval.n_grams.empty() ? std::vector{job.task.n_gram} : job.eval.n_grams;
  std::vector<EvalPoint> points;
  for (const TaskKind task : tasks) {
    for (const int n_gram : uses_n_gram(task) ? n_grams : std::vector{0}) {
      for (const int length : job.eval.lengths) {
        const EvalPoint point{task, n_gram, length};
        if (std::find(points.begin(), points.end(), point) == points.end()) points.push_back(point);
      }
    }
  }
  return points;
}

void check_job(const Job& job) {
  const size_t size = nlohmann::json(job).dump().size();
  if (size > max_spec_bytes) {
    refuse("the job takes {} bytes in the results file, at most {}: shorten eval.lengths (now {} values)", size,
           max_spec_bytes, job.eval.lengths.size());
  }
  if (job.is_pretrained()) return check_pretrained(job);
  check_task(job.task);
  check_model(job.model);
  check_training_lengths(job);
  check_batches(job);
  check_evaluation(job);
}

}  // namespace recite
