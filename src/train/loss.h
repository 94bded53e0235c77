// The loss of a batch: next-token cross-entropy over the answers.
#pragma once

#include <torch/torch.h>

#include "tasks/batch.h"

namespace recite {

// tokens (B * T) as (B, T), int64, on `device`.
torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device);

// The M answer tokens (loss_mask) of a batch: int64, on the device asked for.
struct Answers {
  torch::Tensor places;  // (M): where in the flattened (B, T) each is to be predicted
  torch::Tensor tokens;  // (M)
};
Answers answers_of(const Batch& batch, torch::Device device);

// SUM of the cross-entropies of `answers` (M), over the first `vocabulary` entries of logits (M, V): a scalar of the
// logits' dtype.
torch::Tensor answer_loss_sum(const torch::Tensor& logits, const torch::Tensor& answers, int64_t vocabulary);

}  // namespace recite
