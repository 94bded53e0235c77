#include "models/mamba.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/causal_conv1d.h"
#include "ops/embed.h"
#include "ops/residual_norm.h"
#include "ops/selective_scan.h"
#include "ops/take_rows.h"

namespace recite {

namespace {

// A_log[e, n] = log(n + 1): the real part of S4D's initial states.
Initial log_of_state(int64_t states) {
  return [states](PhiloxStream&, int64_t index) { return std::log(static_cast<double>(index % states + 1)); };
}

// The bias whose softplus is a step drawn log-uniformly from [1e-3, 1e-1].
Initial step_bias() {
  static constexpr double smallest = 1e-3, largest = 1e-1, floor = 1e-4;
  return [](PhiloxStream& random, int64_t) {
    const double step = std::max(floor, smallest * std::pow(largest / smallest, random.uniform()));
    return step + std::log(-std::expm1(-step));
  };
}

double fan_in_bound(int64_t inputs) { return 1 / std::sqrt(static_cast<double>(inputs)); }

}  // namespace

struct Mamba::Cache : ModelCache {
  std::vector<LayerCache> layers;

  void keep(const torch::Tensor& rows) override {
    for (LayerCache& layer : layers)
      for (torch::Tensor* of_rows : {&layer.window, &layer.state}) *of_rows = of_rows->index_select(0, rows);
  }
};

namespace {

// The numbers of x (B, T, E) at the places (B, W-1, 1); zeros where those are below 0.
torch::Tensor inputs_at(const torch::Tensor& x, const torch::Tensor& places) {
  return x.gather(1, places.clamp_min(0).expand({-1, -1, x.size(2)})).masked_fill(places < 0, 0);
}

}  // namespace

Mamba::Mamba(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device, ModelUse use)
    : Model(spec, vocabulary, precision, device, use), inner_(spec.inner_size()), rank_(spec.delta_rank()) {
  const int64_t multiple = spec.vocabulary_multiple, rows = (vocabulary + multiple - 1) / multiple * multiple;
  embedding_ = add_embedding("backbone.embeddings.weight", {rows, spec.hidden_size}, normal(0.02));
  for (int l = 0; l < spec.layers; ++l) layers_.push_back(add_layer(fmt::format("backbone.layers.{}.", l)));
  final_norm_ = add_parameter("backbone.norm_f.weight", {spec.hidden_size}, constant(1));
}

Mamba::Layer Mamba::add_layer(const std::string& prefix) {
  const int64_t d = spec_.hidden_size, E = inner_, N = spec_.state_dim, W = spec_.conv_width;
  const std::string mixer = prefix + "mixer.";
  Layer layer;
  layer.norm = add_parameter(prefix + "norm.weight", {d}, constant(1));
  layer.in_proj = add_matrix(mixer + "in_proj.weight", {2 * E, d}, uniform(fan_in_bound(d)));
  layer.conv_weight = add_parameter(mixer + "conv1d.weight", {E, 1, W}, uniform(fan_in_bound(W)));
  layer.conv_bias = add_parameter(mixer + "conv1d.bias", {E}, uniform(fan_in_bound(W)));
  layer.x_proj = add_matrix(mixer + "x_proj.weight", {rank_ + 2 * N, E}, uniform(fan_in_bound(E)));
  layer.dt_weight = add_matrix(mixer + "dt_proj.weight", {E, rank_}, uniform(fan_in_bound(rank_)));
  layer.dt_bias = add_parameter(mixer + "dt_proj.bias", {E}, step_bias());
  layer.A_log = add_parameter(mixer + "A_log", {E, N}, log_of_state(N));
  layer.D = add_parameter(mixer + "D", {E}, constant(1));
  layer.out_proj = add_matrix(mixer + "out_proj.weight", {d, E},
                              uniform(fan_in_bound(E) / std::sqrt(static_cast<double>(spec_.layers))));
  return layer;
}

torch::Tensor Mamba::forward(const torch::Tensor& tokens, const ForwardContext& context) {
  return logits(hidden(tokens, context, nullptr, nullptr));
}

torch::Tensor Mamba::prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  const torch::Tensor length = lengths.view({-1, 1, 1});
  const Ends ends{(torch::arange(tokens.size(1)).view({1, -1, 1}) >= length).to(device()),
                  (length + torch::arange(1 - spec_.conv_width, 0).view({1, -1, 1})).to(device())};
  return logits(hidden(tokens, {.wanted = last_places(tokens, lengths)}, &dynamic_cast<Cache&>(cache), &ends));
}

torch::Tensor Mamba::step(const torch::Tensor& tokens, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  return logits(hidden(tokens.unsqueeze(1), {}, &dynamic_cast<Cache&>(cache), nullptr).squeeze(1));
}

std::unique_ptr<ModelCache> Mamba::new_cache(int64_t batch, int64_t) {
  torch::NoGradGuard no_grad;
  auto cache = std::make_unique<Cache>();
  const auto options = torch::TensorOptions().device(device());
  for (const Layer& layer : layers_)
    cache->layers.push_back({torch::zeros({batch, spec_.conv_width - 1, inner_}, options.dtype(compute_dtype())),
                             torch::zeros({batch, inner_, spec_.state_dim}, options.dtype(master_dtype())),
                             state_matrix(layer)});
  return cache;
}

torch::Tensor Mamba::hidden(const torch::Tensor& tokens, const ForwardContext& context, Cache* cache,
                            const Ends* ends) const {
  const auto norm = [&](const ResidualInputs& in, size_t l) {
    const torch::Tensor& weight = l < layers_.size() ? layers_[l].norm : final_norm_;
    return residual_norm(in, {{weight, {}}}, spec_.norm_eps, compute_dtype());
  };
  const bool by_token = begins_by_token(embedding_, tokens);  // the first layer: a row for each token of the vocabulary
  Residual residual = norm({first_rows(embedding_, tokens), {}, {}}, 0);
  for (size_t l = 0; l < layers_.size(); ++l) {
    watch(context, residual.stream, layers_[l].in_proj);
    torch::Tensor xz = linear(residual.norms[0], layers_[l].in_proj);
    if (by_token && l == 0)
      for (torch::Tensor* rows : {&xz, &residual.stream}) *rows = embed(*rows, tokens);
    torch::Tensor y = mixer(layers_[l], xz, cache ? &cache->layers[l] : nullptr, ends);
    if (context.wanted.defined() && l + 1 == layers_.size()) {
      y = take_rows(y, context.wanted);
      residual.stream = take_rows(residual.stream, context.wanted);
    }
    residual = norm({residual.stream, {linear(y, layers_[l].out_proj)}, {}}, l + 1);
  }
  return residual.norms[0];
}

torch::Tensor Mamba::mixer(const Layer& layer, const torch::Tensor& xz, LayerCache* cache, const Ends* ends) const {
  const torch::Tensor before = xz.narrow(2, 0, inner_);
  const torch::Tensor filter = layer.conv_weight.squeeze(1);
  const bool step = cache && !ends;
  const auto [convolved, z] = step ? ConvAndGate{causal_conv1d_step(before, filter, layer.conv_bias, cache->window),
                                                 xz.narrow(2, inner_, inner_)}
                                   : gated_causal_conv1d(xz, filter, layer.conv_bias);
  if (ends) cache->window.copy_(inputs_at(before, ends->window));
  const int64_t N = spec_.state_dim;
  const auto [projected, u] = linear_and_input(convolved, layer.x_proj);
  const std::vector<torch::Tensor> dBC = projected.split_with_sizes({rank_, N, N}, 2);
  torch::Tensor delta = linear(dBC[0], layer.dt_weight);
  if (ends) delta = delta.masked_fill(ends->padding, -std::numeric_limits<double>::infinity());  // the state stays
  const ScanTensors in{.u = u,
                       .delta = delta,
                       .A = cache ? cache->A : state_matrix(layer),
                       .B = dBC[1],
                       .C = dBC[2],
                       .D = layer.D,
                       .z = z,
                       .delta_bias = layer.dt_bias};
  return cache ? selective_scan_from(in, cache->state) : selective_scan(in);
}

torch::Tensor Mamba::logits(const torch::Tensor& x) const { return master(linear(x, embedding_)); }

}  // namespace recite
