// Batches for training and evaluation, as flat arrays that a model can be fed from. No torch here.
#pragma once

#include <cstdint>
#include <vector>

#include "tasks/task.h"

namespace recite {

// B rows of T tokens. targets[b,t] is the token that follows inputs[b,t]; loss_mask[b,t] is 1 where that target is an
// answer letter or the end mark of an example that is whole in the row, else 0.
struct Batch {
  int rows = 0;
  int time = 0;
  std::vector<Token> inputs;       // (B, T)
  std::vector<Token> targets;      // (B, T)
  std::vector<uint8_t> loss_mask;  // (B, T)
  // Which stretch of which packed row of the global batch a row is: names its dropout masks.
  std::vector<int64_t> global_row;      // (B)
  std::vector<int32_t> first_position;  // (B)

  int64_t examples = 0;  // whole examples in the rows

  int64_t answer_tokens() const;  // ones in loss_mask
};

// Rows first_row .. first_row+rows-1 of the global batch of `step`. Each row is one stream (training_string, seed,
// step, global row): examples with L uniform in [min_length, max_length], packed one after another to context_length
// tokens; the last is cut, and its tokens carry no loss. A row of context_length tokens gives T = context_length - 1.
// packed_state = reset: instead, one row for each whole example, padded to the longest, so that no model can carry
// anything from one example to the next. global_row and first_position then say where in the packed row it stood; the
// examples are the same, in the same order.
//
// A row is the same however the batch is split into calls, over ranks or micro batches (in reset mode, but for its
// padding). The lengths of `train` must fit the task and the context: check_job() sees to that before the start.
Batch training_batch(const Task& task, const TrainSpec& train, int64_t step, int64_t first_row, int rows);

// `count` evaluation strings of one length, padded to the longest, with the place of each answer. String i is the
// stream (evaluation_string, seed, task, n_gram, length, first_index + i): the same for every model.
struct EvalBatch {
  int rows = 0;
  int time = 0;
  std::vector<Token> tokens;           // (B, T): prompt, answer, end mark, padding
  std::vector<int32_t> answer_begin;   // (B)
  std::vector<int32_t> answer_length;  // (B)
};
EvalBatch evaluation_batch(const Task& task, int64_t seed, int length, int64_t first_index, int count);

}  // namespace recite
