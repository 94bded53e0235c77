#include "models/transformer.h"

#include <fmt/format.h>

#include <tuple>

#include "base/error.h"
#include "models/attention_heads.h"
#include "ops/embed.h"
#include "ops/take_rows.h"

namespace recite {

namespace {

constexpr double weight_deviation = 0.02;

}  // namespace

struct Transformer::Cache : ModelCache {
  AttentionPlaces places;  // of max_tokens tokens
  torch::Tensor length;    // (B), int32: how many tokens of each sequence were read
  std::vector<AttentionCache> layers;
  std::vector<torch::Tensor> branch_biases;  // the weights' alone: not to be added again for each token

  void keep(const torch::Tensor& rows) override {
    length = length.index_select(0, rows);
    for (auto& [keys, values] : layers)
      for (torch::Tensor* of_rows : {&keys, &values}) *of_rows = of_rows->index_select(0, rows);
  }
};

Transformer::Transformer(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                         ModelUse use)
    : Model(spec, vocabulary, precision, device, use) {
  if (spec.heads < 1 || spec.hidden_size % spec.heads != 0)
    throw UsageError(
        fmt::format("model.heads = {} does not divide model.hidden_size = {}.", spec.heads, spec.hidden_size));
  head_size_ = spec.hidden_size / spec.heads;
  rotary_ = static_cast<int64_t>(static_cast<double>(head_size_) * spec.rotary_share);
  embedding_ = add_embedding("gpt_neox.embed_in.weight", {vocabulary, spec.hidden_size}, normal(weight_deviation));
  for (int l = 0; l < spec.layers; ++l) layers_.push_back(add_layer(fmt::format("gpt_neox.layers.{}.", l)));
  final_norm_ = add_norm("gpt_neox.final_layer_norm");
  unembedding_ = spec.tied_embeddings
                     ? embedding_
                     : add_matrix("embed_out.weight", {vocabulary, spec.hidden_size}, normal(weight_deviation));
}

Transformer::Layer Transformer::add_layer(const std::string& prefix) {
  const int64_t d = spec_.hidden_size, m = spec_.mlp_size();
  Layer layer;
  layer.attention_norm = add_norm(prefix + "input_layernorm");
  layer.mlp_norm = add_norm(prefix + "post_attention_layernorm");
  const std::string qkv = prefix + "attention.query_key_value";
  layer.qkv = {add_matrix(qkv + ".weight", {3 * d, d}, normal(weight_deviation)),
               add_matrix(qkv + ".bias", {3 * d}, constant(0))};
  layer.attention_out = add_affine(prefix + "attention.dense", d, d);
  layer.mlp_in = add_affine(prefix + "mlp.dense_h_to_4h", m, d);
  layer.mlp_out = add_affine(prefix + "mlp.dense_4h_to_h", d, m);
  return layer;
}

Transformer::Affine Transformer::add_affine(const std::string& name, int64_t outputs, int64_t inputs) {
  const torch::Tensor weight = add_matrix(name + ".weight", {outputs, inputs}, normal(weight_deviation));
  return {weight, add_parameter(name + ".bias", {outputs}, constant(0))};
}

NormWeights Transformer::add_norm(const std::string& name) {
  const torch::Tensor weight = add_parameter(name + ".weight", {spec_.hidden_size}, constant(1));
  return {weight, add_parameter(name + ".bias", {spec_.hidden_size}, constant(0))};
}

torch::Tensor Transformer::forward(const torch::Tensor& tokens, const ForwardContext& context) {
  const AttentionPlaces& places = row_places(tokens.size(1));
  const auto attend = [&](const torch::Tensor& qkv, size_t l) {
    return causal_attention(qkv, places, layers_[l].qkv.bias);
  };
  return logits(hidden(tokens, context, attend));
}

torch::Tensor Transformer::prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  auto& own = dynamic_cast<Cache&>(cache);
  AttentionPlaces places = own.places;
  for (torch::Tensor* angles : {&places.cos, &places.sin})
    if (angles->defined()) *angles = angles->narrow(0, 0, tokens.size(1));
  own.length.copy_(lengths);
  const auto attend = [&](const torch::Tensor& qkv, size_t l) {
    keep_prompts(qkv, places, own.layers[l]);
    return causal_attention(qkv, places);
  };
  return logits(hidden(tokens, {.wanted = last_places(tokens, lengths)}, attend, own.branch_biases));
}

torch::Tensor Transformer::step(const torch::Tensor& tokens, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  auto& own = dynamic_cast<Cache&>(cache);
  const auto attend = [&](const torch::Tensor& qkv, size_t l) {
    return attention_step(qkv.squeeze(1), own.places, own.length, own.layers[l]).unsqueeze(1);
  };
  const torch::Tensor x = hidden(tokens.unsqueeze(1), {}, attend, own.branch_biases);
  own.length.add_(1);
  return logits(x.squeeze(1));
}

std::unique_ptr<ModelCache> Transformer::new_cache(int64_t batch, int64_t max_tokens) {
  torch::NoGradGuard no_grad;
  auto cache = std::make_unique<Cache>();
  const auto options = torch::TensorOptions().dtype(compute_dtype()).device(device());
  cache->places = places_of(max_tokens);
  cache->length = torch::zeros({batch}, options.dtype(torch::kInt32));
  for (const Layer& layer : layers_) {
    cache->layers.push_back(AttentionCache::make(batch, spec_.heads, max_tokens, head_size_, options));
    cache->branch_biases.push_back(branch_bias(layer));
  }
  return cache;
}

const AttentionPlaces& Transformer::row_places(int64_t time) {
  const auto found = row_places_.find(time);
  return found != row_places_.end() ? found->second : row_places_.emplace(time, places_of(time)).first->second;
}

AttentionPlaces Transformer::places_of(int64_t time) const {
  AttentionPlaces places;
  const torch::Tensor angle = angles(time);
  if (angle.defined()) {
    places.cos = angle.cos().to(master_dtype());
    places.sin = angle.sin().to(master_dtype());
  }
  if (spec_.architecture == Architecture::alibi)
    places.slope = torch::tensor(alibi_slopes(spec_.heads), torch::kFloat64).to(device(), master_dtype());
  if (spec_.architecture == Architecture::hard_alibi) places.window = attention_windows(spec_, device());
  if (spec_.architecture != Architecture::rope && spec_.score_quirk == ScoreQuirk::published)
    places.twice_from = rotary_;
  return places;
}

// (T, R/2), in float64; undefined where nothing is rotated.
torch::Tensor Transformer::angles(int64_t time) const {
  if (spec_.architecture != Architecture::rope || rotary_ == 0) return {};
  const auto options = torch::TensorOptions().dtype(torch::kFloat64).device(device());
  const torch::Tensor frequency =
      torch::pow(spec_.rotary_base, torch::arange(0, rotary_, 2, options) / static_cast<double>(rotary_)).reciprocal();
  return torch::outer(torch::arange(time, options), frequency);
}

torch::Tensor Transformer::hidden(const torch::Tensor& tokens, const ForwardContext& context, const Attend& attend,
                                  const std::vector<torch::Tensor>& branch_biases) const {
  const auto norm = [&](const ResidualInputs& in, size_t l) {
    return residual_norm(in, norms_before(l), spec_.norm_eps, compute_dtype());
  };
  const bool begins = begins_by_token(embedding_, tokens);
  Residual x = norm({first_rows(embedding_, tokens), {}, {}}, 0);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    const bool by_token = begins && l == 0;  // x has a row for each token of the vocabulary
    const auto of_places = [&](const torch::Tensor& rows, const torch::Tensor& places) {
      return by_token ? embed(rows, places) : rows;
    };
    watch(context, x.stream, layer.qkv.weight);
    // Both branches begin with a product of what the norms made, and end with one.
    const bool at_once = spec_.parallel_residual && !by_token && !context.wanted.defined();
    torch::Tensor qkv, inner;  // the latter of the MLP
    if (at_once) {
      std::tie(qkv, inner) = linear_both({x.norms[0], layer.qkv.weight, layer.qkv.bias},
                                         {x.norms[1], layer.mlp_in.weight, {}, layer.mlp_in.bias});
    } else {
      qkv = of_places(linear(x.norms[0], layer.qkv.weight, layer.qkv.bias), tokens);
    }
    torch::Tensor mixed = attend(heads_of(qkv), l), stream = of_places(x.stream, tokens), read = tokens;
    if (context.wanted.defined() && l + 1 == layers_.size()) {
      for (torch::Tensor* rows : {&mixed, &stream}) *rows = take_rows(*rows, context.wanted);
      if (by_token)
        read = tokens.flatten().index_select(0, context.wanted);
      else
        x.norms.back() = take_rows(x.norms.back(), context.wanted);
    }
    if (spec_.parallel_residual) {
      torch::Tensor attended, fed;
      if (at_once) {
        std::tie(attended, fed) = linear_both({mixed, layer.attention_out.weight}, {inner, layer.mlp_out.weight});
      } else {
        attended = linear(mixed, layer.attention_out.weight);
        fed = of_places(mlp(layer, x.norms[1]), read);
      }
      x = norm({stream, {attended, fed}, branch_biases.empty() ? branch_bias(layer) : branch_biases[l]}, l + 1);
    } else {
      const torch::Tensor attended = linear(mixed, layer.attention_out.weight);
      x = residual_norm({stream, {attended}, layer.attention_out.bias}, {layer.mlp_norm}, spec_.norm_eps,
                        compute_dtype());
      x = norm({x.stream, {mlp(layer, x.norms[0])}, layer.mlp_out.bias}, l + 1);
    }
  }
  return x.norms[0];
}

std::vector<NormWeights> Transformer::norms_before(size_t l) const {
  if (l == layers_.size()) return {final_norm_};
  if (!spec_.parallel_residual) return {layers_[l].attention_norm};
  return {layers_[l].attention_norm, layers_[l].mlp_norm};
}

torch::Tensor Transformer::heads_of(const torch::Tensor& qkv) const {
  return qkv.view({qkv.size(0), qkv.size(1), spec_.heads, 3, head_size_});
}

torch::Tensor Transformer::mlp(const Layer& layer, const torch::Tensor& x) const {
  return linear(linear_gelu(x, layer.mlp_in.weight, layer.mlp_in.bias), layer.mlp_out.weight);
}

torch::Tensor Transformer::logits(const torch::Tensor& x) const { return master(linear(x, unembedding_)); }

}  // namespace recite
