// Normalisation form C, as Hugging Face's `tokenizers` has it.
#pragma once

#include <string>
#include <string_view>

namespace recite {

// `text` must be valid UTF-8. Marks and composites that came after Unicode 9 stay as and where they are: the tokenizers
// that were trained with this normaliser never saw them otherwise. Time is linear in the text but for the sorting of
// combining marks.
std::string nfc(std::string_view text);

// Whether nfc() would leave the text as it is, for sure; false says only that it has to be looked at.
bool surely_nfc(std::string_view text);

}  // namespace recite
