#include "generate/greedy.h"

namespace recite {

torch::Tensor greedy_decode(Model& model, const torch::Tensor& prompts, int64_t count) {
  torch::NoGradGuard no_grad;
  if (count == 0) return prompts.new_empty({prompts.size(0), 0});
  const auto cache = model.new_cache(prompts.size(0), prompts.size(1) + count - 1);
  std::vector<torch::Tensor> decoded;
  torch::Tensor logits = model.read(prompts, *cache);
  for (;;) {
    decoded.push_back(logits.narrow(1, 0, model.vocabulary()).argmax(1, /*keepdim=*/true));
    if (static_cast<int64_t>(decoded.size()) == count) return torch::cat(decoded, 1);
    logits = model.read(decoded.back(), *cache);
  }
}

}  // namespace recite
