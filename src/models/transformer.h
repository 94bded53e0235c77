// GPT-NeoX (Black et al., arXiv 2204.06745): parallel residual, LayerNorm, exact GELU, with one of four ways to tell
// positions apart: rotary on a quarter of each head (rope), none (nope), ALiBi, or Hard-ALiBi (arXiv 2402.01032).
// Pretrained ones may rotate another share, and add attention and MLP to the stream one after the other (ModelSpec).
#pragma once

#include <torch/torch.h>

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "models/model.h"
#include "ops/attention.h"
#include "ops/residual_norm.h"

namespace recite {

class Transformer : public Model {
 public:
  Transformer(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use);

  torch::Tensor forward(const torch::Tensor& tokens, const ForwardContext& context) override;
  std::unique_ptr<ModelCache> new_cache(int64_t batch, int64_t max_tokens) override;
  torch::Tensor prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) override;
  torch::Tensor step(const torch::Tensor& tokens, ModelCache& cache) override;

 private:
  struct Affine {
    torch::Tensor weight, bias;
  };
  struct Layer {
    NormWeights attention_norm, mlp_norm;
    Affine qkv, attention_out, mlp_in, mlp_out;
  };
  struct Cache;
  // The attention of a layer: qkv (B, T, H, 3, head) -> (B, T, d).
  using Attend = std::function<torch::Tensor(const torch::Tensor& qkv, size_t layer)>;

  Layer add_layer(const std::string& prefix);
  Affine add_affine(const std::string& name, int64_t outputs, int64_t inputs);
  NormWeights add_norm(const std::string& name);

  // The places of rows of `time` tokens.
  const AttentionPlaces& row_places(int64_t time);
  AttentionPlaces places_of(int64_t time) const;
  torch::Tensor angles(int64_t time) const;
  // After the last norm; of the places that the context wants.
  // branch_biases: what branch_bias() gives for each layer, where that is known before; else empty.
  torch::Tensor hidden(const torch::Tensor& tokens, const ForwardContext& context, const Attend& attend,
                       const std::vector<torch::Tensor>& branch_biases = {}) const;
  // Of both branches of a parallel layer together.
  static torch::Tensor branch_bias(const Layer& layer) { return layer.attention_out.bias + layer.mlp_out.bias; }
  // The norms that read the stream before layer l, or after the last layer; the MLP's is one of them where the residual
  // is parallel.
  std::vector<NormWeights> norms_before(size_t l) const;
  // Each head's outputs of the projection lie together, its query, its key, its value: (B, T, H, 3, head).
  torch::Tensor heads_of(const torch::Tensor& qkv) const;
  // Up to the bias of its last projection, which the residual stream adds.
  torch::Tensor mlp(const Layer& layer, const torch::Tensor& x) const;
  torch::Tensor logits(const torch::Tensor& x) const;

  int64_t head_size_;
  int64_t rotary_;  // dimensions of each head that carry the position (rope)
  torch::Tensor embedding_;
  std::vector<Layer> layers_;
  NormWeights final_norm_;
  torch::Tensor unembedding_;
  // By time. None is given up: a recorded pass reads them again.
  std::map<int64_t, AttentionPlaces> row_places_;
};

}  // namespace recite
