// A tokenizer small enough to see through: a token is a word with the space before it, or any other single space.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prompts/prompt_source.h"

namespace recite {

class WordCodec final : public TextCodec {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    while (!text.empty()) {
      size_t size = text.starts_with(' ') ? 1 : 0;
      while (size < text.size() && text[size] != ' ' && text[size] != '\n') ++size;
      if (size == 0) size = 1;  // a newline
      tokens.push_back(number_of(std::string(text.substr(0, size))));
      text.remove_prefix(size);
    }
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    for (const int32_t token : tokens) text += pieces_.at(token);
    return text;
  }

 private:
  int32_t number_of(const std::string& piece) const {
    const auto [found, is_new] = numbers_.try_emplace(piece, static_cast<int32_t>(pieces_.size()));
    if (is_new) pieces_.push_back(piece);
    return found->second;
  }

  mutable std::map<std::string, int32_t> numbers_;
  mutable std::vector<std::string> pieces_;
};

}  // namespace recite
