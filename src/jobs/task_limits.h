// How long the strings and examples of a task are: pure arithmetic, for the checks before the start and for tasks/.
#pragma once

#include "jobs/specs.h"

namespace recite {

// Made of text, for pretrained models; the others are made of letters.
bool reads_text(TaskKind kind);

// Look-up tasks give the model a key, an n-gram of the string, and ask for what follows it.
bool is_lookup(TaskKind kind);

// n_gram means something to the task: the look-ups, and duplicate_ngram.
bool uses_n_gram(TaskKind kind);

// Letters of the shortest string that a task of letters takes; shorter ones are refused before the start.
//   copy              1
//   look-ups          n + max(length_answer, 1); with NgramKey::any n + length_answer + 3
//   duplicate_ngram   n + 1: room for two different n-grams
int min_length(const TaskSpec& task);

// Tokens that an example of `length` >= min_length(task) letters takes at most, marks included: what a context must
// hold. The answers of look-ups without length_answer vary: this is the longest, that of a key at the start.
int max_tokens(const TaskSpec& task, int length);

}  // namespace recite
