// A small tokenizer.json of this project's own, to be changed by the tests.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "support/temporary_folder.h"
#include "tokenizer/byte_letters.h"
#include "tokenizer/tokenizer.h"

namespace recite {

inline nlohmann::json added_token(int id, const std::string& content, bool special = false) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// Ids: 0 to 255 the bytes, 256 "he", 257 "ll", 258 "hell", 259 "Ġhell"; 260 "<|end|>", special; 261 "  ".
inline nlohmann::json small_tokenizer() {
  nlohmann::json vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary[letter_of_byte(static_cast<uint8_t>(byte))] = byte;
  for (const char* token : {"he", "ll", "hell", "Ġhell"}) vocabulary[token] = vocabulary.size();
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {added_token(260, "<|end|>", true), added_token(261, "  ")}},
          {"normalizer", {{"type", "NFC"}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
          {"post_processor", {{"type", "TemplateProcessing"}}},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"vocab", vocabulary},
            {"merges", {"h e", "l l", "he ll", "Ġ hell"}}}}};
}

// The tokenizer that a file of this text gives.
inline Tokenizer loaded_text(const TemporaryFolder& folder, const std::string& text) {
  const std::string path = folder / "tokenizer.json";
  std::ofstream(path) << text;
  return Tokenizer::load(path);
}

inline Tokenizer loaded(const nlohmann::json& description) {
  const TemporaryFolder folder;
  return loaded_text(folder, description.dump());
}

}  // namespace recite
