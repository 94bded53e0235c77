#include "train/loss.h"

namespace recite {

torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device) {
  const torch::Tensor bytes = torch::from_blob(const_cast<Token*>(tokens.data()), {rows, time}, torch::kUInt8);
  return bytes.to(torch::kInt64).to(device);
}

Answers answers_of(const Batch& batch, torch::Device device) {
  std::vector<int64_t> places, tokens;
  for (size_t i = 0; i < batch.loss_mask.size(); ++i) {
    if (batch.loss_mask[i] == 0) continue;
    places.push_back(static_cast<int64_t>(i));
    tokens.push_back(batch.targets[i]);
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
