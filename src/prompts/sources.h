// The sources of the three tasks, for make_prompt_source(); everyone else sees PromptSource alone.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "base/philox.h"
#include "prompts/prompt_source.h"

namespace recite {

// Each is described in its .cpp file.
std::unique_ptr<PromptSource> make_c4_copy(const PromptSpec& spec, const TextCodec& codec);
std::unique_ptr<PromptSource> make_phone_book(const PromptSpec& spec, const TextCodec& codec);
std::unique_ptr<PromptSource> make_squad(const PromptSpec& spec, const TextCodec& codec);

// All randomness of one prompt.
PhiloxStream stream_of(const PromptSpec& spec, int length, int64_t index);

// Puts a uniform choice of `count` of the values, in random order, at the front.
template <class Value>
void draw_to_front(std::span<Value> values, size_t count, PhiloxStream& random) {
  for (size_t i = 0; i < count; ++i) {
    std::swap(values[i], values[i + random.below(static_cast<uint32_t>(values.size() - i))]);
  }
}

}  // namespace recite
