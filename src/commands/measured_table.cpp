#include "commands/measured_table.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <map>

namespace recite {

void print_measured(std::ostream& out, const std::vector<EvaluationRow>& rows) {
  fmt::print(out, "{:<16} {:>6} {:>6}  {:<14} {:>6}  {:>15}  {:>15}  {:>9}\n", "task", "n_gram", "length", "mode", "n",
             "string accuracy", "95 % interval", "letters");
  for (const EvaluationRow& row : rows) {
    const std::string interval = fmt::format("{:.4f}..{:.4f}", row.string_accuracy_low, row.string_accuracy_high);
    fmt::print(out, "{:<16} {:>6} {:>6}  {:<14} {:>6}  {:>15.4f}  {:>15}  {:>9.4f}\n", row.task, row.n_gram, row.length,
               row.mode, row.n, row.string_accuracy, interval, row.char_accuracy);
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
