// What is added to attention scores before the softmax: who may see whom, and ALiBi's slopes.
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

// (1 or H, Q, K): the bias of queries at positions first_query..first_query+Q-1 on keys at positions 0..K-1.
//   causal       0 where key <= query, else -inf
//   alibi        the same, less slope[h] (query - key)
//   hard_alibi   heads h < num_masked_heads also have -inf where key < query - h
torch::Tensor attention_bias(const ModelSpec& spec, int64_t first_query, int64_t queries, int64_t keys,
                             torch::TensorOptions options);

}  // namespace recite
