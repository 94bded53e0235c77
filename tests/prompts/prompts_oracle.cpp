// Scores, answers and prompts for a test that compares them with another implementation.
//
//   prompts_oracle scores < PAIRS            {"task", "normalisation", "answer", "gold"} a line
//   prompts_oracle answers < CONTINUATIONS   {"task", "cleanup", "text"} a line
//   prompts_oracle squad FILE SEED           every prompt of every bin, with tokens that are words
//
// Each answers a line of JSON for a line.
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "prompts/answer.h"
#include "prompts/prompt_source.h"
#include "prompts/score.h"
#include "prompts/word_codec.h"

namespace {

using namespace recite;
using nlohmann::json;

TextTask task_of(const json& line) {
  const std::string name = line.at("task");
  return name == "c4_copy" ? TextTask::c4_copy : name == "phone_book" ? TextTask::phone_book : TextTask::squad;
}

json scored(const json& line) {
  const bool official = line.at("normalisation") == "official";
  const PromptSpec spec{.kind = task_of(line),
                        .squad_normalisation = official ? SquadNormalisation::official : SquadNormalisation::published};
  const std::string answer = line.at("answer");
  const Score result = score(spec, answer, line.at("gold").get<std::vector<std::string>>());
  return {{"normalised", normalised(spec.squad_normalisation, answer)},
          {"exact_match", result.exact_match},
          {"f1", result.f1}};  // null: NaN
}

json answered(const json& line) {
  const bool published = line.at("cleanup") == "published";
  const PromptSpec spec{.kind = task_of(line),
                        .decode_cleanup = published ? DecodeCleanup::published : DecodeCleanup::none};
  const std::string text = line.at("text");
  return {{"answer", answer_of(spec, text)}, {"finished", is_finished(spec, text)}};
}

void for_each_line(json (*answer)(const json&)) {
  for (std::string line; std::getline(std::cin, line);) std::cout << answer(json::parse(line)).dump() << '\n';
}

void print_squad(const std::string& path, uint64_t seed) {
  const WordCodec codec;
  const auto source = make_prompt_source({.kind = TextTask::squad, .corpus = path, .seed = seed}, codec);
  for (const int bin : source->bins()) {
    for (int64_t i = 0; i < source->available(bin); ++i) {
      const Prompt prompt = source->prompt(bin, i);
      std::cout << json{{"bin", bin}, {"text", prompt.text}, {"gold", prompt.gold}}.dump() << '\n';
    }
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "scores" && argc == 2) {
    for_each_line(scored);
  } else if (what == "answers" && argc == 2) {
    for_each_line(answered);
  } else if (what == "squad" && argc == 4) {
    print_squad(argv[2], std::stoull(argv[3]));
  } else {
    throw UsageError("usage: prompts_oracle scores | answers | squad FILE SEED");
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
