// What the rows of a results file say together.
#include <map>
#include <tuple>

#include "results/reader.h"

namespace recite {
namespace {

// Of the rows with the same key the one with the highest try, then the last; in the order in which the keys first
// appear.
template <class Row, class KeyOf>
std::vector<Row> highest_tries(const std::vector<Row>& rows, KeyOf&& key_of) {
  std::vector<Row> chosen;
  std::map<decltype(key_of(rows.front())), size_t> place;
  for (const Row& row : rows) {
    const auto [found, is_new] = place.try_emplace(key_of(row), chosen.size());
    if (is_new) {
      chosen.push_back(row);
    } else if (row.attempt >= chosen[found->second].attempt) {
      chosen[found->second] = row;
    }
  }
  return chosen;
}

}  // namespace

std::vector<JobView> job_views(const ResultsContents& contents) {
  std::vector<JobView> views;
  std::map<int32_t, size_t> place;
  for (const JobRow& job : contents.jobs) {
    place[job.job] = views.size();
    JobView view{.job = job, .last = {}};
    view.last.job = job.job;
    views.push_back(view);
  }
  for (const EventRow& event : contents.events) {
    const auto found = place.find(event.job);
    if (found == place.end()) continue;
    JobView& view = views[found->second];
    view.last = event;
    view.attempts = std::max(view.attempts, event.attempt);
    if (event.state == JobState::running) view.started = event.time;
    if (event.state != JobState::planned) view.done = event.state == JobState::done;
  }
  return views;
}

std::vector<EvaluationRow> current_evaluations(const ResultsContents& contents) {
  return highest_tries(contents.evaluations, [](const EvaluationRow& row) {
    return std::make_tuple(row.job, row.step, row.task, row.n_gram, row.length, row.mode);
  });
}

std::vector<TrainingRow> current_training(const ResultsContents& contents) {
  return highest_tries(contents.training, [](const TrainingRow& row) { return std::make_tuple(row.job, row.step); });
}

}  // namespace recite
