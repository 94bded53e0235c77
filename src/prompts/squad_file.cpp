#include "prompts/squad_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "prompts/text_file.h"

namespace recite {

namespace {

using nlohmann::json;

// A value of the file and its place, "FILE: data[3].paragraphs[7]", for messages.
struct Node {
  const json& value;
  std::string place;

  Node member(const char* name, json::value_t type) const {
    const auto found = value.is_object() ? value.find(name) : value.end();
    if (!value.is_object() || found == value.end() || found->type() != type) {
      throw UsageError(
          fmt::format("{}: has no {} '{}' as SQuAD's official JSON has (version 1.1 or 2.0): change squad_file", place,
                      json(type).type_name(), name));
    }
    return {*found, fmt::format("{}{}{}", place, place.ends_with(']') ? "." : ": ", name)};
  }

  std::string text(const char* name) const { return member(name, json::value_t::string).value.get<std::string>(); }

  template <class Take>
  void each(const char* name, Take take) const {
    const Node list = member(name, json::value_t::array);
    for (size_t i = 0; i < list.value.size(); ++i) take(Node{list.value[i], fmt::format("{}[{}]", list.place, i)});
  }
};

SquadQuestion question_of(const Node& node) {
  SquadQuestion question{node.text("question"), {}};
  const bool impossible = node.value.value("is_impossible", json(false)) == true;
  if (!impossible) node.each("answers", [&](const Node& answer) { question.answers.push_back(answer.text("text")); });
  return question;
}

SquadPassage passage_of(const Node& node) {
  SquadPassage passage{node.text("context"), {}};
  node.each("qas", [&](const Node& entry) {
    SquadQuestion question = question_of(entry);
    if (!question.answers.empty()) passage.questions.push_back(std::move(question));
  });
  return passage;
}

}  // namespace

std::vector<SquadPassage> read_squad(const std::string& path) {
  const json file = json::parse(TextFile(path, "squad_file").read_rest(), nullptr, /*allow_exceptions=*/false);
  if (file.is_discarded()) throw UsageError(fmt::format("{}: is no JSON, or not all of it: change squad_file", path));
  std::vector<SquadPassage> passages;
  Node{file, path}.each("data", [&](const Node& article) {
    article.each("paragraphs", [&](const Node& paragraph) {
      SquadPassage passage = passage_of(paragraph);
      if (passage.questions.size() >= 2) passages.push_back(std::move(passage));
    });
  });
  return passages;
}

}  // namespace recite
