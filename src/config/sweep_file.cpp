#include "config/sweep_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/text.h"
#include "config/filter.h"
#include "config/given.h"
#include "jobs/grid.h"
#include "jobs/task_limits.h"

namespace recite {

namespace {

constexpr size_t max_points = 100000;
constexpr size_t max_text_bytes = 16384;  // of the results file's column

std::vector<Axis> axes_of(const GivenSweep& given, const std::string& path) {
  std::vector<Axis> axes;
  size_t points = 1;
  for (const Option& option : options()) {
    const auto found = given.options.find(option.name());
    if (option.repeat != Repeat::axis || found == given.options.end()) continue;
    Axis axis{option.name(), {}};
    for (const Given& value : found->second) axis.values.push_back(value.text);
    points *= axis.values.size();
    if (points > max_points) {
      throw UsageError(
          fmt::format("{}: the grid has more than {} combinations: repeat fewer options", path, max_points));
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

// What all jobs share: everything but the axes.
Settings shared_settings(const GivenSweep& given) {
  Settings settings;
  for (const auto& [name, values] : given.options) {
    const Option& option = option_named(name);
    if (option.repeat == Repeat::axis) continue;
    for (const Given& value : values) set_option(settings, option, value.text, value.place);
  }
  return settings;
}

Settings settings_at(const GridPoint& point, const Settings& shared, const GivenSweep& given) {
  Settings settings = shared;
  for (const auto& [name, text] : point) option_named(name).set(settings, text);
  if (settings.job.is_pretrained()) settings.job.eval.mode = EvalMode::greedy;  // the only one that text has
  const auto overrides = given.overrides.find(settings.job.model.architecture);
  if (overrides == given.overrides.end()) return settings;
  for (const auto& [name, value] : overrides->second) option_named(name).set(settings, value.text);
  return settings;
}

std::vector<Filter> filters(const std::vector<std::string>& texts, const std::string& place) {
  std::vector<Filter> made;
  for (const std::string& text : texts) made.emplace_back(text, place);
  return made;
}

[[noreturn]] void refuse_empty(const std::string& path, size_t points, const std::vector<Filter>& excluded,
                               const std::vector<size_t>& removed, const std::vector<Filter>& only) {
  std::string why;
  for (size_t i = 0; i < excluded.size(); ++i) {
    why += fmt::format("; sweep.exclude '{}' removed {}", excluded[i].text(), removed[i]);
  }
  for (const Filter& filter : only) why += fmt::format("; sweep.only '{}' matched none of the rest", filter.text());
  throw UsageError(fmt::format("{}: no job is left of {} combination{}{}", path, points, points == 1 ? "" : "s", why));
}

// The points that exclude and only leave.
std::vector<Settings> selected_points(const GivenSweep& given, const std::string& path) {
  const Settings shared = shared_settings(given);
  const std::vector<Filter> excluded = filters(shared.sweep.exclude, path + ": sweep.exclude");
  const std::vector<Filter> only = filters(shared.sweep.only, path + ": sweep.only");
  const std::vector<GridPoint> points = grid_points(axes_of(given, path));
  std::vector<size_t> removed(excluded.size());
  std::vector<Settings> selected;
  for (const GridPoint& point : points) {
    const Settings settings = settings_at(point, shared, given);
    const auto matches = [&](const Filter& filter) { return filter.matches(settings); };
    const auto hit = std::find_if(excluded.begin(), excluded.end(), matches);
    if (hit != excluded.end()) {
      ++removed[hit - excluded.begin()];
    } else if (only.empty() || std::any_of(only.begin(), only.end(), matches)) {
      selected.push_back(settings);
    }
  }
  if (selected.empty()) refuse_empty(path, points.size(), excluded, removed, only);
  return selected;
}

void check_point(const Job& job, const std::string& path, const Machine& machine) {
  if (machine.workers > 0 && job.ranks > machine.workers) {
    throw UsageError(
        fmt::format("{}: sweep.ranks_per_job = {}, but there {}: start more (-n {}) or lower it", path, job.ranks,
                    machine.workers == 1 ? "is 1 worker" : fmt::format("are {} workers", machine.workers), job.ranks));
  }
  try {
    check_job(job);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {} (job {})", path, error.what(), job.label()));
  }
}

// What a job does beside training its weights: two jobs of one id must agree in it.
nlohmann::json beside_training(const Job& job) {
  nlohmann::json points = nlohmann::json::array();
  bool looks_up = false;
  for (const EvalPoint& point : eval_points(job)) {
    points.push_back({name_of(point.task), point.n_gram, point.length});
    looks_up = looks_up || is_lookup(point.task);
  }
  return {points, job.eval, job.train.micro_batch_size, looks_up ? name_of(job.task.ngram_key) : ""};
}

[[noreturn]] void refuse_collision(const Settings& one, const Settings& other, const std::string& path) {
  std::vector<std::string> differing;
  for (const Option& option : options()) {
    if (option.get(one) == option.get(other)) continue;
    differing.push_back(fmt::format("{} ({}, {})", option.name(), option.get(one), option.get(other)));
  }
  throw UsageError(fmt::format(
      "{}: two jobs that differ only in {} {}, and would be one job: give one value, or make two sweeps of it", path,
      fmt::join(differing, " and "),
      one.job.is_pretrained() ? "ask the same model the same" : "train the same weights"));
}

std::vector<Job> distinct_jobs(const std::vector<Settings>& points, const std::string& path, const Machine& machine) {
  std::map<std::string, const Settings*> by_id;
  std::vector<Job> jobs;
  for (const Settings& settings : points) {
    check_point(settings.job, path, machine);
    const auto [first, is_new] = by_id.emplace(settings.job.id(), &settings);
    if (is_new) {
      jobs.push_back(settings.job);
    } else if (beside_training(first->second->job) != beside_training(settings.job)) {
      refuse_collision(*first->second, settings, path);
    }
  }
  sort_by_cost(jobs);
  return jobs;
}

Sweep build_sweep(GivenSweep given, const std::string& path, const std::string& default_name, const Machine& machine) {
  if (!given.options.count("sweep.name")) given.options["sweep.name"] = {{default_name, "default"}};
  resolve_automatic(given, machine);
  const std::vector<Settings> points = selected_points(given, path);
  Sweep sweep{points.front().sweep, distinct_jobs(points, path, machine), text_of(given)};
  if (sweep.text.size() > max_text_bytes) {
    throw UsageError(fmt::format("{}: the sweep takes {} bytes in the results file, at most {}: make two sweeps of it",
                                 path, sweep.text.size(), max_text_bytes));
  }
  return sweep;
}

}  // namespace

Sweep parse_sweep(const std::string& text, const std::string& path, const GivenOptions& command_line,
                  const Machine& machine) {
  GivenSweep given = given_by_file(text, path);
  replace_given(given, command_line);
  return build_sweep(std::move(given), path, std::filesystem::path(path).stem().string(), machine);
}

Sweep load_sweep(const std::string& path, const GivenOptions& command_line, const Machine& machine) {
  const auto refuse = [&](const std::string& why) {
    throw UsageError(fmt::format("{}: no sweep file that can be read: {}", path, why));
  };
  std::ifstream file(path);
  std::stringstream text;
  if (!file) refuse(std::strerror(errno));
  if (std::filesystem::is_directory(path)) refuse("a folder");
  if (!(text << file.rdbuf())) refuse("it is empty; wanted is an INI text with a section [sweep]");
  return parse_sweep(text.str(), path, command_line, machine);
}

Sweep load_single_job(const GivenOptions& command_line, const Machine& machine, const std::string& name) {
  GivenSweep given;
  replace_given(given, command_line);
  for (const auto& [option, values] : given.options) {
    if (values.size() < 2 || option_named(option).repeat != Repeat::axis) continue;
    throw UsageError(
        fmt::format("--{} was given {} times, for one job: a grid is a sweep file's", option, values.size()));
  }
  return build_sweep(std::move(given), "command line", name, machine);
}

Job with_options(const Job& job, const GivenOptions& command_line, const Machine& machine) {
  Settings settings;
  settings.job = job;
  settings.job.run = {};
  settings.job.ranks = 1;
  for (const auto& [name, text] : command_line) set_option(settings, option_named(name), text, "command line");
  DeviceKind& device = settings.job.run.device;
  if (device == DeviceKind::automatic) device = machine.has_gpu ? DeviceKind::cuda : DeviceKind::cpu;
  check_point(settings.job, "command line", machine);
  return settings.job;
}

}  // namespace recite
