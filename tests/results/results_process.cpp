// A process that writes or reads a results file, for the tests that need several of them (several_processes_test.py).
//
//   results_process flood PATH [REOPEN]   appends known rows for ever, saying "TABLE NUMBER" after each; with REOPEN
//                                         closes the file and opens it again after so many rows
//   results_process obey PATH             opens the file, then does what its input says: "append", "sync", "close"
//   results_process check PATH            reads the file, compares every row with what was written, prints the counts
//
// Exit code 2 for a UsageError, 1 for any other error or a row that is wrong; the message goes to the error output.
#include <sys/prctl.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "known_rows.h"
#include "results/reader.h"
#include "results/writer.h"

namespace recite {
namespace {

struct Counts {
  int jobs = 0, events = 0, evaluations = 0, training = 0;
};

Counts counts_of(const ResultsContents& contents) {
  return {static_cast<int>(contents.jobs.size()), static_cast<int>(contents.events.size()),
          static_cast<int>(contents.evaluations.size()), static_cast<int>(contents.training.size())};
}

void acknowledge(const char* table, int number) { std::cout << table << ' ' << number << std::endl; }

// Every table gets rows, the large ones less often.
void append_next(ResultsWriter& writer, Counts& next) {
  writer.append(known_training(next.training));
  acknowledge("training", next.training++);
  writer.append(known_evaluation(next.evaluations));
  acknowledge("evaluations", next.evaluations++);
  if (next.training % 3 == 0) {
    writer.append(known_event(next.events));
    acknowledge("events", next.events++);
  }
  if (next.training % 20 == 0) {
    writer.add_job(known_job(next.jobs));
    acknowledge("jobs", next.jobs++);
  }
}

Counts counts_in(const std::string& path) {
  return std::filesystem::exists(path) ? counts_of(read_results(path)) : Counts{};
}

void flood(const std::string& path, int reopen_after) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) {
    Counts next = counts_in(path);
    ResultsWriter writer(path, "known");
    writer.add_run({});
    acknowledge("epoch", static_cast<int>(writer.epoch()));
    for (int rows = 0; reopen_after == 0 || rows < reopen_after; ++rows) append_next(writer, next);
  }
}

void obey(const std::string& path) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Counts next = counts_in(path);
  ResultsWriter writer(path, "known");
  writer.add_run({});
  acknowledge("epoch", static_cast<int>(writer.epoch()));
  for (std::string order; std::cin >> order && order != "close";) {
    if (order == "append") append_next(writer, next);
    if (order == "sync") writer.sync();
    acknowledge("did", 0);
  }
}

template <class Row, class KnownRow>
void compare(const std::vector<Row>& rows, KnownRow known, const char* table) {
  for (size_t k = 0; k < rows.size(); ++k) {
    if (!same(rows[k], known(static_cast<int>(k)))) throw Error(fmt::format("row {} of {} is wrong", k, table));
  }
}

void check(const std::string& path) {
  const ResultsContents contents = read_results(path);
  compare(contents.jobs, known_job, "jobs");
  compare(contents.events, known_event, "events");
  compare(contents.evaluations, known_evaluation, "evaluations");
  compare(contents.training, known_training, "training");
  std::vector<int64_t> epochs;
  for (const RunRow& run : contents.runs) epochs.push_back(run.epoch);
  const Counts counts = counts_of(contents);
  std::cout << nlohmann::json{{"epochs", epochs},
                              {"jobs", counts.jobs},
                              {"events", counts.events},
                              {"evaluations", counts.evaluations},
                              {"training", counts.training}}
            << std::endl;
}

void act(const std::vector<std::string>& arguments) {
  if (arguments.at(0) == "flood") flood(arguments.at(1), arguments.size() > 2 ? std::stoi(arguments[2]) : 0);
  if (arguments.at(0) == "obey") obey(arguments.at(1));
  if (arguments.at(0) == "check") check(arguments.at(1));
}

}  // namespace
}  // namespace recite

int main(int argc, char** argv) {
  try {
    recite::act({argv + 1, argv + argc});
    return 0;
  } catch (const recite::UsageError& error) {
    std::cerr << error.what() << std::endl;
    return 2;
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
