// Rows that follow from their number alone, so that any process can tell whether what it reads is what was written.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "results/rows.h"

namespace recite {

inline JobRow known_job(int k) {
  return {.job = k,
          .id = fmt::format("{:016x}", k * 7919),
          .model = "hard_alibi",
          .task = "copy",
          .train_min_length = 5,
          .train_max_length = 20 + k,
          .seed = 1LL << 40 | k,
          .learning_rate = 1e-5,
          .parameters = 151'000'000LL * 100 + k,
          .spec = "{\"filler\":\"" + std::string(8000, static_cast<char>('a' + k % 26)) + "\"}"};
}

// The message is long, so that a row crosses the pages of the file.
inline EventRow known_event(int k) {
  return {.job = k % 3,
          .attempt = 1,
          .run = 0,
          .time = 1e9 + k,
          .state = static_cast<JobState>(k % 6),
          .step = k,
          .ranks = 2,
          .host = "node" + std::to_string(k % 4),
          .message = std::string(1024, static_cast<char>('a' + k % 26))};
}

inline EvaluationRow known_evaluation(int k) {
  return {.job = k % 3,
          .attempt = 1,
          .run = 0,
          .step = 500,
          .examples = k,
          .task = "prefix_ngram",
          .n_gram = 2,
          .length = 10 + k,
          .mode = "teacher_forced",
          .n = 1280,
          .string_accuracy = 1.0 / (k + 1),
          .string_accuracy_std = std::sqrt(k),
          .string_accuracy_low = 0.1,
          .string_accuracy_high = 0.9,
          .char_accuracy = 1.0 / 3,
          .exact_match = not_measured,
          .f1 = not_measured};
}

inline TrainingRow known_training(int k) {
  return {.job = k % 3,
          .attempt = 1,
          .run = 0,
          .step = k,
          .examples = 64LL * k,
          .loss = std::exp(-k / 1000.0),
          .learning_rate = 1e-5,
          .grad_norm = k % 5 == 0 ? not_measured : 1.5 * k,
          .tokens_per_second = 1e6 / (k + 1)};
}

// Equality of every column, NaN equal to NaN.
inline bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

inline bool same(const JobRow& a, const JobRow& b) {
  return a.job == b.job && a.id == b.id && a.model == b.model && a.task == b.task &&
         a.train_min_length == b.train_min_length && a.train_max_length == b.train_max_length && a.seed == b.seed &&
         same(a.learning_rate, b.learning_rate) && a.parameters == b.parameters && a.spec == b.spec;
}

inline bool same(const EventRow& a, const EventRow& b) {
  return a.job == b.job && a.attempt == b.attempt && a.run == b.run && same(a.time, b.time) && a.state == b.state &&
         a.step == b.step && a.ranks == b.ranks && a.host == b.host && a.message == b.message;
}

inline bool same(const EvaluationRow& a, const EvaluationRow& b) {
  return a.job == b.job && a.attempt == b.attempt && a.run == b.run && a.step == b.step && a.examples == b.examples &&
         a.task == b.task && a.n_gram == b.n_gram && a.length == b.length && a.mode == b.mode && a.n == b.n &&
         same(a.string_accuracy, b.string_accuracy) && same(a.string_accuracy_std, b.string_accuracy_std) &&
         same(a.string_accuracy_low, b.string_accuracy_low) && same(a.string_accuracy_high, b.string_accuracy_high) &&
         same(a.char_accuracy, b.char_accuracy) && same(a.exact_match, b.exact_match) && same(a.f1, b.f1);
}

inline bool same(const TrainingRow& a, const TrainingRow& b) {
  return a.job == b.job && a.attempt == b.attempt && a.run == b.run && a.step == b.step && a.examples == b.examples &&
         same(a.loss, b.loss) && same(a.learning_rate, b.learning_rate) && same(a.grad_norm, b.grad_norm) &&
         same(a.tokens_per_second, b.tokens_per_second);
}

}  // namespace recite
