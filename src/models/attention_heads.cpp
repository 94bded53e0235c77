#include "models/attention_heads.h"

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

}  // namespace recite
