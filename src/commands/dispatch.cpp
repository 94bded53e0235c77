#include "commands/dispatch.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>

#include "base/error.h"
#include "commands/commands.h"

namespace recite {

namespace {

using Command = int (*)(const std::vector<std::string>&);

const std::map<std::string, Command>& commands() {
  static const std::map<std::string, Command> table = {
      {"sweep", sweep_command},       {"plan", plan_command},     {"status", status_command},
      {"train", train_command},       {"eval", eval_command},     {"pretrained", pretrained_command},
      {"sample", sample_command},     {"export", export_command}, {"doctor", doctor_command},
      {"tokenize", tokenize_command}, {"bench", bench_command},   {"completion", completion_command},
      {"version", version_command}};
  return table;
}

void print_overview() {
  fmt::print(
      "Usage: recite VERB [OPTIONS]\n\nHow well sequence models repeat what they read: train, measure, compare.\n\n");
  for (const Verb& verb : verbs()) fmt::print("  {:<12}{}\n", verb.name, verb.summary);
  fmt::print(
      "\n'recite VERB --help' or 'recite help VERB' explains a verb.\n\nExamples:\n"
      "  recite doctor\n      check the installation\n"
      "  recite plan configs/quickstart.ini\n      what a sweep file would run\n"
      "  recite sweep configs/quickstart.ini -o quickstart.h5\n      run it\n");
}

int run_verb(const std::string& verb, const std::vector<std::string>& arguments) {
  if (verb == "--version") return version_command({});
  if (verb == "help" && !arguments.empty()) {
    fmt::print("{}", help_text(verb_named(arguments.front())));
    return static_cast<int>(ExitCode::done);
  }
  if (verb == "help" || verb == "--help" || verb == "-h") {
    print_overview();
    return static_cast<int>(ExitCode::done);
  }
  return commands().at(verb_named(verb).name)(arguments);
}

int report(const std::string& verb, const char* message, ExitCode code) {
  std::fflush(stdout);
  fmt::print(stderr, "recite {}: {}\n", verb, message);
  return static_cast<int>(code);
}

}  // namespace

int run_program(const std::vector<std::string>& words) {
  if (words.empty()) {
    print_overview();
    return static_cast<int>(ExitCode::usage);
  }
  const std::string& verb = words.front();
  try {
    return run_verb(verb, {words.begin() + 1, words.end()});
  } catch (const UsageError& error) {
    return report(verb, error.what(), ExitCode::usage);
  } catch (const std::exception& error) {
    return report(verb, error.what(), ExitCode::internal);
  }
}

}  // namespace recite
