// The table of options: one entry gives the key of the sweep file, the option of the command line, its help and its
// completion. Defaults are those of the structs in jobs/specs.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "jobs/job.h"

namespace recite {

// What a sweep is, beside its jobs.
struct SweepSpec {
  std::string name;                  // of the sweep and its results file; empty: the sweep file's name
  int max_tries = 3;                 // of a job, before it counts as failed
  std::vector<std::string> exclude;  // "model=lstm, max_length=300": jobs that match all parts of one are left out
  std::vector<std::string> only;     // when there are any: jobs that match none are left out
};

// A value for each option: what the table reads and writes.
struct Settings {
  SweepSpec sweep;
  Job job;
  bool automatic_precision = true;  // train.precision = auto: not yet resolved
};

enum class Repeat {
  axis,       // a scalar: repeated, it is an axis of the grid
  single,     // a scalar that all jobs of a sweep share
  list,       // "1, 2, 3" or "10:100:10": several values in one
  collected,  // each repetition adds one (exclude, only)
};

struct Option {
  std::string section;               // "train"
  std::string key;                   // "learning_rate"
  std::vector<std::string> aliases;  // on the command line: the published code's names ("lr")
  Repeat repeat = Repeat::axis;
  std::string allowed;             // "an integer >= 1", "one of copy, prefix_ngram, ..."
  std::vector<std::string> names;  // every allowed name; empty for numbers and free text
  std::string help;
  bool flag = false;  // yes or no: may stand on the command line without a value

  // Reads a value as the user writes it; throws UsageError that says what is allowed, and changes nothing then.
  std::function<void(Settings&, const std::string&)> set;
  // The value as set() would read it; Repeat::collected: one a line.
  std::function<std::string(const Settings&)> get;

  std::string name() const { return section + "." + key; }
  std::string default_text() const { return get(Settings{}); }
};

// In the order of help and of resolved texts: sections sweep, run, task, model, pretrained, train, eval.
const std::vector<Option>& options();
const std::vector<std::string>& option_sections();

// By full name, alias, or a key that only one section has; '-' and '_' are equal. nullptr: there is none.
const Option* find_option(const std::string& name);
// By full name; it must exist.
const Option& option_named(const std::string& full_name);

// Sets the option, with "PLACE: train.steps = abc: " before the message of a bad value.
void set_option(Settings& settings, const Option& option, const std::string& text, const std::string& place);

}  // namespace recite
