// recite export: a table of a results file as CSV.
#include "commands/export.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"
#include "results/format.h"

namespace recite {

namespace {

std::string field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}
std::string field(double value) { return std::isnan(value) ? "" : fmt::format("{}", value); }
std::string field(int64_t value) { return fmt::format("{}", value); }
std::string field(int32_t value) { return fmt::format("{}", value); }
std::string field(JobState value) { return std::string(name_of(value)); }

template <class Row>
std::vector<std::string> names_of_columns() {
  std::vector<std::string> names;
  for_each_column<Row>([&](const auto& column) { names.emplace_back(column.name); });
  return names;
}

template <class Row>
std::vector<std::string> fields_of(const Row& row) {
  std::vector<std::string> fields;
  for_each_column<Row>([&](const auto& column) { fields.push_back(field(row.*column.member)); });
  return fields;
}

void write_line(std::ostream& out, const std::vector<std::string>& fields) {
  fmt::print(out, "{}\n", fmt::join(fields, ","));
}

template <class Row>
void write_rows(std::ostream& out, const std::vector<Row>& rows) {
  write_line(out, names_of_columns<Row>());
  for (const Row& row : rows) write_line(out, fields_of(row));
}

const std::vector<std::string> job_columns = {
    "id", "model", "train_task", "train_min_length", "train_max_length", "seed", "learning_rate", "parameters"};

std::vector<std::string> job_fields(const JobRow& job) {
  return {field(job.id),
          field(job.model),
          field(job.task),
          field(job.train_min_length),
          field(job.train_max_length),
          field(job.seed),
          field(job.learning_rate),
          field(job.parameters)};
}

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

void write_evaluations(std::ostream& out, const ResultsContents& contents, const std::vector<EvaluationRow>& rows) {
  std::map<int32_t, std::vector<std::string>> of_job;
  for (const JobRow& job : contents.jobs) of_job[job.job] = job_fields(job);
  write_line(out, joined(job_columns, names_of_columns<EvaluationRow>()));
  for (const EvaluationRow& row : rows) {
    const auto job = of_job.find(row.job);
    if (job == of_job.end()) throw Error(fmt::format("an evaluation names job {}, which is not in /jobs", row.job));
    write_line(out, joined(job->second, fields_of(row)));
  }
}

void write_file(const std::string& path, const std::string& text) {
  errno = 0;
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw Error(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

}  // namespace

void write_csv(std::ostream& out, const ResultsContents& contents, const std::string& table, bool every_try) {
  if (table == "runs") return write_rows(out, contents.runs);
  if (table == "jobs") return write_rows(out, contents.jobs);
  if (table == "events") return write_rows(out, contents.events);
  if (table == "training") return write_rows(out, every_try ? contents.training : current_training(contents));
  if (table == "evaluations") {
    return write_evaluations(out, contents, every_try ? contents.evaluations : current_evaluations(contents));
  }
  const std::vector<std::string> allowed = {"runs", "jobs", "events", "evaluations", "training"};
  throw UsageError(
      fmt::format("--table {}{}; allowed: {}", table, did_you_mean(table, allowed), fmt::join(allowed, ", ")));
}

int export_command(const std::vector<std::string>& arguments) {
  const Arguments given = arguments_of("export", arguments);
  if (given.help) return 0;
  const std::string& path = given.operands.front();
  const std::string target = given.text("output").value_or("");
  std::error_code none;
  if (std::filesystem::equivalent(target, path, none)) {
    throw UsageError(fmt::format("--output {} is the results file itself: name another", target));
  }
  std::ostringstream csv;
  write_csv(csv, read_results(path), given.text("table").value_or("evaluations"), given.has("every-try"));
  if (target.empty()) {
    std::cout << csv.str() << std::flush;
  } else {
    write_file(target, csv.str());
  }
  return static_cast<int>(ExitCode::done);
}

}  // namespace recite
