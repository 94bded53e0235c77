// Mamba-1 (Gu and Dao, arXiv 2312.00752): RMSNorm, a residual kept in float32, tied head, vocabulary padded to a
// multiple (of 8, where it is trained here).
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "models/model.h"

namespace recite {

class Mamba : public Model {
 public:
  Mamba(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use);

  torch::Tensor forward(const torch::Tensor& tokens, const ForwardContext& context) override;
  std::unique_ptr<ModelCache> new_cache(int64_t batch, int64_t max_tokens) override;
  torch::Tensor prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) override;
  torch::Tensor step(const torch::Tensor& tokens, ModelCache& cache) override;

 private:
  // Letters: d hidden size, E inner channels (2 d), W convolution width (4), R rank of delta (d / 16), N state.
  struct Layer {
    torch::Tensor norm;                    // (d)
    torch::Tensor in_proj;                 // (2 E, d): the input of the convolution, and the gate z
    torch::Tensor conv_weight, conv_bias;  // (E, 1, W), (E)
    torch::Tensor x_proj;                  // (R + 2 N, E): delta before dt_proj, B, C
    torch::Tensor dt_weight, dt_bias;      // (E, R), (E)
    torch::Tensor A_log, D;                // (E, N), (E)
    torch::Tensor out_proj;                // (d, E)
  };
  struct LayerCache {
    torch::Tensor window;  // (B, W-1, E): the convolution's last inputs
    torch::Tensor state;   // (B, E, N)
    torch::Tensor A;       // (E, N): the weights' alone, not to be computed again for each token
  };
  struct Cache;
  // Where prompts (B, T) end.
  struct Ends {
    torch::Tensor padding;  // (B, T, 1), bool: what follows them
    torch::Tensor window;   // (B, W-1, 1), int64: the places of their last tokens; below 0 before the first
  };

  Layer add_layer(const std::string& prefix);
  // After the last norm; of the places that the context wants.
  torch::Tensor hidden(const torch::Tensor& tokens, const ForwardContext& context, Cache* cache,
                       const Ends* ends) const;
  static torch::Tensor state_matrix(const Layer& layer) { return -torch::exp(layer.A_log); }
  // Between the projections: xz (B, T, 2 E) -> (B, T, E). With a cache, of the prompts that end there, or of a step
  // when `ends` is null.
  torch::Tensor mixer(const Layer& layer, const torch::Tensor& xz, LayerCache* cache, const Ends* ends) const;
  torch::Tensor logits(const torch::Tensor& x) const;

  int64_t inner_, rank_;
  torch::Tensor embedding_;
  std::vector<Layer> layers_;
  torch::Tensor final_norm_;
};

}  // namespace recite
