#include "generate/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "generate/recorded.h"
#include "ops/gpu.h"

namespace recite {

namespace {

using Texts = std::vector<std::vector<int32_t>>;

void check(const Model& model, const Texts& prompts, const std::vector<int64_t>& max_new_tokens,
           const GenerateOptions& options) {
  const auto known = [&](int32_t token) { return token >= 0 && token < model.vocabulary(); };
  if (prompts.size() != max_new_tokens.size())
    throw Error(fmt::format("{} prompts, and {} numbers of new tokens", prompts.size(), max_new_tokens.size()));
  for (size_t i = 0; i < prompts.size(); ++i) {
    if (prompts[i].empty()) throw Error(fmt::format("prompt {} has no tokens", i));
    if (max_new_tokens[i] < 0) throw Error(fmt::format("prompt {} wants {} new tokens", i, max_new_tokens[i]));
    for (const int32_t token : prompts[i])
      if (!known(token))
        throw Error(fmt::format("prompt {} holds token {}; the model knows 0 .. {}", i, token, model.vocabulary() - 1));
  }
  if (options.end_of_text && !known(*options.end_of_text))
    throw Error(
        fmt::format("end of text is token {}; the model knows 0 .. {}", *options.end_of_text, model.vocabulary() - 1));
}

// The new tokens of each prompt.
class NewTexts {
 public:
  NewTexts(const std::vector<int64_t>& max_new_tokens, const GenerateOptions& options)
      : most_(max_new_tokens), options_(options), texts_(most_.size()), ended_(most_.size(), false) {}

  // Adds a token to a text that has not ended. Whether it goes on.
  bool add(size_t row, int32_t token) {
    if (ended_[row]) return false;
    ended_[row] = token == options_.end_of_text || appended(row, token);
    return !ended_[row];
  }
  Texts take() { return std::move(texts_); }

 private:
  // Whether the text has ended with that.
  bool appended(size_t row, int32_t token) {
    std::vector<int32_t>& text = texts_[row];
    text.push_back(token);
    const bool finished = options_.finished && options_.finished(static_cast<int64_t>(row), text);
    return finished || static_cast<int64_t>(text.size()) == most_[row];
  }

  const std::vector<int64_t>& most_;
  const GenerateOptions& options_;
  Texts texts_;
  std::vector<bool> ended_;
};

// Of the model's logits (B, V): (B), int64.
torch::Tensor best_tokens(const Model& model, const torch::Tensor& logits) {
  return logits.narrow(1, 0, model.vocabulary()).argmax(1);
}

// The batch while it is decoded: of each row its newest token, and in the cache what stands before that.
class Batch {
 public:
  // Reads prompts `rows`, to be continued by `most` tokens, the first of them not `never`.
  Batch(Model& model, const Texts& prompts, const std::vector<size_t>& rows, int64_t most, std::optional<int32_t> never)
      : model_(model) {
    std::vector<int64_t> length;
    for (const size_t row : rows) length.push_back(static_cast<int64_t>(prompts[row].size()));
    const auto batch = static_cast<int64_t>(rows.size());
    const int64_t longest = *std::max_element(length.begin(), length.end());
    const torch::Tensor tokens = torch::zeros({batch, longest}, torch::kInt64);
    for (int64_t b = 0; b < batch; ++b)
      std::copy(prompts[rows[b]].begin(), prompts[rows[b]].end(), tokens[b].mutable_data_ptr<int64_t>());
    cache_ = model.new_cache(batch, longest + most - 1);
    const torch::Tensor logits = model.prefill(tokens.to(model.device()), torch::tensor(length), *cache_);
    if (never) logits.select(1, *never).fill_(-std::numeric_limits<double>::infinity());
    tokens_ = best_tokens(model, logits);
  }

  // The next tokens. A GPU repeats the second step of a batch from its recording.
  void step() {
    const auto work = [this] { tokens_.copy_(best_tokens(model_, model_.step(tokens_, *cache_))); };
    if constexpr (gpu::built) {
      if (steps_ == 1 && model_.device().is_cuda()) repeat_ = gpu::recorded(work);
    }
    repeat_ ? repeat_() : work();
    ++steps_;
  }

  // Waits for the newest tokens: (B), on the CPU.
  torch::Tensor tokens() const { return tokens_.to(torch::kCPU); }

  void keep(const std::vector<int64_t>& places) {
    const torch::Tensor rows = torch::tensor(places).to(model_.device());
    repeat_ = nullptr;  // its memory is given up
    steps_ = 0;
    tokens_ = tokens_.index_select(0, rows);
    cache_->keep(rows);
  }

 private:
  Model& model_;
  std::unique_ptr<ModelCache> cache_;
  torch::Tensor tokens_;  // (B)
  std::function<void()> repeat_;
  int64_t steps_ = 0;
};

}  // namespace

Texts generate(Model& model, const Texts& prompts, const std::vector<int64_t>& max_new_tokens,
               const GenerateOptions& options) {
  const torch::NoGradGuard no_grad;
  check(model, prompts, max_new_tokens, options);
  NewTexts texts(max_new_tokens, options);
  std::vector<size_t> rows;  // of the batch: which prompts they are
  for (size_t i = 0; i < prompts.size(); ++i)
    if (max_new_tokens[i] > 0) rows.push_back(i);
  if (rows.empty()) return texts.take();

  Batch batch(model, prompts, rows, *std::max_element(max_new_tokens.begin(), max_new_tokens.end()),
              options.suppress_end_first ? options.end_of_text : std::nullopt);
  for (;;) {
    const torch::Tensor tokens = batch.tokens();
    std::vector<int64_t> going;  // places in the batch
    for (size_t place = 0; place < rows.size(); ++place)
      if (texts.add(rows[place], static_cast<int32_t>(tokens.const_data_ptr<int64_t>()[place])))
        going.push_back(static_cast<int64_t>(place));
    if (going.empty()) return texts.take();
    if (2 * going.size() <= rows.size()) {
      batch.keep(going);
      std::vector<size_t> left;
      for (const int64_t place : going) left.push_back(rows[static_cast<size_t>(place)]);
      rows = left;
    }
    batch.step();
  }
}

}  // namespace recite
