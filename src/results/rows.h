// The rows of the results file, as the rest of the program makes them. results/format.h says how they lie in the file.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace recite {

constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

// One per invocation of the program that wrote to the file.
struct RunRow {
  int32_t run = 0;           // row number
  double time = 0;           // Unix seconds, as every time here
  std::string command{};     // the command line
  std::string sweep_text{};  // resolved options, as an INI text that gives the same sweep again; at most 16384 bytes
  std::string build{};       // version, compiler, build type
  std::string git_commit{};
  std::string hosts{};  // "node1:4 node2:4"
  int32_t workers = 0;
  std::string devices{};
  std::string versions{};  // LibTorch, MPI, NCCL, HDF5
  int64_t epoch = 0;       // of the writer lock
};

// One per job, written once.
struct JobRow {
  int32_t job = 0;  // row number
  std::string id{};
  std::string model{};  // architecture, or the last part of a pretrained model's folder
  std::string task{};
  int32_t train_min_length = 0;  // of a pretrained job 0
  int32_t train_max_length = 0;
  int64_t seed = 0;          // of a pretrained job that of its prompts
  double learning_rate = 0;  // of a pretrained job NaN
  int64_t parameters = 0;
  std::string spec{};  // the job as JSON; at most 8192 bytes
};

enum class JobState { planned, running, done, failed, stopped, lost };
std::string_view name_of(JobState state);
JobState parse_job_state(std::string_view text);  // throws Error

// A change of a job's state, or (job = -1) of the run's.
struct EventRow {
  int32_t job = -1;
  int32_t attempt = 0;  // column "try": 1 for the first
  int32_t run = 0;
  double time = 0;
  JobState state = JobState::planned;
  int64_t step = 0;
  int32_t ranks = 0;
  std::string host{};
  std::string message{};  // at most 1024 bytes; longer is cut with an ellipsis
};

// A measured point. Accuracies in 0..1, NaN where they do not apply.
struct EvaluationRow {
  int32_t job = 0;
  int32_t attempt = 0;
  int32_t run = 0;
  int64_t step = 0;
  int64_t examples = 0;  // whole training strings seen so far, over all ranks
  std::string task{};
  int32_t n_gram = 0;
  int32_t length = 0;
  std::string mode{};  // teacher_forced, greedy
  int64_t n = 0;       // strings or prompts measured; 0: the point was not run
  double string_accuracy = not_measured;
  double string_accuracy_std = not_measured;  // over batches
  double string_accuracy_low = not_measured;  // Wilson interval, 95 %
  double string_accuracy_high = not_measured;
  double char_accuracy = not_measured;
  double exact_match = not_measured;  // of text tasks; string_accuracy too, with its interval
  double f1 = not_measured;           // of squad
};

// A logged training step.
struct TrainingRow {
  int32_t job = 0;
  int32_t attempt = 0;
  int32_t run = 0;
  int64_t step = 0;  // updates done, this one included: the first is 1
  int64_t examples = 0;
  double loss = not_measured;
  double learning_rate = not_measured;
  double grad_norm = not_measured;
  double tokens_per_second = not_measured;
};

void to_json(nlohmann::json&, const EvaluationRow&);
void from_json(const nlohmann::json&, EvaluationRow&);
void to_json(nlohmann::json&, const TrainingRow&);
void from_json(const nlohmann::json&, TrainingRow&);

}  // namespace recite
