#include "pretrained/job_prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"

namespace recite {

namespace {

class TokenizerCodec final : public TextCodec {
 public:
  explicit TokenizerCodec(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  std::vector<int32_t> encode(std::string_view text) const override { return tokenizer_.encode(text); }
  std::string decode(std::span<const int32_t> tokens) const override { return tokenizer_.decode(tokens); }

 private:
  Tokenizer tokenizer_;
};

Tokenizer load_tokenizer(const Job& job) {
  const std::string path = tokenizer_path(job);
  if (job.pretrained.tokenizer.empty() && !std::filesystem::exists(path)) {
    throw UsageError(fmt::format(
        "{}: no such file; pretrained.tokenizer names another tokenizer.json for a folder without one", path));
  }
  return Tokenizer::load(path);
}

TextTask text_task(TaskKind kind) {
  switch (kind) {
    case TaskKind::c4_copy:
      return TextTask::c4_copy;
    case TaskKind::phone_book:
      return TextTask::phone_book;
    case TaskKind::squad:
      return TextTask::squad;
    default:
      throw Error(fmt::format("task {} is made of letters", name_of(kind)));
  }
}

}  // namespace

std::string tokenizer_path(const Job& job) {
  const PretrainedSpec& asked = job.pretrained;
  return asked.tokenizer.empty() ? (std::filesystem::path(asked.model) / "tokenizer.json").string() : asked.tokenizer;
}

PromptSpec prompt_spec(const Job& job) {
  const PretrainedSpec& asked = job.pretrained;
  PromptSpec spec;
  spec.kind = text_task(job.task.kind);
  spec.text_order = asked.text_order;
  spec.decode_cleanup = asked.decode_cleanup;
  spec.squad_normalisation = asked.squad_normalisation;
  spec.squad_bins = asked.squad_bins;
  spec.squad_contexts = asked.squad_contexts;
  if (job.task.kind == TaskKind::c4_copy) spec.corpus = asked.c4_corpus;
  if (job.task.kind == TaskKind::squad) spec.corpus = asked.squad_file;
  spec.seed = static_cast<uint64_t>(job.eval.seed);
  return spec;
}

JobPrompts::JobPrompts(const Job& job)
    : spec_(prompt_spec(job)),
      tokenizer_(load_tokenizer(job)),
      codec_(std::make_unique<TokenizerCodec>(tokenizer_)),
      source_(make_prompt_source(spec_, *codec_)) {}

std::vector<Prompt> JobPrompts::of_length(const EvalSpec& eval, int length) const {
  const int64_t available = source_->available(length);
  const int64_t wanted = int64_t{eval.batch_size} * eval.num_batches;
  const int64_t count = available == unlimited_prompts ? wanted : available;
  std::vector<Prompt> prompts;
  for (int64_t i = 0; i < count; ++i) prompts.push_back(source_->prompt(length, i));
  return prompts;
}

}  // namespace recite
