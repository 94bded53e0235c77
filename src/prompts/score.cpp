#include "prompts/score.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "prompts/unicode.h"

namespace recite {

namespace {

bool is_ascii_punctuation(char32_t point) {
  return (point >= '!' && point <= '/') || (point >= ':' && point <= '@') || (point >= '[' && point <= '`') ||
         (point >= '{' && point <= '~');
}

bool is_quote(char32_t point) { return point == U'\u2018' || point == U'\u2019' || point == U'\u00B4'; }

std::u32string without_punctuation(SquadNormalisation rule, std::u32string text) {
  if (rule == SquadNormalisation::official) {
    std::erase_if(text, is_ascii_punctuation);
  } else {
    std::ranges::replace_if(text, [](char32_t point) { return is_ascii_punctuation(point) || is_quote(point); }, U' ');
  }
  return text;
}

bool is_article(std::u32string_view word) { return word == U"a" || word == U"an" || word == U"the"; }

// An article is a whole run of letters and numbers, whatever stands around it.
std::u32string without_articles(std::u32string_view text) {
  std::u32string out;
  while (!text.empty()) {
    const bool in_word = is_word(text.front());
    const auto end = std::ranges::find_if(text, [&](char32_t point) { return is_word(point) != in_word; });
    const std::u32string_view run = text.substr(0, end - text.begin());
    out += is_article(run) ? U" " : run;
    text.remove_prefix(run.size());
  }
  return out;
}

std::u32string with_single_spaces(std::u32string_view text) {
  std::u32string out;
  bool parted = false;
  for (const char32_t point : text) {
    const bool space = is_space(point);
    if (!space && parted && !out.empty()) out += U' ';
    if (!space) out += point;
    parted = space;
  }
  return out;
}

double f1_of(const std::string& answer, const std::string& gold) {
  std::vector<std::string> answer_words = split(answer, ' ');
  std::vector<std::string> gold_words = split(gold, ' ');
  std::ranges::sort(answer_words);
  std::ranges::sort(gold_words);
  std::vector<std::string> shared;
  std::ranges::set_intersection(answer_words, gold_words, std::back_inserter(shared));
  if (shared.empty()) return 0;
  const double precision = static_cast<double>(shared.size()) / static_cast<double>(answer_words.size());
  const double recall = static_cast<double>(shared.size()) / static_cast<double>(gold_words.size());
  return 2 * precision * recall / (precision + recall);
}

}  // namespace

std::string normalised(SquadNormalisation rule, std::string_view text) {
  return utf8_of(with_single_spaces(without_articles(without_punctuation(rule, lower(code_points(text))))));
}

Score score(const PromptSpec& spec, const std::string& answer, const std::vector<std::string>& gold) {
  if (gold.empty()) throw Error("an answer cannot be scored without a gold answer");
  if (spec.kind != TextTask::squad) {
    return {.exact_match = std::ranges::find(gold, answer) == gold.end() ? 0.0 : 1.0,
            .f1 = std::numeric_limits<double>::quiet_NaN()};
  }
  const std::string ours = normalised(spec.squad_normalisation, answer);
  Score best;
  for (const std::string& right : gold) {
    const std::string theirs = normalised(spec.squad_normalisation, right);
    best.exact_match = std::max(best.exact_match, ours == theirs ? 1.0 : 0.0);
    best.f1 = std::max(best.f1, f1_of(ours, theirs));
  }
  return best;
}

}  // namespace recite
