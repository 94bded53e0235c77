// The command line: verbs, their options, help and completion.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace recite {

// An option of one verb alone ("--retry-failed"), as opposed to the sections' options of config/options.h.
struct VerbOption {
  std::string name;   // "max-hours"; '-' and '_' are equal on the command line
  char letter = 0;    // 'o' for -o; 0: none
  std::string value;  // "HOURS"; empty: a flag
  std::string help;
  std::vector<std::string> names;  // allowed values, where they are few
};

struct Example {
  std::string command;  // works as it stands
  std::string says;
};

struct Verb {
  std::string name;
  std::string summary;                // one line
  std::string description;            // paragraphs of the help
  std::vector<std::string> operands;  // "FILE": each must be given; "[FILE]": may be
  std::vector<VerbOption> options;
  std::vector<std::string> sections;  // whose options it takes, or single ones: {"eval", "train.precision"}
  std::vector<Example> examples;
  std::map<std::string, std::string> defaults = {};  // of the sections' options, where they are not the table's
};

// What was given to a verb.
struct Arguments {
  bool help = false;
  std::vector<std::string> operands;
  std::map<std::string, std::vector<std::string>> own;        // of VerbOption::name; a flag has the value "true"
  std::vector<std::pair<std::string, std::string>> settings;  // full option name, value, in the order given

  bool has(const std::string& name) const { return own.count(name) > 0; }
  std::optional<std::string> text(const std::string& name) const;  // the last one given
  // Throw UsageError where the value is no number of that range.
  int64_t integer(const std::string& name, int64_t otherwise, int64_t low, int64_t high) const;
  double number(const std::string& name, double otherwise, double low, double high) const;
};

// Options, operands and values in any order; "--name value", "--name=value", "--" ends options. The published
// --min_eval_len, --max_eval_len and --eval_len_step become one eval.lengths (both ends included). Throws UsageError:
// unknown option with the nearest name, missing or extra operand. With --help nothing else is checked.
Arguments parse_arguments(const Verb& verb, const std::vector<std::string>& arguments);

// Whether the option is among them, by its full name.
bool gives(const std::vector<std::pair<std::string, std::string>>& settings, const std::string& name);

// `settings` and the verb's own defaults of what is not in them.
std::vector<std::pair<std::string, std::string>> with_defaults(
    const Verb& verb, std::vector<std::pair<std::string, std::string>> settings);

// Usage, description, options from the tables, examples.
std::string help_text(const Verb& verb);

// A word that may follow `recite VERB`, for completion.
struct OptionWord {
  std::string word;  // "--train.precision", "--lr", "-o"
  bool takes_value = true;
  std::vector<std::string> values;  // where they are few
};
std::vector<OptionWord> option_words(const Verb& verb);

}  // namespace recite
