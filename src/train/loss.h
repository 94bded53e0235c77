// The loss of a batch: next-token cross-entropy over the answers.
#pragma once

#include <torch/torch.h>

#include "tasks/batch.h"

namespace recite {

// tokens (B * T) as (B, T), int64, on `device`.
torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device);

// SUM of the cross-entropies over the answer tokens (loss_mask) of the batch, over the first `vocabulary` entries of
// logits (B, T, V): a scalar of the logits' dtype. A batch must have an answer token.
torch::Tensor answer_loss_sum(const torch::Tensor& logits, const Batch& batch, int64_t vocabulary);

}  // namespace recite
