#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <array>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/byte_letters.h"
#include "tokenizer/byte_pairs.h"
#include "tokenizer/nfc.h"
#include "tokenizer/pieces.h"
#include "tokenizer/tokenizer_file.h"
#include "tokenizer/utf8.h"

namespace recite {

namespace {

// What decoding makes of a token: bytes when all of it is letters of bytes, else the token itself.
std::string decoded(const std::string& token) { return bytes_of_letters(token).value_or(token); }

BytePairs byte_pairs_of(const TokenizerFile& file) {
  std::array<int32_t, 256> byte_tokens{};
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = file.vocabulary.find(letter_of_byte(static_cast<uint8_t>(byte)));
    byte_tokens[byte] = found == file.vocabulary.end() ? -1 : found->second;
  }
  MergeTable merges(file.merges.size());
  uint32_t rank = 0;
  for (const MergeRule& rule : file.merges) merges.set(rule.left, rule.right, {rank++, rule.merged});

  BytePairs pairs(byte_tokens, std::move(merges));
  std::vector<int32_t> merged;
  for (const auto& [token, id] : file.vocabulary) {
    const auto bytes = bytes_of_letters(token);
    if (!bytes) continue;
    merged.clear();
    pairs.merge(*bytes, merged);
    if (file.ignore_merges || merged == std::vector{id}) pairs.add_whole(*bytes, id);
  }
  return pairs;
}

}  // namespace

struct Tokenizer::Parts {
  struct Token {
    std::string bytes;
    bool special = false;
  };

  explicit Parts(TokenizerFile file);

  void add(const std::string& token, int32_t id, bool special);
  void add_all(const std::vector<AddedToken>& added);

  void encode_normalized(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const;

  bool use_nfc, add_prefix_space, use_regex;
  BytePairs pairs;
  AddedTokenFinder before_normalizing, after_normalizing;
  std::vector<Token> tokens;  // by id
  std::unordered_map<std::string, int32_t> ids_of_tokens;
};

Tokenizer::Parts::Parts(TokenizerFile file)
    : use_nfc(file.nfc),
      add_prefix_space(file.add_prefix_space),
      use_regex(file.use_regex),
      pairs(byte_pairs_of(file)),
      ids_of_tokens(std::move(file.vocabulary)) {
  for (const auto& [token, id] : ids_of_tokens) add(token, id, false);
  add_all(file.added_tokens);
}

void Tokenizer::Parts::add_all(const std::vector<AddedToken>& added) {
  std::unordered_set<std::string> special;
  for (const AddedToken& token : added) {
    if (token.special) special.insert(token.content);
  }
  for (const AddedToken& token : added) {
    // It is decoded as it is looked for, and by that form it counts as special or does not.
    const std::string form = token.normalized && use_nfc ? nfc(token.content) : token.content;
    (token.normalized ? after_normalizing : before_normalizing).add(token, form);
    add(form, token.id, special.count(form) > 0);
    ids_of_tokens.emplace(token.content, token.id);
  }
}

void Tokenizer::Parts::add(const std::string& token, int32_t id, bool special) {
  const auto at = static_cast<size_t>(id);
  if (tokens.size() <= at) tokens.resize(at + 1);
  tokens[at] = {decoded(token), special};
}

void Tokenizer::Parts::encode_normalized(std::string_view text, std::vector<int32_t>& ids) const {
  for (const TextPart& part : after_normalizing.split(text)) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else if (add_prefix_space && part.text.front() != ' ') {
      encode_plain(" " + std::string(part.text), ids);
    } else {
      encode_plain(part.text, ids);
    }
  }
}

void Tokenizer::Parts::encode_plain(std::string_view text, std::vector<int32_t>& ids) const {
  if (!use_regex) return pairs.encode(text, ids);
  for (Pieces pieces(text); !pieces.done();) pairs.encode(pieces.next(), ids);
}

Tokenizer::Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

Tokenizer Tokenizer::load(const std::string& path) {
  return Tokenizer(std::make_shared<const Parts>(read_tokenizer_file(path)));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  if (const size_t at = first_invalid_utf8(text); at != std::string_view::npos) {
    throw Error(fmt::format("the text is not UTF-8 at byte {} (0x{:02X})", at, static_cast<unsigned char>(text[at])));
  }
  std::vector<int32_t> ids;
  for (const TextPart& part : parts_->before_normalizing.split(text)) {
    if (part.token >= 0) {
      ids.push_back(part.token);
    } else if (parts_->use_nfc && !surely_nfc(part.text)) {
      parts_->encode_normalized(nfc(part.text), ids);
    } else {
      parts_->encode_normalized(part.text, ids);
    }
  }
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> tokens, SpecialTokens special) const {
  std::string bytes;
  for (const int32_t id : tokens) {
    if (id < 0) throw Error(fmt::format("{} is no token id: ids begin at 0", id));
    const auto at = static_cast<size_t>(id);
    if (at >= parts_->tokens.size()) continue;
    const Parts::Token& token = parts_->tokens[at];
    if (special == SpecialTokens::keep || !token.special) bytes += token.bytes;
  }
  return utf8_with_replacements(std::move(bytes));
}

int32_t Tokenizer::size() const { return static_cast<int32_t>(parts_->tokens.size()); }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto found = parts_->ids_of_tokens.find(std::string(token));
  return found == parts_->ids_of_tokens.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace recite
