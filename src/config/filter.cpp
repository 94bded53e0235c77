#include "config/filter.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace recite {

namespace {

const Option& scalar_named(const std::string& name, const std::string& where) {
  const Option* found = find_option(name);
  if (found && found->repeat == Repeat::axis) return *found;
  std::vector<std::string> scalars, same_key;
  for (const Option& option : options()) {
    if (option.repeat != Repeat::axis) continue;
    scalars.push_back(option.name());
    if (option.key == name) same_key.push_back(option.name());
  }
  if (same_key.size() > 1) {
    throw UsageError(
        fmt::format("{}: '{}' may be {}: write its section too", where, name, fmt::join(same_key, " or ")));
  }
  throw UsageError(
      fmt::format("{}: '{}' is no option that jobs differ in{}", where, name, did_you_mean(name, scalars)));
}

}  // namespace

Filter::Filter(const std::string& text, const std::string& place) : text_(text) {
  const std::string where = fmt::format("{}: '{}'", place, text);
  for (const std::string& part : split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos) throw UsageError(fmt::format("{}: '{}' is not NAME=VALUE", where, part));
    const Option& option = scalar_named(trim(part.substr(0, equals)), where);
    Settings scratch;
    set_option(scratch, option, trim(part.substr(equals + 1)), where);
    parts_.emplace_back(&option, option.get(scratch));
  }
  if (parts_.empty()) throw UsageError(fmt::format("{}: NAME=VALUE, NAME=VALUE, ... is wanted", where));
}

bool Filter::matches(const Settings& settings) const {
  for (const auto& [option, value] : parts_) {
    if (option->get(settings) != value) return false;
  }
  return true;
}

}  // namespace recite
