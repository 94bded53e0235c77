// From a sweep file and a command line to checked jobs.
//
//   [sweep]            name, model, task, seed, ranks_per_job, max_tries, exclude, only
//   [run] [task] [model] [pretrained] [train] [eval]
//   [mamba]            options of [model] and [train] for one model
//
// A scalar option that is repeated is an axis of the grid. '#' and ';' begin a comment at the start of a line or after
// a blank. Options of the command line replace the file's, those of a model's section too.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "config/options.h"
#include "jobs/job.h"

namespace recite {

// What options are checked and resolved against.
struct Machine {
  int workers = 0;       // that will train; 0: not known yet, nothing is refused for it
  bool has_gpu = false;  // what `auto` means for run.device, and then for train.precision (bf16 on a GPU, else float32)
};

struct Sweep {
  SweepSpec spec;
  std::vector<Job> jobs;  // checked, resolved (no `auto` is left), each id once, biggest first; no file was looked at
  std::string text;       // an INI text that gives the same sweep again, at most 16384 bytes
};

using GivenOptions = std::vector<std::pair<std::string, std::string>>;  // full option name, value

// Throws UsageError: unknown key or section (file, line, nearest name), bad value (what is allowed), a grid that is
// empty (which exclusions emptied it), jobs that check_job() refuses, jobs that differ only in what is not trained.
Sweep load_sweep(const std::string& path, const GivenOptions& command_line, const Machine& machine);

// The same from the text of a file; `path` is its name in messages.
Sweep parse_sweep(const std::string& text, const std::string& path, const GivenOptions& command_line,
                  const Machine& machine);

// One job from the command line alone (verbs train and pretrained), as a sweep called `name`; an option that is
// repeated is refused.
Sweep load_single_job(const GivenOptions& command_line, const Machine& machine, const std::string& name = "train");

// `job` with options of [eval] given on the command line in place of its own (verb eval), checked again. Those of [run]
// are the command line's or their defaults, by one rank: where, and by how many, it was trained is no matter here.
Job with_options(const Job& job, const GivenOptions& command_line, const Machine& machine);

}  // namespace recite
