#include "models/transformer.h"

#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "models/attention_bias.h"
#include "ops/bias_gelu.h"
#include "ops/take_rows.h"

namespace recite {

namespace {

constexpr double weight_deviation = 0.02;

}  // namespace

struct Transformer::Cache : ModelCache {
  int64_t length = 0;
  std::vector<LayerCache> layers;
};

Transformer::Transformer(const ModelSpec& spec, int64_t vocabulary, Precision precision, torch::Device device,
                         ModelUse use)
    : Model(spec, vocabulary, precision, device, use) {
  if (spec.heads < 1 || spec.hidden_size % spec.heads != 0)
    throw UsageError(
        fmt::format("model.heads = {} does not divide model.hidden_size = {}.", spec.heads, spec.hidden_size));
  head_size_ = spec.hidden_size / spec.heads;
  rotary_ = static_cast<int64_t>(static_cast<double>(head_size_) * spec.rotary_share);
  embedding_ = add_matrix("gpt_neox.embed_in.weight", {vocabulary, spec.hidden_size}, normal(weight_deviation));
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
  return logits(hidden(tokens, context, start_row(tokens.size(1)), nullptr));
}

torch::Tensor Transformer::read(const torch::Tensor& tokens, ModelCache& cache) {
  torch::NoGradGuard no_grad;
  auto& own = dynamic_cast<Cache&>(cache);
  const int64_t time = tokens.size(1);
  const torch::Tensor x = hidden(tokens, {}, start_pass(own.length, time), &own);
  own.length += time;
  return logits(x.select(1, time - 1));
}

std::unique_ptr<ModelCache> Transformer::new_cache(int64_t batch, int64_t max_tokens) {
  auto cache = std::make_unique<Cache>();
  const auto options = torch::TensorOptions().dtype(compute_dtype()).device(device());
  for (size_t l = 0; l < layers_.size(); ++l) {
    const auto made = [&] { return torch::empty({batch, spec_.heads, max_tokens, head_size_}, options); };
    cache->layers.push_back({made(), made()});
  }
  return cache;
}

Transformer::Pass Transformer::start_pass(int64_t first, int64_t time) const {
  Pass pass{first, {}, {}, bias_for(first, time), {}};
  const torch::Tensor half = angles(first, time);
  if (half.defined()) {
    const torch::Tensor angle = torch::cat({half, half}, 1);
    pass.cos = compute(angle.cos());
    pass.sin = compute(angle.sin());
  }
  return pass;
}

// A pass over whole rows, without a cache: one operation does all of their attention.
Transformer::Pass Transformer::start_row(int64_t time) {
  if (row_time_ != time) {
    row_places_ = places_of(time);
    row_time_ = time;
  }
  return {0, {}, {}, {}, row_places_};
}

AttentionPlaces Transformer::places_of(int64_t time) const {
  AttentionPlaces places;
  const torch::Tensor angle = angles(0, time);
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
torch::Tensor Transformer::angles(int64_t first, int64_t time) const {
  if (spec_.architecture != Architecture::rope || rotary_ == 0) return {};
  const auto options = torch::TensorOptions().dtype(torch::kFloat64).device(device());
  const torch::Tensor frequency =
      torch::pow(spec_.rotary_base, torch::arange(0, rotary_, 2, options) / static_cast<double>(rotary_)).reciprocal();
  return torch::outer(torch::arange(first, first + time, options), frequency);
}

torch::Tensor Transformer::bias_for(int64_t first, int64_t time) const {
  const bool positional = spec_.architecture == Architecture::alibi || spec_.architecture == Architecture::hard_alibi;
  const bool plain_causal = first == 0 || time == 1;
  if (!positional && plain_causal) return {};
  const auto options = torch::TensorOptions().dtype(compute_dtype()).device(device());
  return attention_bias(spec_, first, time, first + time, options);
}

torch::Tensor Transformer::hidden(const torch::Tensor& tokens, const ForwardContext& context, const Pass& pass,
                                  Cache* cache) {
  const auto norm = [&](const ResidualInputs& in, size_t l) {
    return residual_norm(in, norms_before(l), spec_.norm_eps, compute_dtype());
  };
  Residual x = norm({master(torch::embedding(embedding_, tokens)), {}, {}}, 0);
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    watch(context, x.stream, layer.qkv.weight);
    torch::Tensor mixed = attention(layer, x.norms[0], pass, cache ? &cache->layers[l] : nullptr);
    if (context.wanted.defined() && l + 1 == layers_.size())
      for (torch::Tensor* rows : {&mixed, &x.norms.back(), &x.stream}) *rows = take_rows(*rows, context.wanted);
    const torch::Tensor attended = linear(mixed, layer.attention_out.weight);
    if (spec_.parallel_residual) {
      const torch::Tensor bias = layer.attention_out.bias + layer.mlp_out.bias;
      x = norm({x.stream, {attended, mlp(layer, x.norms[1])}, bias}, l + 1);
    } else {
      x = residual_norm({x.stream, {attended}, layer.attention_out.bias}, {layer.mlp_norm}, spec_.norm_eps,
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

torch::Tensor Transformer::attention(const Layer& layer, const torch::Tensor& x, const Pass& pass,
                                     LayerCache* cache) const {
  const int64_t batch = x.size(0), time = x.size(1);
  // Each head's outputs lie together: its query, its key, its value.
  const torch::Tensor qkv = linear(x, layer.qkv.weight, layer.qkv.bias).view({batch, time, spec_.heads, 3, head_size_});
  if (pass.places) return causal_attention(qkv, *pass.places);
  const std::vector<torch::Tensor> parts = qkv.transpose(1, 2).unbind(3);  // each (B, H, T, head)
  torch::Tensor q = parts[0], k = parts[1], v = parts[2];
  if (spec_.architecture == Architecture::rope) {
    q = rotate(q, pass);
    k = rotate(k, pass);
  } else if (spec_.score_quirk == ScoreQuirk::published) {
    q = count_twice(q);
    k = count_twice(k);
  }
  if (cache) {
    cache->keys.narrow(2, pass.first, time).copy_(k);
    cache->values.narrow(2, pass.first, time).copy_(v);
    k = cache->keys.narrow(2, 0, pass.first + time);
    v = cache->values.narrow(2, 0, pass.first + time);
  }
  std::optional<torch::Tensor> bias;
  if (pass.bias.defined()) bias = pass.bias.expand({batch, spec_.heads, q.size(2), k.size(2)});
  const bool causal = !bias && time > 1;
  const torch::Tensor mixed = at::scaled_dot_product_attention(q, k, v, bias, /*dropout_p=*/0.0, causal);
  return mixed.transpose(1, 2).reshape({batch, time, spec_.hidden_size});
}

torch::Tensor Transformer::mlp(const Layer& layer, const torch::Tensor& x) const {
  return linear(bias_gelu(linear(x, layer.mlp_in.weight), layer.mlp_in.bias), layer.mlp_out.weight);
}

torch::Tensor Transformer::logits(const torch::Tensor& x) const { return master(linear(x, unembedding_)); }

// Rotary embedding (Su et al., arXiv 2104.09864) of the first dimensions of each head: dimension i turns with i + half.
torch::Tensor Transformer::rotate(const torch::Tensor& x, const Pass& pass) const {
  if (!pass.cos.defined()) return x;
  const int64_t turning = pass.cos.size(1), half = turning / 2;
  const torch::Tensor part = x.narrow(3, 0, turning);
  const torch::Tensor turned = torch::cat({-part.narrow(3, half, half), part.narrow(3, 0, half)}, 3);
  return torch::cat({part * pass.cos + turned * pass.sin, x.narrow(3, turning, head_size_ - turning)}, 3);
}

// Scales the dimensions from rotary_ on by sqrt(2), so that a product of two such vectors counts them twice: the
// published code's scores are (q.k + q[16:].k[16:]) / sqrt(head).
torch::Tensor Transformer::count_twice(const torch::Tensor& x) const {
  return torch::cat({x.narrow(3, 0, rotary_), x.narrow(3, rotary_, head_size_ - rotary_) * std::sqrt(2.0)}, 3);
}

}  // namespace recite
