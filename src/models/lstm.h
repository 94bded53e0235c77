// A stack of LSTMs (Hochreiter and Schmidhuber, 1997) with dropout between the layers and a linear head.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "models/model.h"

namespace recite {

// Weights: embedding.weight; lstm.{weight,bias}_{ih,hh}_lL as torch.nn.LSTM names and lays them out;
// head.{weight,bias}.
class Lstm : public Model {
 public:
  Lstm(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use);

  torch::Tensor forward(const torch::Tensor& tokens, const ForwardContext& context) override;
  std::unique_ptr<ModelCache> new_cache(int64_t batch, int64_t max_tokens) override;
  torch::Tensor prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) override;
  torch::Tensor step(const torch::Tensor& tokens, ModelCache& cache) override;

 private:
  struct Layer {
    torch::Tensor weight_ih, weight_hh, bias_ih, bias_hh;  // (4h, h), (4h, h), (4h), (4h): gates i, f, g, o
  };
  struct State {
    torch::Tensor h, c;  // (1, B, hidden)
  };
  struct Cache;

  Layer add_layer(int l);
  State zero_state(int64_t batch) const;
  // x (B, T, hidden) -> the same shape; `state` is replaced by the one after the last step. Or, with batch_sizes, x is
  // packed: the data of a PackedSequence.
  torch::Tensor run(const Layer& layer, const torch::Tensor& x, State& state,
                    const torch::Tensor& batch_sizes = {}) const;
  torch::Tensor logits(const torch::Tensor& x) const;

  torch::Tensor embedding_;
  std::vector<Layer> layers_;
  torch::Tensor head_weight_, head_bias_;
};

}  // namespace recite
