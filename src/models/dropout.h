// Dropout whose masks are named, not drawn from a state: the same on any number of ranks and after a restart.
#pragma once

#include <torch/torch.h>

#include "models/model.h"

namespace recite {

// (B, T, H) of 0, with probability p, and 1 / (1 - p): row b, time t is the stream (dropout_mask, seed; step, layer,
// row, position + t) of context.row_places[b]. 0 <= p < 1. Throws Error when the context has no places of rows.
torch::Tensor dropout_mask(const ForwardContext& context, int64_t layer, double p, torch::IntArrayRef shape,
                           torch::TensorOptions options);

}  // namespace recite
