// Greedy decoding over a cache.
#pragma once

#include <torch/torch.h>

#include "models/model.h"

namespace recite {

// Continues each row of `prompts` (B, T), int64, all of one length, by `count` tokens: (B, count). The prompt is read
// in one pass. Only tokens below model.vocabulary() can win.
torch::Tensor greedy_decode(Model& model, const torch::Tensor& prompts, int64_t count);

}  // namespace recite
