#include "config/given.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "config/ini_file.h"

namespace recite {

namespace {

std::optional<Architecture> model_of_section(const std::string& section) {
  try {
    return parse_name<Architecture>(section);
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

bool is_section(const std::string& name) {
  const auto& sections = option_sections();
  return std::find(sections.begin(), sections.end(), name) != sections.end();
}

[[noreturn]] void unknown_section(const IniEntry& entry, const std::string& path) {
  std::vector<std::string> names = option_sections();
  for (const std::string& model : names_of<Architecture>()) names.push_back(model);
  throw UsageError(fmt::format("{}:{}: unknown section [{}]{}; allowed: {}", path, entry.section_line, entry.section,
                               did_you_mean(entry.section, names), fmt::join(names, ", ")));
}

// The option `key` among those of `sections`; the key may name its section too.
const Option& option_of(const IniEntry& entry, const std::vector<std::string>& sections, const std::string& path) {
  std::string wanted = entry.key;
  std::replace(wanted.begin(), wanted.end(), '-', '_');
  std::vector<std::string> keys;
  for (const Option& option : options()) {
    if (std::find(sections.begin(), sections.end(), option.section) == sections.end()) continue;
    if (wanted == option.key || wanted == option.name()) return option;
    keys.push_back(option.key);
  }
  const Option* elsewhere = find_option(wanted);
  const std::string hint = elsewhere && nearest(wanted, keys).value_or("") != elsewhere->key
                               ? fmt::format(" (it belongs to section [{}], as {})", elsewhere->section, elsewhere->key)
                               : did_you_mean(wanted, keys);
  throw UsageError(
      fmt::format("{}:{}: unknown key '{}' in section [{}]{}", path, entry.line, entry.key, entry.section, hint));
}

void refuse_repetition(const Option& option, const Given& first, const Given& again) {
  if (option.repeat == Repeat::single) {
    throw UsageError(fmt::format("{}: {} was already given ({}): it cannot be an axis, all jobs of a sweep share it",
                                 again.place, option.name(), first.place));
  }
  throw UsageError(fmt::format("{}: {} was already given ({}): it is a list, and never an axis; write {} = {}, {}",
                               again.place, option.name(), first.place, option.key, first.text, again.text));
}

void add(GivenSweep& given, const Option& option, Given value) {
  std::vector<Given>& values = given.options[option.name()];
  const bool may_repeat = option.repeat == Repeat::axis || option.repeat == Repeat::collected;
  if (!values.empty() && !may_repeat) refuse_repetition(option, values.front(), value);
  Settings scratch;
  set_option(scratch, option, value.text, value.place);
  values.push_back(std::move(value));
}

void add_override(GivenSweep& given, Architecture model, const Option& option, Given value) {
  Settings scratch;
  set_option(scratch, option, value.text, value.place);
  const auto [at, is_new] = given.overrides[model].emplace(option.name(), value);
  if (is_new) return;
  throw UsageError(fmt::format("{}: {} was already given for {} ({}): a model's section holds no axes", value.place,
                               option.name(), name_of(model), at->second.place));
}

// As the option itself writes it.
std::string canonical(const Option& option, const std::string& text) {
  Settings scratch;
  option.set(scratch, text);
  return option.get(scratch);
}

std::string section_text(const GivenSweep& given, const std::string& section) {
  std::string out = fmt::format("[{}]\n", section);
  for (const Option& option : options()) {
    if (option.section != section) continue;
    const auto found = given.options.find(option.name());
    std::vector<std::string> texts;
    if (found == given.options.end()) {
      texts.push_back(option.default_text());
    } else {
      for (const Given& value : found->second) texts.push_back(canonical(option, value.text));
    }
    for (const std::string& text : texts) {
      if (!text.empty() || !option.default_text().empty()) out += fmt::format("{} = {}\n", option.key, text);
    }
  }
  return out;
}

}  // namespace

GivenSweep given_by_file(const std::string& text, const std::string& path) {
  GivenSweep given;
  for (const IniEntry& entry : parse_ini(text, path)) {
    Given value{entry.value, fmt::format("{}:{}", path, entry.line)};
    if (is_section(entry.section)) {
      add(given, option_of(entry, {entry.section}, path), std::move(value));
    } else if (const auto model = model_of_section(entry.section)) {
      add_override(given, *model, option_of(entry, {"model", "train"}, path), std::move(value));
    } else {
      unknown_section(entry, path);
    }
  }
  return given;
}

void replace_given(GivenSweep& given, const GivenOptions& command_line) {
  for (const auto& [name, text] : command_line) {
    given.options.erase(name);
    for (auto& [model, values] : given.overrides) values.erase(name);
  }
  for (const auto& [name, text] : command_line) add(given, option_named(name), {text, "command line"});
}

void resolve_automatic(GivenSweep& given, const Machine& machine) {
  const auto values_of = [&](const std::string& name) -> std::vector<Given>& {
    std::vector<Given>& values = given.options[name];
    if (values.empty()) values.push_back({option_named(name).default_text(), "default"});
    return values;
  };
  Given& device = values_of("run.device").front();
  if (parse_name<DeviceKind>(device.text) == DeviceKind::automatic) device.text = machine.has_gpu ? "cuda" : "cpu";
  const bool on_gpu = parse_name<DeviceKind>(device.text) == DeviceKind::cuda;

  const auto resolve_precision = [&](Given& value) {
    if (value.text == "auto") value.text = on_gpu ? "bf16" : "float32";
  };
  for (Given& value : values_of("train.precision")) resolve_precision(value);
  for (auto& [model, values] : given.overrides) {
    if (const auto found = values.find("train.precision"); found != values.end()) resolve_precision(found->second);
  }
}

std::string text_of(const GivenSweep& given) {
  std::string out;
  for (const std::string& section : option_sections()) out += section_text(given, section);
  for (const auto& [model, values] : given.overrides) {
    if (values.empty()) continue;
    out += fmt::format("[{}]\n", name_of(model));
    for (const auto& [name, value] : values) {
      const Option& option = option_named(name);
      out += fmt::format("{} = {}\n", option.key, canonical(option, value.text));
    }
  }
  return out;
}

}  // namespace recite
