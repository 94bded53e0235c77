#include "commands/measured_table.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace recite {

namespace {

struct ScoreColumn {
  const char* heading;
  int width;
  double EvaluationRow::* value;
};

constexpr ScoreColumn letters = {"letters", 9, &EvaluationRow::char_accuracy};
constexpr ScoreColumn exact_match = {"exact match", 11, &EvaluationRow::exact_match};
constexpr ScoreColumn f1 = {"F1", 9, &EvaluationRow::f1};

std::string number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4f}", value); }

std::string interval(const EvaluationRow& row) {
  if (std::isnan(row.string_accuracy_low)) return "-";
  return fmt::format("{:.4f}..{:.4f}", row.string_accuracy_low, row.string_accuracy_high);
}

// Those that some row has a value of.
std::vector<ScoreColumn> measured_columns(const std::vector<EvaluationRow>& rows) {
  std::vector<ScoreColumn> columns;
  for (const ScoreColumn& column : {letters, exact_match, f1}) {
    const bool any =
        std::any_of(rows.begin(), rows.end(), [&](const EvaluationRow& row) { return !std::isnan(row.*column.value); });
    if (any) columns.push_back(column);
  }
  return columns;
}

}  // namespace

void print_measured(std::ostream& out, const std::vector<EvaluationRow>& rows) {
  const std::vector<ScoreColumn> columns = measured_columns(rows);
  fmt::print(out, "{:<16} {:>6} {:>6}  {:<14} {:>6}  {:>15}  {:>15}", "task", "n_gram", "length", "mode", "n",
             "string accuracy", "95 % interval");
  for (const ScoreColumn& column : columns) fmt::print(out, "  {:>{}}", column.heading, column.width);
  fmt::print(out, "\n");
  for (const EvaluationRow& row : rows) {
    fmt::print(out, "{:<16} {:>6} {:>6}  {:<14} {:>6}  {:>15}  {:>15}", row.task, row.n_gram, row.length, row.mode,
               row.n, number(row.string_accuracy), interval(row));
    for (const ScoreColumn& column : columns) fmt::print(out, "  {:>{}}", number(row.*column.value), column.width);
    fmt::print(out, "\n");
  }
  out.flush();
}

std::vector<EvaluationRow> final_rows(const ResultsContents& contents, const std::vector<Job>& jobs) {
  std::map<int32_t, int64_t> last_step;
  for (const JobRow& row : contents.jobs)
    for (const Job& job : jobs)
      if (job.id() == row.id) last_step[row.job] = -1;
  std::vector<EvaluationRow> rows = current_evaluations(contents);
  for (const EvaluationRow& row : rows)
    if (const auto step = last_step.find(row.job); step != last_step.end())
      step->second = std::max(step->second, row.step);
  std::erase_if(rows, [&](const EvaluationRow& row) {
    const auto step = last_step.find(row.job);
    return step == last_step.end() || row.step != step->second;
  });
  return rows;
}

}  // namespace recite
