// The letters that stand for bytes in the vocabulary of a byte-level tokenizer: 0x20 is written "Ġ", 0x61 "a".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace recite {

// The letter in UTF-8.
std::string letter_of_byte(uint8_t byte);

// The bytes that the letters of a token stand for; nothing when one of them is no such letter. `token` must be valid
// UTF-8.
std::optional<std::string> bytes_of_letters(std::string_view token);

}  // namespace recite
