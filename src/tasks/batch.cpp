#include "tasks/batch.h"

#include <algorithm>
#include <span>

namespace recite {

namespace {

struct PackedRow {
  std::vector<Token> tokens;     // context_length
  std::vector<uint8_t> in_loss;  // 1 at the answer and the end mark of a whole example
  std::vector<int> ends;         // one past the end mark of each whole example
};

PackedRow pack_row(const Task& task, const TrainSpec& train, int64_t step, int64_t global_row) {
  PhiloxStream random(Purpose::training_string, static_cast<uint64_t>(train.seed),
                      {static_cast<uint64_t>(step), static_cast<uint64_t>(global_row)});
  const int context = train.context_length;
  const uint32_t lengths = train.max_length - train.min_length + 1;
  PackedRow row;
  row.tokens.reserve(context + task.max_tokens(train.max_length));
  row.in_loss.resize(context);
  while (static_cast<int>(row.tokens.size()) < context) {
    const int length = train.min_length + static_cast<int>(random.below(lengths));
    const Answer answer = task.append(length, random, row.tokens);
    const int end = static_cast<int>(row.tokens.size());
    if (end > context) break;
    std::fill_n(row.in_loss.begin() + answer.begin, answer.length + 1, uint8_t{1});
    row.ends.push_back(end);
  }
  row.tokens.resize(context);
  return row;
}

void resize(Batch& batch, int rows, int time, Token padding) {
  batch.rows = rows;
  batch.time = time;
  const size_t size = static_cast<size_t>(rows) * time;
  batch.inputs.assign(size, padding);
  batch.targets.assign(size, padding);
  batch.loss_mask.assign(size, 0);
  batch.global_row.reserve(rows);
  batch.first_position.reserve(rows);
}

// Makes tokens begin..end-1 of a packed row the next row of the batch; the targets are the tokens one place on.
void add_row(Batch& batch, const PackedRow& row, int begin, int end, int64_t global_row) {
  const size_t at = batch.global_row.size() * batch.time;
  std::copy(row.tokens.begin() + begin, row.tokens.begin() + end - 1, batch.inputs.begin() + at);
  std::copy(row.tokens.begin() + begin + 1, row.tokens.begin() + end, batch.targets.begin() + at);
  std::copy(row.in_loss.begin() + begin + 1, row.in_loss.begin() + end, batch.loss_mask.begin() + at);
  batch.global_row.push_back(global_row);
  batch.first_position.push_back(begin);
}

Batch packed_batch(const std::vector<PackedRow>& packed, int context, int64_t first_row, Token padding) {
  Batch batch;
  resize(batch, static_cast<int>(packed.size()), context - 1, padding);
  for (size_t i = 0; i < packed.size(); ++i) add_row(batch, packed[i], 0, context, first_row + static_cast<int64_t>(i));
  return batch;
}

// One row for each whole example.
Batch separated_batch(const std::vector<PackedRow>& packed, int64_t first_row, Token padding) {
  int rows = 0;
  int longest = 1;
  for (const PackedRow& row : packed) {
    int begin = 0;
    for (const int end : row.ends) {
      longest = std::max(longest, end - begin);
      begin = end;
    }
    rows += static_cast<int>(row.ends.size());
  }
  Batch batch;
  resize(batch, rows, longest - 1, padding);
  for (size_t i = 0; i < packed.size(); ++i) {
    int begin = 0;
    for (const int end : packed[i].ends) {
      add_row(batch, packed[i], begin, end, first_row + static_cast<int64_t>(i));
      begin = end;
    }
  }
  return batch;
}

}  // namespace

int64_t Batch::answer_tokens() const { return std::count(loss_mask.begin(), loss_mask.end(), uint8_t{1}); }

Batch training_batch(const Task& task, const TrainSpec& train, int64_t step, int64_t first_row, int rows) {
  std::vector<PackedRow> packed;
  packed.reserve(rows);
  for (int i = 0; i < rows; ++i) packed.push_back(pack_row(task, train, step, first_row + i));

  const Token padding = task.alphabet().padding();
  Batch batch = train.packed_state == PackedState::reset
                    ? separated_batch(packed, first_row, padding)
                    : packed_batch(packed, train.context_length, first_row, padding);
  for (const PackedRow& row : packed) batch.examples += static_cast<int64_t>(row.ends.size());
  return batch;
}

EvalBatch evaluation_batch(const Task& task, int64_t seed, int length, int64_t first_index, int count) {
  const TaskSpec& spec = task.spec();
  // Models trained with different n_gram copy the same strings.
  const int n_gram = uses_n_gram(spec.kind) ? spec.n_gram : 0;
  std::vector<TaskExample> examples;
  examples.reserve(count);
  EvalBatch batch;
  for (int i = 0; i < count; ++i) {
    PhiloxStream random(Purpose::evaluation_string, static_cast<uint64_t>(seed),
                        {static_cast<uint64_t>(spec.kind), static_cast<uint64_t>(n_gram), static_cast<uint64_t>(length),
                         static_cast<uint64_t>(first_index + i)});
    const TaskExample& example = examples.emplace_back(task.draw(length, random));
    batch.time = std::max(batch.time, example.length());
    batch.answer_begin.push_back(example.answer_begin);
    batch.answer_length.push_back(example.answer_length);
  }
  batch.rows = count;
  batch.tokens.assign(static_cast<size_t>(count) * batch.time, task.alphabet().padding());
  for (int i = 0; i < count; ++i) {
    const std::vector<Token>& tokens = examples[i].tokens;
    std::copy(tokens.begin(), tokens.end(), batch.tokens.begin() + static_cast<size_t>(i) * batch.time);
  }
  return batch;
}

}  // namespace recite
