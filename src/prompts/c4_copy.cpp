// c4_copy: `TEXT\n\nTEXT\n\nFIRSTWORD`. TEXT: random texts of the corpus joined with nothing between them, as many
// tokens of it as the prompt's length from a random place (shuffled for TextOrder::random), decoded, newlines to
// spaces, stripped. FIRSTWORD is what stands before its first space, the answer what follows, stripped: an answer is
// stripped before it is compared.
//
// Ten texts are joined; where they have fewer tokens than the length, twice as many, and so on. A TEXT without a second
// word has no answer: another place is drawn.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "prompts/answer.h"
#include "prompts/corpus.h"
#include "prompts/sources.h"
#include "prompts/unicode.h"

namespace recite {

namespace {

constexpr size_t joined_texts = 10;
constexpr int redraws = 10;

class C4Copy final : public PromptSource {
 public:
  C4Copy(const PromptSpec& spec, const TextCodec& codec, std::vector<std::string> texts)
      : spec_(spec), codec_(codec), texts_(std::move(texts)) {}

  void check(int length) const override { prompt(length, 0); }

  Prompt prompt(int length, int64_t index) const override {
    if (length < 1)
      throw UsageError(fmt::format("c4_copy copies texts of 1 token or more, not {}: change lengths", length));
    PhiloxStream random = stream_of(spec_, length, index);
    const std::vector<int32_t> tokens = joined_tokens(length, random);
    for (int drawn = 0; drawn <= redraws; ++drawn) {
      const std::string text = text_of(drawn_place(tokens, length, random));
      const size_t space = text.find(' ');
      if (space != std::string::npos) return prompt_of(text, space);
    }
    throw UsageError(
        fmt::format("{}: {} random pieces of {} tokens had no second word: choose longer lengths, or another corpus",
                    spec_.corpus, redraws + 1, length));
  }

 private:
  // At least `length` tokens.
  std::vector<int32_t> joined_tokens(int length, PhiloxStream& random) const {
    std::vector<uint32_t> order(texts_.size());
    std::iota(order.begin(), order.end(), 0);
    std::string joined;
    size_t used = 0;
    for (size_t wanted = joined_texts;; wanted = std::min(2 * wanted, order.size())) {
      const std::span rest = std::span(order).subspan(used, order.size() - used);
      draw_to_front(rest, wanted - used, random);
      for (; used < wanted; ++used) joined += texts_[order[used]];
      std::vector<int32_t> tokens = codec_.encode(joined);
      if (static_cast<int64_t>(tokens.size()) >= length) return tokens;
      if (used == order.size()) {
        throw UsageError(fmt::format(
            "{}: its {} texts have {} tokens, fewer than the {} to copy: choose shorter lengths, or a larger corpus",
            spec_.corpus, order.size(), tokens.size(), length));
      }
    }
  }

  std::vector<int32_t> drawn_place(const std::vector<int32_t>& tokens, int length, PhiloxStream& random) const {
    const uint32_t start = random.below(static_cast<uint32_t>(tokens.size() - length + 1));
    std::vector<int32_t> piece(tokens.begin() + start, tokens.begin() + start + length);
    if (spec_.text_order == TextOrder::random) draw_to_front(std::span(piece), piece.size(), random);
    return piece;
  }

  std::string text_of(const std::vector<int32_t>& tokens) const {
    std::string text = cleaned_up(spec_.decode_cleanup, codec_.decode(tokens));
    std::ranges::replace(text, '\n', ' ');
    return strip(text);
  }

  Prompt prompt_of(const std::string& text, size_t first_space) const {
    Prompt made;
    made.text = fmt::format("{0}\n\n{0}\n\n{1}", text, text.substr(0, first_space));
    made.tokens = codec_.encode(made.text);
    made.gold = {strip(text.substr(first_space))};
    made.max_new_tokens = static_cast<int64_t>(made.tokens.size() / 2) + 50;
    return made;
  }

  PromptSpec spec_;
  const TextCodec& codec_;
  std::vector<std::string> texts_;
};

}  // namespace

std::unique_ptr<PromptSource> make_c4_copy(const PromptSpec& spec, const TextCodec& codec) {
  if (spec.corpus.empty()) {
    throw UsageError(
        "c4_copy needs texts to copy: set c4_corpus to a file, a folder or a pattern, such as C4's c4-train.*.json.gz");
  }
  std::vector<std::string> texts = read_corpus(spec.corpus);
  if (texts.size() < joined_texts) {
    throw UsageError(
        fmt::format("{}: has {} text{}, c4_copy needs {} or more (of plain text, paragraphs parted by blank lines): "
                    "change c4_corpus",
                    spec.corpus, texts.size(), texts.size() == 1 ? "" : "s", joined_texts));
  }
  return std::make_unique<C4Copy>(spec, codec, std::move(texts));
}

}  // namespace recite
