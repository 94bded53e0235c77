// squad: the passage, a blank line, `Question: Q1\nAnswer: A1`, a blank line, `Question: Q\nAnswer: `. Q1 and Q are two
// questions of the passage that have answers, drawn; A1 is the first of Q1's answers, all of Q's are right.
//
// Passages are in bins by their tokens: bin E has those of E-squad_bins+1 to E tokens. A bin of fewer than 15 passages
// does not run; of any other, squad_contexts are drawn once, and prompt i asks about the i-th.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "prompts/sources.h"
#include "prompts/squad_file.h"

namespace recite {

namespace {

constexpr size_t fewest_contexts = 15;

using Bins = std::map<int, std::vector<SquadPassage>>;  // by upper edge

class Squad final : public PromptSource {
 public:
  Squad(const PromptSpec& spec, const TextCodec& codec, Bins bins)
      : spec_(spec), codec_(codec), bins_(std::move(bins)) {}

  std::vector<int> bins() const override {
    std::vector<int> edges;
    for (const auto& [edge, passages] : bins_) edges.push_back(edge);
    return edges;
  }

  int64_t available(int length) const override {
    const auto found = bins_.find(length);
    return found == bins_.end() ? 0 : static_cast<int64_t>(found->second.size());
  }

  void check(int length) const override {
    if (bins_.contains(length)) return;
    throw UsageError(fmt::format("{}: no bin of squad that runs ends at {} tokens: choose lengths among {}",
                                 spec_.corpus, length, fmt::join(bins(), ", ")));
  }

  Prompt prompt(int length, int64_t index) const override {
    check(length);
    if (index < 0 || index >= available(length)) {
      throw Error(
          fmt::format("squad has {} prompts of {} tokens, and none with index {}", available(length), length, index));
    }
    const SquadPassage& passage = bins_.at(length)[index];
    PhiloxStream random = stream_of(spec_, length, index);
    std::vector<const SquadQuestion*> questions;
    for (const SquadQuestion& question : passage.questions) questions.push_back(&question);
    draw_to_front(std::span(questions), 2, random);
    Prompt made;
    made.text = fmt::format("{}\n\nQuestion: {}\nAnswer: {}\n\nQuestion: {}\nAnswer: ", passage.context,
                            questions[0]->text, questions[0]->answers[0], questions[1]->text);
    made.tokens = codec_.encode(made.text);
    made.gold = questions[1]->answers;
    made.max_new_tokens = 200;
    made.suppress_end_first = true;
    return made;
  }

 private:
  PromptSpec spec_;
  const TextCodec& codec_;
  Bins bins_;  // those that run, each with the passages drawn
};

Bins all_bins(const PromptSpec& spec, const TextCodec& codec) {
  Bins bins;
  for (SquadPassage& passage : read_squad(spec.corpus)) {
    const int tokens = static_cast<int>(codec.encode(passage.context).size());
    const int edge = std::max((tokens + spec.squad_bins - 1) / spec.squad_bins, 1) * spec.squad_bins;
    bins[edge].push_back(std::move(passage));
  }
  return bins;
}

Bins running_bins(const PromptSpec& spec, const TextCodec& codec) {
  Bins bins = all_bins(spec, codec);
  size_t fullest = 0;
  for (const auto& [edge, passages] : bins) fullest = std::max(fullest, passages.size());
  if (fullest < fewest_contexts) {
    throw UsageError(
        fmt::format("{}: no bin of {} tokens has {} contexts with two answered questions, the fullest has {}: "
                    "change squad_bins or squad_file",
                    spec.corpus, spec.squad_bins, fewest_contexts, fullest));
  }
  std::erase_if(bins, [](const auto& bin) { return bin.second.size() < fewest_contexts; });
  for (auto& [edge, passages] : bins) {
    const size_t drawn = std::min<size_t>(spec.squad_contexts, passages.size());
    PhiloxStream random = stream_of(spec, edge, -1);  // of no prompt
    draw_to_front(std::span(passages), drawn, random);
    passages.resize(drawn);
  }
  return bins;
}

}  // namespace

std::unique_ptr<PromptSource> make_squad(const PromptSpec& spec, const TextCodec& codec) {
  if (spec.corpus.empty())
    throw UsageError("squad needs its official JSON file, such as dev-v2.0.json: set squad_file");
  if (spec.squad_bins < 1) {
    throw UsageError(
        fmt::format("squad_bins is {}: set it to the tokens that a bin spans, 1 or more", spec.squad_bins));
  }
  if (spec.squad_contexts < 1) {
    throw UsageError(
        fmt::format("squad_contexts is {}: set it to the contexts asked in a bin, 1 or more", spec.squad_contexts));
  }
  return std::make_unique<Squad>(spec, codec, running_bins(spec, codec));
}

}  // namespace recite
