#include "sweep/protocol.h"

#include <fmt/format.h>

#include "base/error.h"

namespace recite {

using nlohmann::json;

static void to_json(json& j, const EvalPoint& point) { j = {name_of(point.task), point.n_gram, point.length}; }
static void from_json(const json& j, EvalPoint& point) {
  point = {parse_name<TaskKind>(j.at(0).get<std::string>()), j.at(1).get<int>(), j.at(2).get<int>()};
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(TryId, job, attempt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Hello, host, pid, cores, gpus)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProgressReport, id, step, loss, accuracy, tokens_per_second, phase)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MeasuredPoint, id, row)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LoggedStep, id, row)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Setup, device_index, threads, shares_gpu, log_path)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StartTry, id, job, ranks, group_name, folder, evaluate_only, measured_step, measured)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AbandonTry, id)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Quit, some_rank_was_lost)

static void to_json(json& j, const TryEnded& m) {
  j = {{"id", m.id}, {"state", name_of(m.state)}, {"step", m.step}, {"message", m.message}};
}
static void from_json(const json& j, TryEnded& m) {
  j.at("id").get_to(m.id);
  m.state = parse_job_state(j.at("state").get<std::string>());
  j.at("step").get_to(m.step);
  j.at("message").get_to(m.message);
}
static void to_json(json& j, const Drain&) { j = json::object(); }
static void from_json(const json&, Drain&) {}

namespace {

// A message is [index in the variant, content].
template <class Variant>
std::string encode_variant(const Variant& message) {
  const json content = std::visit([](const auto& value) { return json(value); }, message);
  std::string body;
  json::to_msgpack(json::array({message.index(), content}), body);
  return body;
}

template <class Variant, size_t I = 0>
Variant decode_variant(size_t index, const json& content) {
  if constexpr (I < std::variant_size_v<Variant>) {
    if (index == I) return content.get<std::variant_alternative_t<I, Variant>>();
    return decode_variant<Variant, I + 1>(index, content);
  } else {
    throw Error(fmt::format("message of unknown kind {}", index));
  }
}

template <class Variant>
Variant decode_body(const std::string& body) {
  try {
    const json message = json::from_msgpack(body);
    return decode_variant<Variant>(message.at(0).get<size_t>(), message.at(1));
  } catch (const json::exception& problem) {
    throw Error(fmt::format("message that cannot be read: {}", problem.what()));
  }
}

}  // namespace

std::string encode(const ToCoordinator& message) { return encode_variant(message); }
std::string encode(const ToWorker& message) { return encode_variant(message); }
ToCoordinator decode_for_coordinator(const std::string& body) { return decode_body<ToCoordinator>(body); }
ToWorker decode_for_worker(const std::string& body) { return decode_body<ToWorker>(body); }

}  // namespace recite
