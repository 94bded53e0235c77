#include "tokenizer/tokenizer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "base/error.h"
#include "tokenizer/byte_letters.h"
#include "tokenizer/nfc.h"

namespace recite {

namespace {

using nlohmann::json;

constexpr int64_t largest_id = (1 << 24) - 1;

// A value of the file as a message shows it.
std::string shown(const json& value) {
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

// Reads the parts of one file; `where` in its functions is the place in the file, "model.vocab".
class TokenizerReader {
 public:
  explicit TokenizerReader(const std::string& path) : path_(path) {}

  TokenizerFile read() {
    const json root = parsed();
    check_object(root, "the file",
                 {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
                  "decoder", "model"});
    if (!root.contains("model")) fail("has no 'model': it is no tokenizer.json");
    need(root, "", "version", json("1.0"), "1.0");
    need_null(root, "truncation", "text is never cut: set it to null");
    need_null(root, "padding", "text is never padded: set it to null");
    if (root.contains("normalizer")) read_normalizer(root["normalizer"], "normalizer");
    read_pre_tokenizer(root.value("pre_tokenizer", json()));
    check_byte_level(root.value("decoder", json()), "decoder");
    read_model(root["model"]);
    read_added_tokens(root.value("added_tokens", json::array()));
    return std::move(file_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw UsageError(fmt::format("{}: {}", path_, what)); }

  json parsed() const {
    if (std::filesystem::is_directory(path_)) fail("is a folder; it must be a file");
    std::ifstream stream(path_, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    if (!stream) fail("cannot be read");
    try {
      return json::parse(text);
    } catch (const json::parse_error& error) {
      fail(fmt::format("is not JSON, at byte {} of {}", error.byte, text.size()));
    }
  }

  // ---- single values ----

  // What is not known here may change the tokens.
  void check_object(const json& value, const std::string& where, const std::vector<std::string>& keys) const {
    if (!value.is_object()) fail(fmt::format("{} is {}; it must be an object", where, shown(value)));
    for (const auto& [key, unused] : value.items()) {
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      fail(fmt::format("{} has '{}', which is not supported (supported: {})", where, key, fmt::join(keys, ", ")));
    }
  }

  static std::string place(const std::string& where, const char* key) {
    return where.empty() ? key : where + "." + key;
  }

  void need(const json& object, const std::string& where, const char* key, const json& only,
            const char* allowed) const {
    const json value = object.value(key, only);
    if (value != only) fail(fmt::format("{} is {}; supported: {}", place(where, key), shown(value), allowed));
  }

  void need_null(const json& object, const char* key, const char* why) const {
    const json value = object.value(key, json());
    if (!value.is_null()) fail(fmt::format("{} is {}; {}", key, shown(value), why));
  }

  bool flag(const json& object, const std::string& where, const char* key, std::optional<bool> otherwise) const {
    if (!object.contains(key)) {
      if (otherwise) return *otherwise;
      fail(fmt::format("{} is missing; allowed: true, false", place(where, key)));
    }
    const json& value = object[key];
    if (!value.is_boolean()) fail(fmt::format("{} is {}; allowed: true, false", place(where, key), shown(value)));
    return value.get<bool>();
  }

  int32_t id_of(const json& value, const std::string& token) const {
    const bool right = value.is_number_integer() && value >= 0 && value <= largest_id;
    if (!right) fail(fmt::format("the id of token '{}' is {}; allowed: 0 to {}", token, shown(value), largest_id));
    return value.get<int32_t>();
  }

  static std::string type_of(const json& value) {
    return value.is_object() && value.contains("type") ? shown(value["type"]) : shown(value);
  }

  // ---- the parts of the file ----

  void read_normalizer(const json& value, const std::string& where) {
    if (value.is_null()) return;
    const std::string type = type_of(value);
    if (type == "\"NFC\"") {
      check_object(value, where, {"type"});
      file_.nfc = true;
    } else if (type == "\"Sequence\"") {
      check_object(value, where, {"type", "normalizers"});
      const json steps = value.value("normalizers", json());
      if (!steps.is_array()) fail(fmt::format("{}.normalizers is {}; it must be a list", where, shown(steps)));
      for (size_t i = 0; i < steps.size(); ++i) read_normalizer(steps[i], fmt::format("{}.normalizers[{}]", where, i));
    } else {
      fail(fmt::format("{} is {}; supported: null, NFC, Sequence of these", where, type));
    }
  }

  void check_byte_level(const json& value, const std::string& where) const {
    if (type_of(value) != "\"ByteLevel\"") fail(fmt::format("{} is {}; supported: ByteLevel", where, type_of(value)));
    check_object(value, where, {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  }

  void read_pre_tokenizer(const json& value) {
    check_byte_level(value, "pre_tokenizer");
    file_.add_prefix_space = flag(value, "pre_tokenizer", "add_prefix_space", std::nullopt);
    file_.use_regex = flag(value, "pre_tokenizer", "use_regex", true);
  }

  void read_model(const json& model) {
    if (model.is_object() && model.value("type", json("BPE")) != json("BPE")) {
      fail(fmt::format("model.type is {}; supported: BPE", shown(model["type"])));
    }
    check_object(model, "model",
                 {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                  "byte_fallback", "ignore_merges", "vocab", "merges"});
    if (model.value("dropout", json()) != json(0.0)) need(model, "model", "dropout", json(), "null, 0");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (model.value(key, json()) != json("")) need(model, "model", key, json(), "null, \"\"");
    }
    need(model, "model", "byte_fallback", json(false), "false");
    file_.ignore_merges = flag(model, "model", "ignore_merges", false);
    read_vocabulary(model.value("vocab", json()));
    check_unknown_token(model.value("unk_token", json()));
    read_merges(model.value("merges", json()));
  }

  void read_vocabulary(const json& vocabulary) {
    if (!vocabulary.is_object()) fail(fmt::format("model.vocab is {}; it must map tokens to ids", shown(vocabulary)));
    std::unordered_map<int32_t, std::string> taken;
    for (const auto& [token, id] : vocabulary.items()) {
      const int32_t number = id_of(id, token);
      const auto [other, is_new] = taken.emplace(number, token);
      if (!is_new) fail(fmt::format("model.vocab gives the id {} to '{}' and to '{}'", number, other->second, token));
      file_.vocabulary.emplace(token, number);
    }
  }

  // It stands for letters that the vocabulary lacks. With a letter for each byte that occurs in UTF-8 it never does.
  void check_unknown_token(const json& value) const {
    if (value.is_null()) return;
    for (int byte = 0; byte <= 0xF4; ++byte) {
      if (byte == 0xC0 || byte == 0xC1 || file_.vocabulary.count(letter_of_byte(static_cast<uint8_t>(byte)))) continue;
      fail(fmt::format(
          "model.unk_token is {}, and model.vocab has no token for the byte 0x{:02X}; supported: null, or a "
          "token for each byte",
          shown(value), byte));
    }
  }

  void read_merges(const json& merges) {
    if (!merges.is_array()) fail(fmt::format("model.merges is {}; it must be a list", shown(merges)));
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const auto [left, right] = pair_of(merges[rank], rank);
      file_.merges.push_back({known(left, rank), known(right, rank), known(left + right, rank)});
    }
  }

  std::pair<std::string, std::string> pair_of(const json& merge, size_t rank) const {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      return {merge[0].get<std::string>(), merge[1].get<std::string>()};
    }
    if (merge.is_string()) {
      const auto text = merge.get<std::string>();
      const size_t gap = text.find(' ');
      if (gap != std::string::npos && gap == text.rfind(' ')) return {text.substr(0, gap), text.substr(gap + 1)};
    }
    fail(fmt::format("model.merges[{}] is {}; allowed: \"a b\", [\"a\", \"b\"]", rank, shown(merge)));
  }

  int32_t known(const std::string& token, size_t rank) const {
    const auto found = file_.vocabulary.find(token);
    if (found == file_.vocabulary.end())
      fail(fmt::format("model.merges[{}] needs the token '{}', which model.vocab lacks", rank, token));
    return found->second;
  }

  void read_added_tokens(const json& tokens) {
    if (!tokens.is_array()) fail(fmt::format("added_tokens is {}; it must be a list", shown(tokens)));
    std::unordered_set<std::string> seen;
    auto next_id = static_cast<int32_t>(file_.vocabulary.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      const AddedToken token = added_token(tokens[i], fmt::format("added_tokens[{}]", i));
      if (!seen.insert(token.content).second) fail(fmt::format("added_tokens has '{}' twice", token.content));
      check_added_id(token, next_id);
      next_id = std::max(next_id, token.id + 1);
      file_.added_tokens.push_back(token);
    }
    check_added_ids_are_free();
    check_added_forms_differ();
  }

  AddedToken added_token(const json& value, const std::string& where) const {
    check_object(value, where, {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const json content = value.value("content", json());
    if (!content.is_string() || content == "") {
      fail(fmt::format("{}.content is {}; it must be a text of at least one letter", where, shown(content)));
    }
    const auto text = content.get<std::string>();
    const auto said = [&](const char* key) { return flag(value, where, key, std::nullopt); };
    return {.id = id_of(value.value("id", json()), text),
            .content = text,
            .single_word = said("single_word"),
            .lstrip = said("lstrip"),
            .rstrip = said("rstrip"),
            .normalized = said("normalized"),
            .special = said("special")};
  }

  // Hugging Face gives out the ids of added tokens anew, whatever the file says.
  void check_added_id(const AddedToken& token, int32_t next_id) const {
    const auto found = file_.vocabulary.find(token.content);
    if (found != file_.vocabulary.end()) {
      if (found->second == token.id) return;
      fail(
          fmt::format("added token '{}' has the id {}, but {} in model.vocab", token.content, token.id, found->second));
    }
    if (token.id != next_id) {
      fail(
          fmt::format("added token '{}' has the id {}; it must be {}: ids of added tokens follow those of model.vocab "
                      "without a gap",
                      token.content, token.id, next_id));
    }
  }

  void check_added_ids_are_free() const {
    std::unordered_map<int32_t, std::string> added;
    for (const AddedToken& token : file_.added_tokens) added.emplace(token.id, token.content);
    for (const auto& [token, id] : file_.vocabulary) {
      const auto found = added.find(id);
      if (found == added.end() || found->second == token) continue;
      fail(fmt::format("the id {} is that of the added token '{}' and of '{}' in model.vocab", id, found->second,
                       token));
    }
  }

  // Of two that look the same Hugging Face finds now the one, now the other.
  void check_added_forms_differ() const {
    if (!file_.nfc) return;
    std::unordered_map<std::string, std::string> forms;
    for (const AddedToken& token : file_.added_tokens) {
      if (!token.normalized) continue;
      const auto [other, is_new] = forms.emplace(nfc(token.content), token.content);
      if (is_new) continue;
      fail(fmt::format("added tokens '{}' and '{}' are the same once normalized (NFC): keep one of them", other->second,
                       token.content));
    }
  }

  const std::string& path_;
  TokenizerFile file_;
};

}  // namespace

TokenizerFile read_tokenizer_file(const std::string& path) { return TokenizerReader(path).read(); }

}  // namespace recite
