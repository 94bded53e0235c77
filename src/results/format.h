// The layout of a results file: the one description of it, from which the writer, the reader, the JSON of messages and
// the CSV export are made.
//
// An HDF5 file (format 1.10, written in SWMR mode: one writer, any number of live readers) with
//
//   root attributes   format_version (int32), name (of the sweep; fixed-size UTF-8), written at creation and never
//   changed five tables       /runs /jobs /events /evaluations /training: one-dimensional compound datasets without
//   filters
//
// The columns of each table are the `columns` below, in that order and packed, followed by one more:
//
//   valid (uint8)     1: the row was written whole. 0: there is no such row
//
// Numbers are little-endian; text is UTF-8 of the given size, padded with NUL; NaN says "not measured"; times are Unix
// seconds; accuracies are in 0..1.
//
// A job that asked a pretrained model trained nothing: its model is the name of the folder, its training lengths are 0,
// its learning rate is NaN, its seed that of the prompts, and its rows have step and examples 0. A point of n = 0 was
// not run (its prompts have more tokens than the model has positions); the last event of the job says why.
//
// Tables only grow, and a row that is valid never changes. A writer that is stopped in the middle of an append (killed,
// disk full) leaves at most one row that is not valid, at the end of a table; the next writer puts its first row there.
// So readers drop rows whose `valid` is not 1, and need no other rule.
//
// Opening: with SWMR (h5py: swmr=True) always, whether a writer lives, was killed or has closed the file. Without SWMR
// only after it was closed. The file is put in place whole, by a rename, and is readable from then on. An opening that
// falls into the moment of the close may find the file "truncated": try it again.
//
// The tables are written in the order runs, jobs, events, evaluations, training: who opens them in the reverse order
// finds every job that a row names.
//
// Beside it lies PATH.lock, who may write (results/lock.h).
#pragma once

#include <cstddef>
#include <string>
#include <tuple>

#include "results/rows.h"

namespace recite {

constexpr int format_version = 1;
constexpr size_t name_bytes = 256;  // of the attribute `name`

// What becomes of a text that does not fit its column.
enum class TooLong {
  refused,  // UsageError: cut, it would mean something else
  cut       // shortened, with an ellipsis
};

template <class Row, class Value>
struct Column {
  const char* name;
  Value Row::* member;
  size_t bytes;  // in the file
  TooLong too_long = TooLong::refused;
};

template <class Row, class Value>
constexpr Column<Row, Value> number(const char* name, Value Row::* member) {
  return {name, member, sizeof(Value)};
}

template <class Row>
constexpr Column<Row, std::string> text(const char* name, std::string Row::* member, size_t bytes, TooLong too_long) {
  return {name, member, bytes, too_long};
}

// chunk_rows: a chunk is what one append writes, so about 16 KiB.
template <class Row>
struct Format;

template <>
struct Format<RunRow> {
  static constexpr const char* table = "runs";
  static constexpr size_t chunk_rows = 1;
  static constexpr auto columns = std::tuple{
      number("run", &RunRow::run),  // row number
      number("time", &RunRow::time),
      text("command", &RunRow::command, 2048, TooLong::cut),
      text("sweep_text", &RunRow::sweep_text, 16384, TooLong::refused),
      text("build", &RunRow::build, 256, TooLong::cut),
      text("git_commit", &RunRow::git_commit, 64, TooLong::cut),
      text("hosts", &RunRow::hosts, 4096, TooLong::cut),
      number("workers", &RunRow::workers),
      text("devices", &RunRow::devices, 1024, TooLong::cut),
      text("versions", &RunRow::versions, 512, TooLong::cut),
      number("epoch", &RunRow::epoch),  // of the writer lock
  };
};

template <>
struct Format<JobRow> {
  static constexpr const char* table = "jobs";
  static constexpr size_t chunk_rows = 2;
  static constexpr auto columns = std::tuple{
      number("job", &JobRow::job),  // row number
      text("id", &JobRow::id, 32, TooLong::refused),
      text("model", &JobRow::model, 32, TooLong::refused),
      text("task", &JobRow::task, 32, TooLong::refused),
      number("train_min_length", &JobRow::train_min_length),
      number("train_max_length", &JobRow::train_max_length),
      number("seed", &JobRow::seed),
      number("learning_rate", &JobRow::learning_rate),
      number("parameters", &JobRow::parameters),
      text("spec", &JobRow::spec, 8192, TooLong::refused),  // the resolved job, JSON
  };
};

template <>
struct Format<EventRow> {
  static constexpr const char* table = "events";
  static constexpr size_t chunk_rows = 16;
  static constexpr size_t state_bytes = 16;
  static constexpr auto columns = std::tuple{
      number("job", &EventRow::job),  // -1: the run itself
      number("try", &EventRow::attempt),
      number("run", &EventRow::run),
      number("time", &EventRow::time),
      Column<EventRow, JobState>{"state", &EventRow::state, state_bytes},  // its name, as text
      number("step", &EventRow::step),
      number("ranks", &EventRow::ranks),
      text("host", &EventRow::host, 128, TooLong::cut),
      text("message", &EventRow::message, 1024, TooLong::cut),
  };
};

template <>
struct Format<EvaluationRow> {
  static constexpr const char* table = "evaluations";
  static constexpr size_t chunk_rows = 128;
  static constexpr auto columns = std::tuple{
      number("job", &EvaluationRow::job),
      number("try", &EvaluationRow::attempt),
      number("run", &EvaluationRow::run),
      number("step", &EvaluationRow::step),
      number("examples", &EvaluationRow::examples),
      text("task", &EvaluationRow::task, 32, TooLong::refused),
      number("n_gram", &EvaluationRow::n_gram),
      number("length", &EvaluationRow::length),
      text("mode", &EvaluationRow::mode, 16, TooLong::refused),  // teacher_forced, greedy
      number("n", &EvaluationRow::n),
      number("string_accuracy", &EvaluationRow::string_accuracy),
      number("string_accuracy_std", &EvaluationRow::string_accuracy_std),  // over batches
      number("string_accuracy_low", &EvaluationRow::string_accuracy_low),  // Wilson interval, 95 %
      number("string_accuracy_high", &EvaluationRow::string_accuracy_high),
      number("char_accuracy", &EvaluationRow::char_accuracy),
      number("exact_match", &EvaluationRow::exact_match),
      number("f1", &EvaluationRow::f1),
  };
};

template <>
struct Format<TrainingRow> {
  static constexpr const char* table = "training";
  static constexpr size_t chunk_rows = 256;
  static constexpr auto columns = std::tuple{
      number("job", &TrainingRow::job),
      number("try", &TrainingRow::attempt),
      number("run", &TrainingRow::run),
      number("step", &TrainingRow::step),
      number("examples", &TrainingRow::examples),
      number("loss", &TrainingRow::loss),
      number("learning_rate", &TrainingRow::learning_rate),
      number("grad_norm", &TrainingRow::grad_norm),
      number("tokens_per_second", &TrainingRow::tokens_per_second),
  };
};

// Calls visit(column) for each column of a row's table, in the order of the file, `valid` left out.
template <class Row, class Visit>
void for_each_column(Visit&& visit) {
  std::apply([&](const auto&... column) { (visit(column), ...); }, Format<Row>::columns);
}

}  // namespace recite
