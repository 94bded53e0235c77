// The loss of a batch: next-token cross-entropy over the answers.
#pragma once

#include <torch/torch.h>

#include "tasks/batch.h"

namespace recite {

// tokens (B * T) as (B, T), int64, on `device`.
torch::Tensor token_tensor(const std::vector<Token>& tokens, int64_t rows, int64_t time, torch::Device device);

// The answer tokens (loss_mask) of a batch, int64. Other places fill their number M up to a multiple, or to all of
// them: shapes that change from step to step would have LibTorch's libraries choose and compile products anew.
struct Answers {
  torch::Tensor places;  // (M): where in the flattened (B, T) each is to be predicted; none of them twice
  torch::Tensor tokens;  // (M); -100 where there is no answer
};
// The multiple for a batch of so many places.
int64_t answer_multiple(int64_t places);

// What a batch gives the model and the loss.
struct TrainingInputs {
  torch::Tensor tokens;  // (B, T), int64
  Answers answers;
  torch::Tensor row_places;  // (B, 3), int64: ForwardContext::row_places

  // On `device`; from pinned memory queued, so that the host does not wait.
  TrainingInputs to(torch::Device device) const;
  // The same into tensors of the same shapes.
  void copy_from(const TrainingInputs& other) const;
};
// Of step `step`; on the host; in pinned memory when they are for a GPU.
TrainingInputs training_inputs(const Batch& batch, int64_t step, torch::Device for_device);

// SUM of the cross-entropies of the tokens `answers` (M), but for -100, over the first `vocabulary` entries of logits
// (M, V): a scalar of the logits' dtype.
torch::Tensor answer_loss_sum(const torch::Tensor& logits, const torch::Tensor& answers, int64_t vocabulary);

}  // namespace recite
