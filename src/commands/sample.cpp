// recite sample: the strings of an evaluation with this seed or, with --packed, the rows of the first step of a
// training with this seed. `^` stands under each token that carries loss: the answer and the end mark.
#include <fmt/format.h>

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "commands/commands.h"
#include "tasks/batch.h"

namespace recite {

namespace {

constexpr int most = 1'000'000;  // letters, tokens, strings: beyond it is a slip

// Tokens and marks, one under the other, in lines of at most `width` columns (0: one line).
void print_marked(std::string_view tokens, std::string_view marks, int width) {
  const size_t columns = width > 0 ? static_cast<size_t>(width) : tokens.size();
  for (size_t at = 0; at < tokens.size(); at += columns) {
    const std::string_view line = marks.substr(at, columns);
    fmt::print("{}\n{}\n", tokens.substr(at, columns), line.substr(0, line.find_last_not_of(' ') + 1));
  }
}

void print_strings(const Task& task, int64_t seed, int length, int count, int width) {
  const EvalBatch batch = evaluation_batch(task, seed, length, 0, count);
  for (int row = 0; row < batch.rows; ++row) {
    const int begin = batch.answer_begin[row];
    const int scored = batch.answer_length[row] + 1;
    const auto tokens = std::span(batch.tokens).subspan(static_cast<size_t>(row) * batch.time, begin + scored);
    print_marked(task.alphabet().text(tokens), std::string(begin, ' ') + std::string(scored, '^'), width);
  }
}

void print_packed_rows(const Task& task, const TrainSpec& train, int count, int width) {
  const Batch batch = training_batch(task, train, 0, 0, count);
  for (int row = 0; row < batch.rows; ++row) {
    const size_t at = static_cast<size_t>(row) * batch.time;
    std::string tokens = task.alphabet().text(std::span(batch.inputs).subspan(at, 1));
    tokens += task.alphabet().text(std::span(batch.targets).subspan(at, batch.time));
    std::string marks(tokens.size(), ' ');
    for (int t = 0; t < batch.time; ++t) {
      if (batch.loss_mask[at + t]) marks[t + 1] = '^';
    }
    print_marked(tokens, marks, width);
  }
}

void check_packed(const TaskSpec& task, const TrainSpec& train) {
  if (task.kind == TaskKind::duplicate_ngram) {
    throw UsageError("duplicate_ngram is for evaluation only: leave out --packed, or choose another --task");
  }
  if (train.min_length < min_length(task) || train.max_length < train.min_length) {
    throw UsageError(fmt::format("--min_length is {} and --max_length {}; {} needs {} <= min_length <= max_length",
                                 train.min_length, train.max_length, name_of(task.kind), min_length(task)));
  }
  const int needed = max_tokens(task, train.max_length);
  if (train.context_length < needed) {
    throw UsageError(
        fmt::format("an example of {} letters takes up to {} tokens, more than --context_length {}: raise "
                    "--context_length or lower --max_length",
                    train.max_length, needed, train.context_length));
  }
}

// An option that would be ignored is a slip of the user's.
void refuse_idle_options(const Arguments& given) {
  const bool packed = given.has("packed");
  using Names = std::vector<std::string>;
  for (const std::string& name : packed ? Names{"length"} : Names{"min_length", "max_length", "context_length"}) {
    if (given.has(name)) {
      throw UsageError(fmt::format("--{} means nothing {} --packed", name, packed ? "with" : "without"));
    }
  }
}

int integer(const Arguments& given, const char* name, int otherwise, int low) {
  return static_cast<int>(given.integer(name, otherwise, low, most));
}

TaskSpec task_of(const Arguments& given) {
  TaskSpec task;
  if (const auto name = given.text("task")) task.kind = parse_name<TaskKind>(*name);
  if (const auto name = given.text("ngram_key")) task.ngram_key = parse_name<NgramKey>(*name);
  task.n_gram = integer(given, "n_gram", task.n_gram, 0);
  task.vocab_size = static_cast<int>(given.integer("vocab_size", task.vocab_size, 1, 26));
  task.length_answer = integer(given, "length_answer", task.length_answer, 0);
  return task;
}

TrainSpec train_of(const Arguments& given, int64_t seed) {
  TrainSpec train;
  train.seed = seed;
  train.min_length = integer(given, "min_length", train.min_length, 1);
  train.max_length = integer(given, "max_length", train.max_length, 1);
  train.context_length = integer(given, "context_length", train.context_length, 2);
  return train;
}

}  // namespace

int sample_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("sample", arguments);
  if (given.help) return static_cast<int>(ExitCode::done);
  refuse_idle_options(given);
  const TaskSpec spec = task_of(given);
  const Task task(spec);
  const int64_t seed = given.integer("seed", 0, 0, std::numeric_limits<int64_t>::max());
  const int count = integer(given, "count", 5, 1);
  const int width = integer(given, "width", 100, 0);
  if (given.has("packed")) {
    const TrainSpec train = train_of(given, seed);
    check_packed(spec, train);
    print_packed_rows(task, train, count, width);
  } else {
    print_strings(task, seed, integer(given, "length", 20, 1), count, width);
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
