#include "train/loss.h"

#include <algorithm>
#include <vector>

namespace recite {

torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device) {
  const torch::Tensor bytes = torch::from_blob(const_cast<Token*>(tokens.data()), {rows, time}, torch::kUInt8);
  return bytes.to(torch::kInt64).to(device);
}

Answers answers_of(const Batch& batch, torch::Device device) {
  constexpr int64_t no_answer = -100;  // what the cross-entropy passes over
  const auto count = static_cast<int64_t>(batch.loss_mask.size());
  const int64_t answers = batch.answer_tokens();
  int64_t fill = std::min(count, (answers + answer_multiple - 1) / answer_multiple * answer_multiple) - answers;
  std::vector<int64_t> places, tokens;
  for (int64_t i = 0; i < count; ++i) {
    const bool answer = batch.loss_mask[static_cast<size_t>(i)] != 0;
    if (!answer && fill-- <= 0) continue;
    places.push_back(i);
    tokens.push_back(answer ? batch.targets[static_cast<size_t>(i)] : no_answer);
  }
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return torch::tensor(values, torch::kInt64).to(device);
  };
  return {on_device(places), on_device(tokens)};
}

torch::Tensor answer_loss_sum(const torch::Tensor& logits, const torch::Tensor& answers, int64_t vocabulary) {
  return at::cross_entropy_loss(logits.narrow(1, 0, vocabulary), answers, /*weight=*/{}, at::Reduction::Sum);
}

}  // namespace recite
