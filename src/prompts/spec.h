// The three tasks that pretrained language models are measured with (arXiv 2402.01032), and their options.
//
//   c4_copy      TEXT, blank line, TEXT, blank line, the first word of TEXT: the model goes on with the rest.
//                A prompt's length is that of TEXT in tokens.
//   phone_book   lines `First Last: DIGITS`, two of them again, then a third one's `First Last:`. Length: lines.
//   squad        a passage, one of its questions with the answer, then another question. Length: tokens of the passage,
//                in bins that are named by their upper edge.
#pragma once

#include <cstdint>
#include <string>

#include "jobs/specs.h"

namespace recite {

enum class TextTask { c4_copy, phone_book, squad };

struct PromptSpec {
  TextTask kind = TextTask::c4_copy;
  TextOrder text_order = TextOrder::standard;                              // c4_copy only
  DecodeCleanup decode_cleanup = DecodeCleanup::none;                      // answer.h
  SquadNormalisation squad_normalisation = SquadNormalisation::published;  // score.h
  int squad_bins = 50;                                                     // tokens of context that a bin spans
  int squad_contexts = 30;                                                 // contexts asked in each bin, at most
  std::string corpus = {};  // c4_copy: texts, the option c4_corpus (corpus.h); squad: its JSON, the option squad_file
                            // (squad_file.h); phone_book needs none
  uint64_t seed = 0;
};

}  // namespace recite
