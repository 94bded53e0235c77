#include "train/loss.h"

namespace recite {

torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device) {
  const torch::Tensor bytes = torch::from_blob(const_cast<Token*>(tokens.data()), {rows, time}, torch::kUInt8);
  return bytes.to(torch::kInt64).to(device);
}

torch::Tensor answer_loss_sum(const torch::Tensor& logits, const Batch& batch, int64_t vocabulary) {
  std::vector<int64_t> positions, answers;
  for (size_t i = 0; i < batch.loss_mask.size(); ++i) {
    if (batch.loss_mask[i] == 0) continue;
    positions.push_back(static_cast<int64_t>(i));
    answers.push_back(batch.targets[i]);
  }
  const auto on_device = [&](const std::vector<int64_t>& values) {
    return torch::tensor(values, torch::kInt64).to(logits.device());
  };
  const torch::Tensor at_answers = logits.flatten(0, 1).index_select(0, on_device(positions));
  return at::cross_entropy_loss(at_answers.narrow(1, 0, vocabulary), on_device(answers), /*weight=*/{},
                                at::Reduction::Sum);
}

}  // namespace recite
