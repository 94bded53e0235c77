#include "results/rows.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "results/format.h"

namespace recite {
namespace {

constexpr std::array<std::string_view, 6> state_names = {"planned", "running", "done", "failed", "stopped", "lost"};

// A message has the columns of the table: the same names, so that a row reads alike on the wire and in the file.
template <class Row>
nlohmann::json row_to_json(const Row& row) {
  nlohmann::json json;
  for_each_column<Row>([&](const auto& column) { json[column.name] = row.*column.member; });
  return json;
}

template <class Row>
Row row_from_json(const nlohmann::json& json) {
  Row row;
  for_each_column<Row>([&](const auto& column) {
    const nlohmann::json& value = json.at(column.name);
    auto& field = row.*column.member;
    using Value = std::remove_reference_t<decltype(field)>;
    // JSON as text writes NaN as null; MessagePack keeps it.
    if constexpr (std::is_floating_point_v<Value>) {
      field = value.is_null() ? not_measured : value.get<Value>();
    } else {
      field = value.get<Value>();
    }
  });
  return row;
}

}  // namespace

std::string_view name_of(JobState state) { return state_names.at(static_cast<size_t>(state)); }

JobState parse_job_state(std::string_view text) {
  for (size_t i = 0; i < state_names.size(); ++i) {
    if (text == state_names[i]) return static_cast<JobState>(i);
  }
  throw Error(fmt::format("'{}' is no state of a job (allowed: {})", text, fmt::join(state_names, ", ")));
}

void to_json(nlohmann::json& json, const EvaluationRow& row) { json = row_to_json(row); }
void from_json(const nlohmann::json& json, EvaluationRow& row) { row = row_from_json<EvaluationRow>(json); }
void to_json(nlohmann::json& json, const TrainingRow& row) { json = row_to_json(row); }
void from_json(const nlohmann::json& json, TrainingRow& row) { row = row_from_json<TrainingRow>(json); }

}  // namespace recite
