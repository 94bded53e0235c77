#include "models/attention_bias.h"

#include <bit>
#include <cmath>
#include <limits>

namespace recite {

namespace {

std::vector<double> slopes_of_power_of_two(unsigned heads) {
  std::vector<double> slopes(heads);
  for (unsigned h = 0; h < heads; ++h) slopes[h] = std::exp2(-8.0 * (h + 1) / heads);
  return slopes;
}

}  // namespace

std::vector<double> alibi_slopes(int heads) {
  const auto count = static_cast<unsigned>(heads);
  const std::vector<double> all = slopes_of_power_of_two(std::bit_ceil(count));
  if (all.size() == count) return all;
  std::vector<double> slopes;
  for (size_t i = 1; i < all.size(); i += 2) slopes.push_back(all[i]);
  for (size_t i = 0; i < all.size(); i += 2) slopes.push_back(all[i]);
  slopes.resize(count);
  return slopes;
}

torch::Tensor attention_windows(const ModelSpec& spec, torch::Device device) {
  torch::Tensor window = torch::full({spec.heads}, std::numeric_limits<int64_t>::max(), torch::kInt64);
  for (int h = 0; h < std::min(spec.heads, spec.num_masked_heads); ++h) window[h] = h;
  return window.to(device);
}

torch::Tensor attention_bias(const ModelSpec& spec, int64_t first_query, int64_t queries, int64_t keys,
                             torch::TensorOptions options) {
  const auto positions = torch::TensorOptions().dtype(torch::kInt64).device(options.device());
  const torch::Tensor query = torch::arange(first_query, first_query + queries, positions).view({1, -1, 1});
  const torch::Tensor distance = query - torch::arange(keys, positions).view({1, 1, -1});
  torch::Tensor hidden = distance < 0;
  torch::Tensor bias = torch::zeros({1, queries, keys}, options);
  if (spec.architecture == Architecture::alibi) {
    const torch::Tensor slopes = torch::tensor(alibi_slopes(spec.heads), torch::kFloat64).to(options.device());
    bias = (distance * slopes.view({-1, 1, 1})).neg().to(options);
  }
  if (spec.architecture == Architecture::hard_alibi)
    hidden = hidden | (distance > attention_windows(spec, options.device()).view({-1, 1, 1}));
  return torch::where(hidden, -std::numeric_limits<double>::infinity(), bias);
}

}  // namespace recite
