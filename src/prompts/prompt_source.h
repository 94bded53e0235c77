// Prompts for pretrained language models. What the tasks look like: spec.h; what becomes of the model's continuation:
// answer.h and score.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "prompts/spec.h"

namespace recite {

// The tokenizer of the models that are asked. Special tokens are decoded to their text ("<|endoftext|>").
class TextCodec {
 public:
  virtual ~TextCodec() = default;
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
};

struct Prompt {
  std::string text;
  std::vector<int32_t> tokens;    // of the text
  std::vector<std::string> gold;  // the right answers, one or more; score.h takes the best
  int64_t max_new_tokens = 0;     // that a model may add; is_finished() (answer.h) often ends it earlier
  // The published code forbids its Pythia models (not Mamba) to begin with the end-of-text token: true for squad.
  bool suppress_end_first = false;
};

// The prompts of one task. Immutable; safe to share among threads where the codec is.
//
// A prompt depends on the task, the options of PromptSpec, the corpus, the codec, the length and the index alone,
// through a Philox stream named (seed, task, length, index): models that share a tokenizer are asked the same, on any
// rank and after any restart. c4_copy takes the same tokens in both orders of text (but for a TEXT
// that has to be drawn again, c4_copy.cpp).
class PromptSource {
 public:
  virtual ~PromptSource() = default;

  // The lengths that the corpus sets: the upper edges of squad's bins with enough contexts, ascending. Empty where the
  // lengths are the user's.
  virtual std::vector<int> bins() const { return {}; }

  // How many prompts there are at a length: unlimited_prompts but for squad, where it is up to squad_contexts in a bin
  // that runs, and 0 at any other length.
  virtual int64_t available(int length) const;

  // Throws UsageError where a length is not possible: too short for the task, longer than the corpus, no bin that runs.
  virtual void check(int length) const = 0;

  // index is 0..available(length)-1. Throws UsageError as check() does, and Error for another index.
  virtual Prompt prompt(int length, int64_t index) const = 0;
};

constexpr int64_t unlimited_prompts = INT64_MAX;

// Reads and checks the corpus of the task. Throws UsageError that names the file, the line and the option where it is
// missing, damaged or has too little in it, and where squad_bins or squad_contexts is out of range. The codec must
// outlive the source.
std::unique_ptr<PromptSource> make_prompt_source(const PromptSpec& spec, const TextCodec& codec);

}  // namespace recite
