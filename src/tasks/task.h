// The synthetic tasks of arXiv 2402.01032: strings to copy, and n-grams to look up.
//
//   copy             $s|s.       s uniform of length L
//   prefix_ngram     $g|s|a.     g an n-gram of s, a what follows it in s
//   suffix_ngram     $s|ga.
//   duplicate_ngram  $s'|s'.     s with one n-gram replaced by another of its own; evaluation only
//
// The answer is cut to length_answer letters when that is > 0. Loss and score begin after the prompt.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"
#include "jobs/specs.h"
#include "jobs/task_limits.h"
#include "tasks/alphabet.h"

namespace recite {

struct TaskExample {
  std::vector<Token> tokens;  // prompt, answer, end mark
  int answer_begin = 0;       // index of the answer's first token
  int answer_length = 0;      // letters, without the end mark

  int length() const { return static_cast<int>(tokens.size()); }
};

// Where an answer stands in the tokens that it was appended to.
struct Answer {
  int begin = 0;   // index of its first token
  int length = 0;  // letters, without the end mark
};

// Draws examples of one task. Immutable, safe to share among threads.
//
// The key of a look-up starts at a position uniform in 0..L-n-max(a,1) (a = length_answer) among those whose n-gram
// occurs once in the whole string, overlaps counted. NgramKey::any takes any start in 0..L-n-a-3 and the continuation
// of the n-gram's first occurrence, as the published code does.
//
// duplicate_ngram draws two different n-grams of s, each at a uniform start, and replaces every occurrence of the first
// by the second, left to right without overlaps.
//
// Where s has no such n-gram it is drawn again from the same stream, 10 times, then Error names n and L.
class Task {
 public:
  // Throws UsageError for a task of text, a vocab_size outside 1..26, a negative length_answer, or an n_gram < 1 where
  // the task has one.
  explicit Task(const TaskSpec& spec);

  const TaskSpec& spec() const { return spec_; }
  const Alphabet& alphabet() const { return alphabet_; }

  // An example whose string has `length` letters; all randomness comes from `random`. Throws UsageError for a length
  // below min_length(spec()).
  TaskExample draw(int length, PhiloxStream& random) const;

  // The same, appended to `tokens`: the way to pack examples into one row.
  Answer append(int length, PhiloxStream& random, std::vector<Token>& tokens) const;

  // Tokens of an example of `length` letters, at most (prefix_ngram's and suffix_ngram's answers vary in length).
  int max_tokens(int length) const { return recite::max_tokens(spec_, length); }

 private:
  TaskSpec spec_;
  Alphabet alphabet_;
};

}  // namespace recite
