// Text to token ids and back, equal to Hugging Face's `tokenizers` id for id.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace recite {

enum class SpecialTokens { keep, skip };

// A tokenizer of the byte-level BPE kind: GPT-2's, GPT-NeoX-20b's (Pythia, Mamba) and their like. Immutable: copies
// share their data, and one may be used from several threads at once.
class Tokenizer {
 public:
  // From a tokenizer.json. Supported: model BPE (merges as "a b" or ["a", "b"], ignore_merges; no dropout, no
  // byte_fallback), normalizer null, NFC or a Sequence of these, pre_tokenizer and decoder ByteLevel, added tokens with
  // all of their flags; the post-processor is not looked at. Throws UsageError naming the file and what is wrong with
  // it, or is in it and not supported.
  static Tokenizer load(const std::string& path);

  // The ids of a text. Added tokens that stand in it, special ones too, are recognised as Hugging Face does; none that
  // a post-processor would add are added. A byte for which the vocabulary has no token is left out, as there. Throws
  // Error with the byte's offset where the text is not UTF-8. Time: n log n of the bytes, at worst.
  std::vector<int32_t> encode(std::string_view text) const;

  // The text of ids, with or without that of special tokens. Bytes that are not UTF-8 (half a character) become U+FFFD.
  // An id that stands for no token (a model's vocabulary is often rounded up) adds nothing. Throws Error for a negative
  // id.
  std::string decode(std::span<const int32_t> tokens, SpecialTokens special = SpecialTokens::keep) const;

  // One more than the largest id.
  int32_t size() const;

  // The id of a token as written in the file: "<|endoftext|>", "Ġthe".
  std::optional<int32_t> id_of(std::string_view token) const;

 private:
  struct Parts;
  explicit Tokenizer(std::shared_ptr<const Parts> parts);

  std::shared_ptr<const Parts> parts_;
};

}  // namespace recite
