// What tells the heads of a layer's attention apart: ALiBi's slopes and Hard-ALiBi's windows.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "jobs/specs.h"

namespace recite {

// ALiBi's slope of each head: 2^(-8(h+1)/H). For H not a power of two, MPT's rule: of the slopes of the next power of
// two, those at odd indices (from 0) and then those at even ones, cut to H.
std::vector<double> alibi_slopes(int heads);

// (H), int64: how many tokens before its own each head of Hard-ALiBi sees; the largest number where it sees all.
torch::Tensor attention_windows(const ModelSpec& spec, torch::Device device);

}  // namespace recite
