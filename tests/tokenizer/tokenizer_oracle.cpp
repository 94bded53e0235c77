// Token ids of texts, for a test that compares them with another implementation.
//
//   tokenizer_oracle TOKENIZER < REQUESTS > ANSWERS
//
// A request is a line of JSON: {"text": ...} is answered by its ids, {"ids": [...]} by [the text, the same without
// special tokens].
#include <cstdio>
#include <exception>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "tokenizer/tokenizer.h"

namespace {

nlohmann::json answer(const recite::Tokenizer& tokenizer, const nlohmann::json& request) {
  if (request.contains("text")) return tokenizer.encode(request["text"].get<std::string>());
  const auto ids = request.at("ids").get<std::vector<int32_t>>();
  return {tokenizer.decode(ids), tokenizer.decode(ids, recite::SpecialTokens::skip)};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: tokenizer_oracle TOKENIZER");
  const recite::Tokenizer tokenizer = recite::Tokenizer::load(argv[1]);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(tokenizer, nlohmann::json::parse(line)).dump() << '\n';
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
