#include "config/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <sstream>

#include "base/error.h"
#include "base/text.h"
#include "config/options.h"
#include "config/values.h"

namespace recite {

namespace po = boost::program_options;

namespace {

constexpr unsigned line_width = 110;

// The published names of eval.lengths, which are options of the command line alone.
struct PublishedLength {
  const char* name;
  const char* help;
};
constexpr PublishedLength published_lengths[] = {{"min_eval_len", "letters of the shortest string measured"},
                                                 {"max_eval_len", "letters of the longest string measured"},
                                                 {"eval_len_step", "letters from one length to the next [1]"}};

std::string folded(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

bool takes(const Verb& verb, const std::string& section_or_option) {
  return std::find(verb.sections.begin(), verb.sections.end(), section_or_option) != verb.sections.end();
}

bool takes(const Verb& verb, const Option& option) { return takes(verb, option.section) || takes(verb, option.name()); }

std::string default_of(const Verb& verb, const Option& option) {
  const auto own = verb.defaults.find(option.name());
  return own == verb.defaults.end() ? option.default_text() : own->second;
}

const VerbOption* own_option(const Verb& verb, const std::string& name) {
  for (const VerbOption& option : verb.options) {
    if (folded(option.name) == folded(name)) return &option;
  }
  return nullptr;
}

// Aliases of a section's option, less those that the verb uses for itself (eval --model DIR).
std::vector<std::string> aliases_of(const Verb& verb, const Option& option) {
  std::vector<std::string> aliases;
  for (const std::string& alias : option.aliases) {
    if (!own_option(verb, alias)) aliases.push_back(alias);
  }
  return aliases;
}

po::value_semantic* text_value(const std::string& shown) { return po::value<std::string>()->value_name(shown); }

po::value_semantic* option_value(const Option& option) {
  return text_value(option.repeat == Repeat::list ? "LIST" : "VALUE");
}

std::string option_help(const Verb& verb, const Option& option) {
  std::string help = option.help;
  if (!option.names.empty() && !option.flag) help += fmt::format(" ({})", fmt::join(option.names, ", "));
  if (option.names.empty()) help += fmt::format(" ({})", option.allowed);
  if (const std::string value = default_of(verb, option); !value.empty()) help += fmt::format(" [{}]", value);
  const std::vector<std::string> aliases = aliases_of(verb, option);
  if (!aliases.empty()) help += fmt::format("; also --{}", fmt::join(aliases, ", --"));
  return help;
}

// The visible options in groups, from which both parser and help are made.
std::vector<po::options_description> groups_of(const Verb& verb) {
  std::vector<po::options_description> groups;
  po::options_description& own = groups.emplace_back("Options", line_width);
  for (const VerbOption& option : verb.options) {
    const std::string name = option.letter ? fmt::format("{},{}", option.name, option.letter) : option.name;
    if (option.value.empty()) {
      own.add_options()(name.c_str(), option.help.c_str());
    } else {
      own.add_options()(name.c_str(), text_value(option.value), option.help.c_str());
    }
  }
  own.add_options()("help,h", "this text");
  for (const std::string& section : option_sections()) {
    po::options_description group(fmt::format("[{}]", section), line_width);
    for (const Option& option : options()) {
      if (option.section != section || !takes(verb, option)) continue;
      group.add_options()(option.name().c_str(), option_value(option), option_help(verb, option).c_str());
    }
    if (!group.options().empty()) groups.push_back(group);
  }
  if (takes(verb, option_named("eval.lengths"))) {
    po::options_description& group = groups.emplace_back("eval.lengths as a range, both ends included", line_width);
    for (const PublishedLength& each : published_lengths)
      group.add_options()(each.name, text_value("LETTERS"), each.help);
  }
  return groups;
}

po::options_description accepted(const Verb& verb) {
  po::options_description all;
  for (const po::options_description& group : groups_of(verb)) all.add(group);
  for (const Option& option : options()) {
    if (!takes(verb, option)) continue;
    for (const std::string& alias : aliases_of(verb, option))
      all.add_options()(alias.c_str(), option_value(option), "");
  }
  all.add_options()("operand", po::value<std::vector<std::string>>(), "");
  return all;
}

// The word as the parser takes it: "--max_hours=2" -> "--max-hours=2", "--train.max-length" -> "--train.max_length". A
// bare flag of the sections gets its value, or Boost would take the next word for it: "--save-models" ->
// "--save_models=true".
std::string as_registered(const Verb& verb, const std::string& word) {
  const size_t end = std::min(word.find('='), word.size());
  const std::string name = folded(word.substr(2, end - 2));
  if (const VerbOption* own = own_option(verb, name)) return "--" + own->name + word.substr(end);
  const Option* option = find_option(name);
  const bool bare_flag = option && option->flag && end == word.size();
  return "--" + name + (bare_flag ? "=true" : word.substr(end));
}

std::vector<std::string> as_registered(const Verb& verb, const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--") {
      words.insert(words.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i), arguments.end());
      break;
    }
    const bool names_option = arguments[i].starts_with("--");
    words.push_back(names_option ? as_registered(verb, arguments[i]) : arguments[i]);
    // An empty list, "--eval.every_lengths=", is "--eval.every_lengths ''" to Boost.
    if (const std::string& word = words.back(); names_option && word.ends_with('=')) {
      const std::string name = word.substr(2, word.size() - 3);
      if (find_option(name) == nullptr) continue;
      words.back() = "--" + name;
      words.emplace_back();
    }
  }
  return words;
}

[[noreturn]] void unknown_option(const Verb& verb, const std::string& name) {
  std::vector<std::string> words;
  for (const OptionWord& word : option_words(verb)) words.push_back(word.word);
  throw UsageError(fmt::format("unknown option '{}'{}; 'recite {} --help' lists them all", name,
                               did_you_mean(name, words), verb.name));
}

std::vector<po::option> parsed_options(const Verb& verb, const std::vector<std::string>& arguments) {
  const po::options_description all = accepted(verb);
  po::positional_options_description operands;
  operands.add("operand", -1);
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    return po::command_line_parser(as_registered(verb, arguments))
        .options(all)
        .positional(operands)
        .style(style)
        .allow_unregistered()
        .run()
        .options;
  } catch (const po::error& error) {
    throw UsageError(error.what());
  }
}

void check_operands(const Verb& verb, const std::vector<std::string>& operands) {
  const auto required = static_cast<size_t>(std::count_if(verb.operands.begin(), verb.operands.end(),
                                                          [](const std::string& name) { return name.front() != '['; }));
  if (operands.size() < required)
    throw UsageError(fmt::format("{} is missing; usage: recite {} {} [OPTIONS]", verb.operands[operands.size()],
                                 verb.name, fmt::join(verb.operands, " ")));
  if (operands.size() > verb.operands.size()) {
    throw UsageError(fmt::format("'{}' is one word too many; usage: recite {}{}{} [OPTIONS]",
                                 operands[verb.operands.size()], verb.name, verb.operands.empty() ? "" : " ",
                                 fmt::join(verb.operands, " ")));
  }
}

// Sorts the parsed options into the verb's own, the sections' and the published lengths.
class Sorter {
 public:
  explicit Sorter(const Verb& verb) : verb_(verb) {}

  void take(const po::option& option) {
    if (option.unregistered) unknown_option(verb_, split(option.original_tokens.front(), '=').front());
    const std::string& name = option.string_key;
    const std::string value = option.value.empty() ? "true" : option.value.back();
    if (name == "operand") {
      given_.operands.insert(given_.operands.end(), option.value.begin(), option.value.end());
    } else if (const VerbOption* own = own_option(verb_, name)) {
      given_.own[own->name].push_back(value);
    } else if (is_published_length(name)) {
      lengths_[name] = value;
    } else {
      given_.settings.emplace_back(find_option(name)->name(), value);
    }
  }

  Arguments finish() {
    add_lengths();
    check_operands(verb_, given_.operands);
    return std::move(given_);
  }

 private:
  static bool is_published_length(const std::string& name) {
    return std::any_of(std::begin(published_lengths), std::end(published_lengths),
                       [&](const PublishedLength& each) { return name == each.name; });
  }

  int64_t length_of(const std::string& name, int64_t otherwise) const {
    const auto found = lengths_.find(name);
    if (found == lengths_.end()) return otherwise;
    try {
      return read_integer(found->second, {1});
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("--{} = {}: {}", name, found->second, error.what()));
    }
  }

  void add_lengths() {
    if (lengths_.empty()) return;
    for (const auto& [name, value] : given_.settings) {
      if (name == "eval.lengths") {
        throw UsageError(fmt::format("--eval.lengths and --{} both say what is measured: give one of them",
                                     lengths_.begin()->first));
      }
    }
    const std::vector<int> usual = read_integers(default_of(verb_, option_named("eval.lengths")), {1});
    const int64_t low = length_of("min_eval_len", usual.front());
    const int64_t high = length_of("max_eval_len", usual.back());
    if (low > high) throw UsageError(fmt::format("--min_eval_len = {} is more than --max_eval_len = {}", low, high));
    given_.settings.emplace_back("eval.lengths", fmt::format("{}:{}:{}", low, high, length_of("eval_len_step", 1)));
  }

  const Verb& verb_;
  Arguments given_;
  std::map<std::string, std::string> lengths_;
};

bool asks_for_help(const std::vector<std::string>& arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::any_of(arguments.begin(), end, [](const std::string& word) { return word == "--help" || word == "-h"; });
}

}  // namespace

std::optional<std::string> Arguments::text(const std::string& name) const {
  const auto found = own.find(name);
  return found == own.end() ? std::nullopt : std::optional(found->second.back());
}

int64_t Arguments::integer(const std::string& name, int64_t otherwise, int64_t low, int64_t high) const {
  const std::optional<std::string> value = text(name);
  if (!value) return otherwise;
  try {
    return read_integer(*value, {static_cast<double>(low), static_cast<double>(high)});
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("--{} = {}: {}", name, *value, error.what()));
  }
}

double Arguments::number(const std::string& name, double otherwise, double low, double high) const {
  const std::optional<std::string> value = text(name);
  if (!value) return otherwise;
  try {
    return read_number(*value, {low, high});
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("--{} = {}: {}", name, *value, error.what()));
  }
}

Arguments parse_arguments(const Verb& verb, const std::vector<std::string>& arguments) {
  if (asks_for_help(arguments)) {
    Arguments given;
    given.help = true;
    return given;
  }
  Sorter sorter(verb);
  for (const po::option& option : parsed_options(verb, arguments)) sorter.take(option);
  return sorter.finish();
}

bool gives(const std::vector<std::pair<std::string, std::string>>& settings, const std::string& name) {
  return std::any_of(settings.begin(), settings.end(), [&](const auto& setting) { return setting.first == name; });
}

std::vector<std::pair<std::string, std::string>> with_defaults(
    const Verb& verb, std::vector<std::pair<std::string, std::string>> settings) {
  for (const auto& [name, value] : verb.defaults)
    if (!gives(settings, name)) settings.emplace_back(name, value);
  return settings;
}

std::string help_text(const Verb& verb) {
  std::ostringstream out;
  out << "Usage: recite " << verb.name;
  for (const std::string& operand : verb.operands) out << ' ' << operand;
  out << " [OPTIONS]\n\n" << verb.summary << "\n";
  if (!verb.description.empty()) out << '\n' << verb.description << "\n";
  for (const po::options_description& group : groups_of(verb)) out << '\n' << group;
  out << "\nExamples:\n";
  for (const Example& example : verb.examples) out << fmt::format("  {}\n      {}\n", example.command, example.says);
  return out.str();
}

std::vector<OptionWord> option_words(const Verb& verb) {
  std::vector<OptionWord> words = {{"--help", false, {}}};
  for (const VerbOption& option : verb.options) {
    words.push_back({"--" + option.name, !option.value.empty(), option.names});
    if (option.letter) words.push_back({fmt::format("-{}", option.letter), !option.value.empty(), option.names});
  }
  for (const Option& option : options()) {
    if (!takes(verb, option)) continue;
    words.push_back({"--" + option.name(), !option.flag, option.names});
    for (const std::string& alias : aliases_of(verb, option))
      words.push_back({"--" + alias, !option.flag, option.names});
  }
  if (takes(verb, option_named("eval.lengths"))) {
    for (const PublishedLength& each : published_lengths) words.push_back({fmt::format("--{}", each.name), true, {}});
  }
  return words;
}

}  // namespace recite
