#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"
#include "base/text.h"
#include "jobs/specs.h"

namespace recite {

namespace {

template <class Enum>
struct Name {
  Enum value;
  std::string_view name;
  std::string_view also = {};  // the published code's name
};

// What the values of an enum are called in messages, and their names in the order of the enum.
template <class Enum>
struct Names;

template <>
struct Names<Architecture> {
  static constexpr std::string_view noun = "model";
  static constexpr std::array table = {Name{Architecture::rope, "rope", "T_rope"},
                                       Name{Architecture::nope, "nope", "T_nope"},
                                       Name{Architecture::alibi, "alibi", "T_alibi"},
                                       Name{Architecture::hard_alibi, "hard_alibi", "T_hard_alibi"},
                                       Name{Architecture::mamba, "mamba"},
                                       Name{Architecture::lstm, "lstm"}};
};

template <>
struct Names<TaskKind> {
  static constexpr std::string_view noun = "task";
  static constexpr std::array table = {Name{TaskKind::copy, "copy"},
                                       Name{TaskKind::prefix_ngram, "prefix_ngram"},
                                       Name{TaskKind::suffix_ngram, "suffix_ngram"},
                                       Name{TaskKind::duplicate_ngram, "duplicate_ngram"},
                                       Name{TaskKind::c4_copy, "c4_copy"},
                                       Name{TaskKind::phone_book, "phone_book"},
                                       Name{TaskKind::squad, "squad"}};
};

template <>
struct Names<NgramKey> {
  static constexpr std::string_view noun = "ngram_key";
  static constexpr std::array table = {Name{NgramKey::unique, "unique"}, Name{NgramKey::any, "any"}};
};

template <>
struct Names<PackedState> {
  static constexpr std::string_view noun = "packed_state";
  static constexpr std::array table = {Name{PackedState::carry, "carry"}, Name{PackedState::reset, "reset"}};
};

template <>
struct Names<ScoreQuirk> {
  static constexpr std::string_view noun = "score_quirk";
  static constexpr std::array table = {Name{ScoreQuirk::none, "none"}, Name{ScoreQuirk::published, "published"}};
};

template <>
struct Names<Precision> {
  static constexpr std::string_view noun = "precision";
  static constexpr std::array table = {Name{Precision::float32, "float32"}, Name{Precision::tf32, "tf32"},
                                       Name{Precision::bf16, "bf16"}, Name{Precision::float64, "float64"},
                                       Name{Precision::float16, "float16"}};
};

template <>
struct Names<EvalMode> {
  static constexpr std::string_view noun = "evaluation mode";
  static constexpr std::array table = {Name{EvalMode::teacher_forced, "teacher_forced"},
                                       Name{EvalMode::greedy, "greedy"}};
};

template <>
struct Names<DeviceKind> {
  static constexpr std::string_view noun = "device";
  static constexpr std::array table = {Name{DeviceKind::automatic, "auto"}, Name{DeviceKind::cpu, "cpu"},
                                       Name{DeviceKind::cuda, "cuda"}};
};

template <>
struct Names<TextOrder> {
  static constexpr std::string_view noun = "text_order";
  static constexpr std::array table = {Name{TextOrder::standard, "standard"}, Name{TextOrder::random, "random"}};
};

template <>
struct Names<DecodeCleanup> {
  static constexpr std::string_view noun = "decode_cleanup";
  static constexpr std::array table = {Name{DecodeCleanup::none, "none"}, Name{DecodeCleanup::published, "published"}};
};

template <>
struct Names<SquadNormalisation> {
  static constexpr std::string_view noun = "squad_normalisation";
  static constexpr std::array table = {Name{SquadNormalisation::published, "published"},
                                       Name{SquadNormalisation::official, "official"}};
};

template <class Enum>
std::string_view find_name(Enum value) {
  for (const Name<Enum>& entry : Names<Enum>::table) {
    if (entry.value == value) return entry.name;
  }
  throw Error(fmt::format("{} has no value number {}", Names<Enum>::noun, static_cast<int>(value)));
}

std::string folded(std::string_view text) {
  std::string out = trim(text);
  for (char& c : out) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

}  // namespace

std::string_view name_of(Architecture value) { return find_name(value); }
std::string_view name_of(TaskKind value) { return find_name(value); }
std::string_view name_of(NgramKey value) { return find_name(value); }
std::string_view name_of(PackedState value) { return find_name(value); }
std::string_view name_of(ScoreQuirk value) { return find_name(value); }
std::string_view name_of(Precision value) { return find_name(value); }
std::string_view name_of(EvalMode value) { return find_name(value); }
std::string_view name_of(DeviceKind value) { return find_name(value); }
std::string_view name_of(TextOrder value) { return find_name(value); }
std::string_view name_of(DecodeCleanup value) { return find_name(value); }
std::string_view name_of(SquadNormalisation value) { return find_name(value); }

template <class Enum>
std::vector<std::string> names_of() {
  std::vector<std::string> names;
  for (const Name<Enum>& entry : Names<Enum>::table) names.emplace_back(entry.name);
  return names;
}

template <class Enum>
Enum parse_name(std::string_view text) {
  const std::string wanted = folded(text);
  for (const Name<Enum>& entry : Names<Enum>::table) {
    if (wanted == entry.name || (!entry.also.empty() && wanted == folded(entry.also))) return entry.value;
  }
  const std::vector<std::string> names = names_of<Enum>();
  const bool is_list = text.find(',') != std::string_view::npos;
  throw UsageError(fmt::format("unknown {} '{}'{}; allowed: {}{}", Names<Enum>::noun, text, did_you_mean(text, names),
                               fmt::join(names, ", "),
                               is_list ? "; several are given one by one, each as name = value of its own" : ""));
}

template Architecture parse_name<Architecture>(std::string_view);
template TaskKind parse_name<TaskKind>(std::string_view);
template NgramKey parse_name<NgramKey>(std::string_view);
template PackedState parse_name<PackedState>(std::string_view);
template ScoreQuirk parse_name<ScoreQuirk>(std::string_view);
template Precision parse_name<Precision>(std::string_view);
template EvalMode parse_name<EvalMode>(std::string_view);
template DeviceKind parse_name<DeviceKind>(std::string_view);
template TextOrder parse_name<TextOrder>(std::string_view);
template DecodeCleanup parse_name<DecodeCleanup>(std::string_view);
template SquadNormalisation parse_name<SquadNormalisation>(std::string_view);

template std::vector<std::string> names_of<Architecture>();
template std::vector<std::string> names_of<TaskKind>();
template std::vector<std::string> names_of<NgramKey>();
template std::vector<std::string> names_of<PackedState>();
template std::vector<std::string> names_of<ScoreQuirk>();
template std::vector<std::string> names_of<Precision>();
template std::vector<std::string> names_of<EvalMode>();
template std::vector<std::string> names_of<DeviceKind>();
template std::vector<std::string> names_of<TextOrder>();
template std::vector<std::string> names_of<DecodeCleanup>();
template std::vector<std::string> names_of<SquadNormalisation>();

}  // namespace recite
