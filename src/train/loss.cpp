#include "train/loss.h"

#include <algorithm>
#include <array>
#include <vector>

namespace recite {

torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device) {
  const torch::Tensor bytes = torch::from_blob(const_cast<Token*>(tokens.data()), {rows, time}, torch::kUInt8);
  return bytes.to(torch::kInt64).to(device);
}

int64_t answer_multiple(int64_t places) {
  constexpr int64_t least = 128, shapes = 32;
  return std::max(least, places / shapes / least * least);
}

TrainingInputs TrainingInputs::to(torch::Device device) const {
  const auto there = [&](const torch::Tensor& tensor) { return tensor.to(device, /*non_blocking=*/true); };
  return {there(tokens), {there(answers.places), there(answers.tokens)}, there(row_places)};
}

void TrainingInputs::copy_from(const TrainingInputs& other) const {
  tokens.copy_(other.tokens, /*non_blocking=*/true);
  answers.places.copy_(other.answers.places, /*non_blocking=*/true);
  answers.tokens.copy_(other.answers.tokens, /*non_blocking=*/true);
  row_places.copy_(other.row_places, /*non_blocking=*/true);
}

TrainingInputs training_inputs(const Batch& batch, int64_t step, torch::Device for_device) {
  constexpr int64_t no_answer = -100;  // what the cross-entropy passes over
  const auto options = torch::TensorOptions().dtype(torch::kInt64).pinned_memory(for_device.is_cuda());
  const auto count = static_cast<int64_t>(batch.loss_mask.size());
  const int64_t answers = batch.answer_tokens(), multiple = answer_multiple(count);
  const int64_t filled = std::min(count, (answers + multiple - 1) / multiple * multiple);
  const TrainingInputs inputs{torch::empty({batch.rows, batch.time}, options),
                              {torch::empty({filled}, options), torch::empty({filled}, options)},
                              torch::empty({batch.rows, 3}, options)};
  std::copy(batch.inputs.begin(), batch.inputs.end(), inputs.tokens.data_ptr<int64_t>());
  auto* place = inputs.answers.places.data_ptr<int64_t>();
  auto* token = inputs.answers.tokens.data_ptr<int64_t>();
  auto* row_place = inputs.row_places.data_ptr<int64_t>();
  for (size_t b = 0; b < static_cast<size_t>(batch.rows); ++b)
    row_place =
        std::copy_n(std::array{step, batch.global_row[b], int64_t{batch.first_position[b]}}.data(), 3, row_place);
  int64_t fill = filled - answers;
  for (int64_t i = 0; i < count; ++i) {
    const bool answer = batch.loss_mask[static_cast<size_t>(i)] != 0;
    if (!answer && fill-- <= 0) continue;
    *place++ = i;
    *token++ = answer ? batch.targets[static_cast<size_t>(i)] : no_answer;
  }
  return inputs;
}

torch::Tensor answer_loss_sum(const torch::Tensor& logits, const torch::Tensor& answers, int64_t vocabulary) {
  return at::cross_entropy_loss(logits.narrow(1, 0, vocabulary), answers, /*weight=*/{}, at::Reduction::Sum);
}

}  // namespace recite
