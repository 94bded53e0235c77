#include "models/lstm.h"

#include <fmt/format.h>

#include <cmath>
#include <tuple>

#include "base/error.h"
#include "models/dropout.h"
#include "ops/embed.h"
#include "ops/take_rows.h"

namespace recite {

namespace {

// cuDNN wants a layer's weights in one piece, in its own order, and says so at each call. Here they lie in the order of
// the optimizer's buffer, or are a step's bf16 copies: that LibTorch puts them together costs one copy of them.
struct PassOver : c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

}  // namespace

struct Lstm::Cache : ModelCache {
  std::vector<State> layers;

  void keep(const torch::Tensor& rows) override {
    for (auto& [h, c] : layers)
      for (torch::Tensor* of_rows : {&h, &c}) *of_rows = of_rows->index_select(1, rows);
  }
};

Lstm::Lstm(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use)
    : Model(spec, vocabulary, precision, device, use) {
  if (!(spec.dropout >= 0 && spec.dropout < 1))
    throw UsageError(fmt::format("model.dropout = {} is not in 0 <= p < 1.", spec.dropout));
  const double bound = 1 / std::sqrt(static_cast<double>(spec.hidden_size));
  embedding_ = add_embedding("embedding.weight", {vocabulary, spec.hidden_size}, uniform(0.1));
  for (int l = 0; l < spec.layers; ++l) layers_.push_back(add_layer(l));
  head_weight_ = add_matrix("head.weight", {vocabulary, spec.hidden_size}, uniform(bound));
  head_bias_ = add_matrix("head.bias", {vocabulary}, constant(0));
}

Lstm::Layer Lstm::add_layer(int l) {
  const int64_t h = spec_.hidden_size;
  const Initial initial = uniform(1 / std::sqrt(static_cast<double>(h)));
  Layer layer;
  layer.weight_ih = add_matrix(fmt::format("lstm.weight_ih_l{}", l), {4 * h, h}, initial);
  layer.weight_hh = add_matrix(fmt::format("lstm.weight_hh_l{}", l), {4 * h, h}, initial);
  layer.bias_ih = add_matrix(fmt::format("lstm.bias_ih_l{}", l), {4 * h}, initial);
  layer.bias_hh = add_matrix(fmt::format("lstm.bias_hh_l{}", l), {4 * h}, initial);
  return layer;
}

torch::Tensor Lstm::forward(const torch::Tensor& tokens, const ForwardContext& context) {
  torch::Tensor x = embed(compute(embedding_), tokens);
  for (size_t l = 0; l < layers_.size(); ++l) {
    if (l > 0 && context.training && spec_.dropout > 0)
      x = x * dropout_mask(context, static_cast<int64_t>(l) - 1, spec_.dropout, x.sizes(), x.options());
    State state = zero_state(tokens.size(0));
    x = run(layers_[l], x, state);
    watch(context, x, l + 1 < layers_.size() ? layers_[l + 1].weight_ih : head_weight_);
  }
  return logits(context.wanted.defined() ? take_rows(x, context.wanted) : x);
}

torch::Tensor Lstm::prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  auto& own = dynamic_cast<Cache&>(cache);
  // Without the padding, the longest row first.
  const auto packed = torch::nn::utils::rnn::pack_padded_sequence(embed(compute(embedding_), tokens), lengths,
                                                                  /*batch_first=*/true, /*enforce_sorted=*/false);
  torch::Tensor x = packed.data();
  for (size_t l = 0; l < layers_.size(); ++l) {
    State state = zero_state(tokens.size(0));
    x = run(layers_[l], x, state, packed.batch_sizes());
    own.layers[l].h.copy_(state.h.index_select(1, packed.unsorted_indices()));
    own.layers[l].c.copy_(state.c.index_select(1, packed.unsorted_indices()));
  }
  return logits(own.layers.back().h.squeeze(0));
}

torch::Tensor Lstm::step(const torch::Tensor& tokens, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  auto& own = dynamic_cast<Cache&>(cache);
  torch::Tensor x = embed(compute(embedding_), tokens.unsqueeze(1));
  for (size_t l = 0; l < layers_.size(); ++l) {
    State state = own.layers[l];
    x = run(layers_[l], x, state);
    own.layers[l].h.copy_(state.h);
    own.layers[l].c.copy_(state.c);
  }
  return logits(x.squeeze(1));
}

std::unique_ptr<ModelCache> Lstm::new_cache(int64_t batch, int64_t) {
  auto cache = std::make_unique<Cache>();
  for (size_t l = 0; l < layers_.size(); ++l) cache->layers.push_back(zero_state(batch));
  return cache;
}

Lstm::State Lstm::zero_state(int64_t batch) const {
  const auto options = torch::TensorOptions().dtype(compute_dtype()).device(device());
  const auto zeros = [&] { return torch::zeros({1, batch, spec_.hidden_size}, options); };
  return {zeros(), zeros()};
}

torch::Tensor Lstm::run(const Layer& layer, const torch::Tensor& x, State& state,
                        const torch::Tensor& batch_sizes) const {
  const std::vector<torch::Tensor> weights{compute(layer.weight_ih), compute(layer.weight_hh), compute(layer.bias_ih),
                                           compute(layer.bias_hh)};
  // cuDNN refuses the backward of a layer that was not run for training.
  const bool train = torch::GradMode::is_enabled();
  PassOver warnings;
  const c10::WarningUtils::WarningHandlerGuard guard(&warnings);
  const std::vector<torch::Tensor> before{state.h, state.c};
  constexpr bool has_biases = true, bidirectional = false, batch_first = true;
  torch::Tensor y;
  std::tie(y, state.h, state.c) = batch_sizes.defined()
                                      ? torch::lstm(x, batch_sizes, before, weights, has_biases, /*num_layers=*/1,
                                                    /*dropout=*/0.0, train, bidirectional)
                                      : torch::lstm(x, before, weights, has_biases, /*num_layers=*/1, /*dropout=*/0.0,
                                                    train, bidirectional, batch_first);
  return y;
}

torch::Tensor Lstm::logits(const torch::Tensor& x) const {
  return torch::linear(x, compute(head_weight_), compute(head_bias_)).to(master_dtype());
}

}  // namespace recite
