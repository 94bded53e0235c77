#include "tests/models/reference.h"

#include <cmath>
#include <limits>
#include <map>

namespace recite::reference {

namespace {

using torch::Tensor;

class Weights {
 public:
  explicit Weights(const Model& model) {
    for (const Parameter& parameter : model.parameters()) by_name_[parameter.name] = parameter.tensor;
  }
  Tensor operator[](const std::string& name) const { return by_name_.at(name).to(torch::kFloat64); }

 private:
  std::map<std::string, Tensor> by_name_;
};

Tensor affine(const Weights& w, const std::string& name, const Tensor& x) {
  return x.matmul(w[name + ".weight"].t()) + w[name + ".bias"];
}

Tensor layer_norm(const ModelSpec& spec, const Weights& w, const std::string& name, const Tensor& x) {
  const Tensor centred = x - x.mean(-1, true);
  return centred / (centred.pow(2).mean(-1, true) + spec.norm_eps).sqrt() * w[name + ".weight"] + w[name + ".bias"];
}

Tensor rms_norm(const ModelSpec& spec, const Tensor& weight, const Tensor& x) {
  return x / (x.pow(2).mean(-1, true) + spec.norm_eps).sqrt() * weight;
}

// MPT's rule, as the slopes are listed for 6 heads: those of 8 heads at 1, 3, 5, 7, then 0, 2.
double slope(int head, int heads) {
  int power = 1;
  while (power < heads) power *= 2;
  if (power == heads) return std::pow(2.0, -8.0 * (head + 1) / heads);
  const int index = head < power / 2 ? 2 * head + 1 : 2 * (head - power / 2);
  return std::pow(2.0, -8.0 * (index + 1) / power);
}

double bias(const ModelSpec& spec, int head, int64_t query, int64_t key) {
  constexpr double hidden = -std::numeric_limits<double>::infinity();
  if (key > query) return hidden;
  if (spec.architecture == Architecture::alibi) return -slope(head, spec.heads) * static_cast<double>(query - key);
  if (spec.architecture == Architecture::hard_alibi && head < spec.num_masked_heads && key < query - head)
    return hidden;
  return 0;
}

Tensor rotated(const Tensor& x, int64_t rotary, double base) {
  const int64_t half = (rotary + 1) / 2;
  Tensor out = x.clone();
  for (int64_t t = 0; t < x.size(0); ++t)
    for (int64_t i = 0; i < half; ++i) {
      const double angle =
          static_cast<double>(t) * std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
      const Tensor a = x[t][i], b = x[t][i + half];
      out[t][i] = a * std::cos(angle) - b * std::sin(angle);
      out[t][i + half] = b * std::cos(angle) + a * std::sin(angle);
    }
  return out;
}

Tensor head_output(const ModelSpec& spec, int head, Tensor q, Tensor k, const Tensor& v) {
  const int64_t time = q.size(0), size = q.size(1);
  const auto rotary = static_cast<int64_t>(static_cast<double>(size) * spec.rotary_share);
  if (spec.architecture == Architecture::rope) {
    q = rotated(q, rotary, spec.rotary_base);
    k = rotated(k, rotary, spec.rotary_base);
  }
  Tensor scores = q.matmul(k.t());
  if (spec.architecture != Architecture::rope && spec.score_quirk == ScoreQuirk::published)
    scores = scores + q.slice(1, rotary).matmul(k.slice(1, rotary).t());
  scores = scores / std::sqrt(static_cast<double>(size));
  const Tensor biases = torch::zeros({time, time}, torch::kFloat64);
  auto entry = biases.accessor<double, 2>();
  for (int64_t i = 0; i < time; ++i)
    for (int64_t j = 0; j < time; ++j) entry[i][j] = bias(spec, head, i, j);
  return torch::softmax(scores + biases, 1).matmul(v);
}

Tensor transformer(const ModelSpec& spec, const Weights& w, const Tensor& tokens) {
  const int64_t size = spec.hidden_size / spec.heads;
  Tensor x = w["gpt_neox.embed_in.weight"].index_select(0, tokens);
  for (int l = 0; l < spec.layers; ++l) {
    const std::string layer = "gpt_neox.layers." + std::to_string(l) + ".";
    const Tensor qkv =
        affine(w, layer + "attention.query_key_value", layer_norm(spec, w, layer + "input_layernorm", x));
    std::vector<Tensor> heads;
    for (int h = 0; h < spec.heads; ++h) {
      const auto part = [&](int64_t which) { return qkv.narrow(1, (3 * h + which) * size, size); };
      heads.push_back(head_output(spec, h, part(0), part(1), part(2)));
    }
    const Tensor attention = affine(w, layer + "attention.dense", torch::cat(heads, 1));
    const Tensor read = spec.parallel_residual ? x : x + attention;
    const Tensor inner =
        affine(w, layer + "mlp.dense_h_to_4h", layer_norm(spec, w, layer + "post_attention_layernorm", read));
    const Tensor gelu = inner * (1 + torch::erf(inner / std::sqrt(2.0))) / 2;
    x = x + attention + affine(w, layer + "mlp.dense_4h_to_h", gelu);
  }
  const Tensor out = w[spec.tied_embeddings ? "gpt_neox.embed_in.weight" : "embed_out.weight"];
  return layer_norm(spec, w, "gpt_neox.final_layer_norm", x).matmul(out.t());
}

Tensor mamba_mixer(const ModelSpec& spec, const Weights& w, const std::string& name, const Tensor& x) {
  const int64_t time = x.size(0), E = spec.expand * spec.hidden_size, N = spec.state_dim, W = spec.conv_width;
  const int64_t rank = spec.dt_rank > 0 ? spec.dt_rank : (spec.hidden_size + 15) / 16;
  const Tensor xz = x.matmul(w[name + "in_proj.weight"].t());
  const Tensor input = xz.narrow(1, 0, E), z = xz.narrow(1, E, E);
  const Tensor filter = w[name + "conv1d.weight"], A = -torch::exp(w[name + "A_log"]);
  Tensor state = torch::zeros({E, N}, torch::kFloat64);
  std::vector<Tensor> outputs;
  for (int64_t t = 0; t < time; ++t) {
    Tensor u = w[name + "conv1d.bias"];
    for (int64_t k = 0; k < W; ++k)
      if (t + 1 - W + k >= 0) u = u + filter.select(1, 0).select(1, k) * input[t + 1 - W + k];
    u = u * torch::sigmoid(u);
    const Tensor projected = w[name + "x_proj.weight"].matmul(u);
    const Tensor step = w[name + "dt_proj.weight"].matmul(projected.narrow(0, 0, rank)) + w[name + "dt_proj.bias"];
    const Tensor delta = torch::log1p(torch::exp(step));
    const Tensor B = projected.narrow(0, rank, N), C = projected.narrow(0, rank + N, N);
    state = torch::exp(torch::outer(delta, torch::ones(N, torch::kFloat64)) * A) * state + torch::outer(delta * u, B);
    const Tensor y = state.matmul(C) + w[name + "D"] * u;
    outputs.push_back(y * z[t] * torch::sigmoid(z[t]));
  }
  return torch::stack(outputs).matmul(w[name + "out_proj.weight"].t());
}

Tensor mamba(const ModelSpec& spec, const Weights& w, const Tensor& tokens) {
  const Tensor embedding = w["backbone.embeddings.weight"];
  Tensor x = embedding.index_select(0, tokens);
  for (int l = 0; l < spec.layers; ++l) {
    const std::string layer = "backbone.layers." + std::to_string(l) + ".";
    x = x + mamba_mixer(spec, w, layer + "mixer.", rms_norm(spec, w[layer + "norm.weight"], x));
  }
  return rms_norm(spec, w["backbone.norm_f.weight"], x).matmul(embedding.t());
}

Tensor lstm(const ModelSpec& spec, const Weights& w, const Tensor& tokens, const std::vector<Tensor>& dropout) {
  Tensor x = w["embedding.weight"].index_select(0, tokens);
  for (int l = 0; l < spec.layers; ++l) {
    const std::string layer = std::to_string(l);
    if (l > 0 && !dropout.empty()) x = x * dropout[l - 1];
    Tensor h = torch::zeros(spec.hidden_size, torch::kFloat64), c = h;
    std::vector<Tensor> outputs;
    for (int64_t t = 0; t < tokens.size(0); ++t) {
      const Tensor gates = w["lstm.weight_ih_l" + layer].matmul(x[t]) + w["lstm.bias_ih_l" + layer] +
                           w["lstm.weight_hh_l" + layer].matmul(h) + w["lstm.bias_hh_l" + layer];
      const std::vector<Tensor> ifgo = gates.chunk(4);
      c = torch::sigmoid(ifgo[1]) * c + torch::sigmoid(ifgo[0]) * torch::tanh(ifgo[2]);
      h = torch::sigmoid(ifgo[3]) * torch::tanh(c);
      outputs.push_back(h);
    }
    x = torch::stack(outputs);
  }
  return affine(w, "head", x);
}

ModelSpec transformer_spec(Architecture architecture, int heads, int head_size, int masked = 0) {
  ModelSpec spec;
  spec.architecture = architecture;
  spec.heads = heads;
  spec.hidden_size = heads * head_size;
  spec.layers = 2;
  spec.num_masked_heads = masked;
  return spec;
}

ModelSpec recurrent_spec(Architecture architecture, int hidden_size, int layers, int state_dim = 0) {
  ModelSpec spec;
  spec.architecture = architecture;
  spec.hidden_size = hidden_size;
  spec.layers = layers;
  spec.state_dim = state_dim;
  return spec;
}

ModelSpec pretrained_transformer() {
  ModelSpec spec = transformer_spec(Architecture::rope, 3, 12);
  spec.intermediate_size = 31;
  spec.rotary_share = 0.5;
  spec.rotary_base = 500;
  spec.norm_eps = 0.01;
  return spec;
}

ModelSpec sequential_transformer() {
  ModelSpec spec = pretrained_transformer();
  spec.rotary_share = 1;
  spec.parallel_residual = false;
  spec.tied_embeddings = true;
  return spec;
}

ModelSpec pretrained_mamba() {
  ModelSpec spec = recurrent_spec(Architecture::mamba, 10, 2, 3);
  spec.norm_eps = 0.01;
  spec.expand = 3;
  spec.conv_width = 2;
  spec.dt_rank = 4;
  spec.vocabulary_multiple = 1;
  return spec;
}

ModelSpec of_one_layer(ModelSpec spec) {
  spec.layers = 1;
  return spec;
}

ModelSpec with_quirk(ModelSpec spec) {
  spec.score_quirk = ScoreQuirk::published;
  return spec;
}

}  // namespace

Tensor logits(const Model& model, const Tensor& tokens, const std::vector<Tensor>& dropout) {
  const Weights weights(model);
  switch (model.spec().architecture) {
    case Architecture::mamba:
      return mamba(model.spec(), weights, tokens);
    case Architecture::lstm:
      return lstm(model.spec(), weights, tokens, dropout);
    default:
      return transformer(model.spec(), weights, tokens);
  }
}

std::unique_ptr<Model> random_model(const ModelSpec& spec, int64_t vocabulary, Precision precision) {
  auto model = make_model(spec, vocabulary, precision, torch::kCPU, 3);
  torch::manual_seed(11);
  torch::NoGradGuard no_grad;
  for (const Parameter& parameter : model->parameters())
    parameter.tensor.add_(0.2 * torch::randn_like(parameter.tensor));
  return model;
}

std::vector<NamedSpec> specs() {
  using enum Architecture;
  return {{"rope", transformer_spec(rope, 4, 16)},
          {"rope_of_one_layer", of_one_layer(transformer_spec(rope, 2, 8))},
          {"rope_odd_head", transformer_spec(rope, 3, 21)},
          {"rope_pretrained", pretrained_transformer()},
          {"rope_sequential", sequential_transformer()},
          {"nope", transformer_spec(nope, 4, 8)},
          {"nope_quirk", with_quirk(transformer_spec(nope, 4, 8))},
          {"alibi", transformer_spec(alibi, 4, 8)},
          {"alibi_six_heads", transformer_spec(alibi, 6, 8)},
          {"alibi_five_heads_quirk", with_quirk(transformer_spec(alibi, 5, 12))},
          {"hard_alibi", transformer_spec(hard_alibi, 6, 8, 4)},
          {"hard_alibi_all_masked_quirk", with_quirk(transformer_spec(hard_alibi, 4, 8, 8))},
          {"mamba", recurrent_spec(mamba, 20, 2, 5)},
          {"mamba_wide_rank", recurrent_spec(mamba, 33, 1, 1)},
          {"mamba_pretrained", pretrained_mamba()},
          {"lstm", recurrent_spec(lstm, 9, 3)},
          {"lstm_one_layer", recurrent_spec(lstm, 16, 1)}};
}

double difference(const Tensor& actual, const Tensor& expected) {
  const Tensor a = actual.detach().to(torch::kFloat64), b = expected.detach().to(torch::kFloat64);
  return ((a - b).abs().max() / b.abs().max().clamp_min(1e-6)).item<double>();
}

}  // namespace recite::reference
