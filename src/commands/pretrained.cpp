#include <algorithm>

#include "base/error.h"
#include "commands/commands.h"
#include "commands/run_jobs.h"

namespace recite {

namespace {

bool asks_squad(const GivenOptions& settings) {
  return std::any_of(settings.begin(), settings.end(), [](const auto& setting) {
    return setting.first == "sweep.task" && parse_name<TaskKind>(setting.second) == TaskKind::squad;
  });
}

GivenOptions settings_of(const Arguments& given) {
  const std::optional<std::string> folder = given.text("model");
  if (!folder) throw UsageError("--model DIR is needed: the folder of a model (config.json and weights)");
  GivenOptions settings = given.settings;
  settings.emplace_back("pretrained.model", *folder);
  // SQuAD's lengths are those of its passages.
  if (asks_squad(settings) && !gives(settings, "eval.lengths")) settings.emplace_back("eval.lengths", "");
  return with_defaults(verb_named("pretrained"), settings);
}

}  // namespace

int pretrained_command(const std::vector<std::string>& arguments) {
  return run_jobs("pretrained", arguments, [](const Arguments& given, const Machine& machine) {
    return load_single_job(settings_of(given), machine, "pretrained");
  });
}

}  // namespace recite
