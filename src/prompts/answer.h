// From what a model wrote after a prompt to its answer. "Continuation" is the decoded text of the new tokens alone,
// special tokens as their text.
#pragma once

#include <string>
#include <string_view>

#include "prompts/spec.h"

namespace recite {

// DecodeCleanup::published: as the decoder of the published code leaves text, without the spaces before . ? ! , and
// before n't 'm 's 've 're, nor those around a lone '. DecodeCleanup::none: the text itself.
std::string cleaned_up(DecodeCleanup cleanup, std::string text);

// c4_copy: up to the first blank line ("\n\n"), newlines to spaces. phone_book: the first line. squad: up to the first
// blank line and to end-of-text. All cleaned up, and stripped at the ends. In c4_copy and phone_book an end-of-text
// token before the cut stays in the answer, which makes it wrong, as in the published code.
std::string answer_of(const PromptSpec& spec, std::string_view continuation);

// Nothing that the model could add would change the score: the cut is there already, or end-of-text is.
bool is_finished(const PromptSpec& spec, std::string_view continuation);

}  // namespace recite
