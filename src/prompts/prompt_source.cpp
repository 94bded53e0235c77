#include "prompts/prompt_source.h"

#include <fmt/format.h>

#include "base/error.h"
#include "prompts/sources.h"

namespace recite {

int64_t PromptSource::available(int) const { return unlimited_prompts; }

PhiloxStream stream_of(const PromptSpec& spec, int length, int64_t index) {
  return {Purpose::prompt,
          spec.seed,
          {static_cast<uint64_t>(spec.kind), static_cast<uint64_t>(length), static_cast<uint64_t>(index)}};
}

std::unique_ptr<PromptSource> make_prompt_source(const PromptSpec& spec, const TextCodec& codec) {
  switch (spec.kind) {
    case TextTask::c4_copy:
      return make_c4_copy(spec, codec);
    case TextTask::phone_book:
      return make_phone_book(spec, codec);
    case TextTask::squad:
      return make_squad(spec, codec);
  }
  throw Error(fmt::format("there is no task of text with number {}", static_cast<int>(spec.kind)));
}

}  // namespace recite
