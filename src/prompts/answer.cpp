#include "prompts/answer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "prompts/unicode.h"

namespace recite {

namespace {

constexpr std::string_view end_of_text = "<|endoftext|>";

// What ends the part that is scored.
std::string_view cut_of(TextTask kind) { return kind == TextTask::phone_book ? "\n" : "\n\n"; }

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::string cleaned_up(DecodeCleanup cleanup, std::string text) {
  if (cleanup == DecodeCleanup::none) return text;
  // In this order: each sees what the ones before it left.
  using Replacement = std::pair<std::string_view, std::string_view>;
  static constexpr std::array replacements = {
      Replacement{" .", "."},     Replacement{" ?", "?"},     Replacement{" !", "!"},   Replacement{" ,", ","},
      Replacement{" ' ", "'"},    Replacement{" n't", "n't"}, Replacement{" 'm", "'m"}, Replacement{" 's", "'s"},
      Replacement{" 've", "'ve"}, Replacement{" 're", "'re"}};
  for (const auto& [from, to] : replacements) replace_all(text, from, to);
  return text;
}

std::string answer_of(const PromptSpec& spec, std::string_view continuation) {
  std::string answer = cleaned_up(spec.decode_cleanup, std::string(continuation));
  answer.resize(std::min(answer.size(), answer.find(cut_of(spec.kind))));
  if (spec.kind == TextTask::squad) answer.resize(std::min(answer.size(), answer.find(end_of_text)));
  if (spec.kind == TextTask::c4_copy) std::ranges::replace(answer, '\n', ' ');
  return strip(answer);
}

bool is_finished(const PromptSpec& spec, std::string_view continuation) {
  return continuation.find(cut_of(spec.kind)) != std::string_view::npos ||
         continuation.find(end_of_text) != std::string_view::npos;
}

}  // namespace recite
