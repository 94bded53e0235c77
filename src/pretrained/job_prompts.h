// What a pretrained job asks: its prompts, from its tokenizer and its texts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "jobs/job.h"
#include "prompts/prompt_source.h"
#include "tokenizer/tokenizer.h"

namespace recite {

// pretrained.tokenizer, or tokenizer.json of the model's folder.
std::string tokenizer_path(const Job& job);

// The options of the prompts, as src/prompts takes them.
PromptSpec prompt_spec(const Job& job);

class JobPrompts {
 public:
  // Reads the tokenizer and the texts. Throws UsageError that names the file and what is wrong with it.
  explicit JobPrompts(const Job& job);

  const PromptSpec& spec() const { return spec_; }
  const PromptSource& source() const { return *source_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  // All prompts of a point, in order: eval.batch_size x eval.num_batches, of squad as many as the bin has. Models with
  // the same tokenizer get the same.
  std::vector<Prompt> of_length(const EvalSpec& eval, int length) const;

 private:
  PromptSpec spec_;
  Tokenizer tokenizer_;
  std::unique_ptr<TextCodec> codec_;
  std::unique_ptr<PromptSource> source_;
};

}  // namespace recite
