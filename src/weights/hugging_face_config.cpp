#include "weights/hugging_face_config.h"

#include <fmt/format.h>

#include <string_view>

#include "base/error.h"

namespace recite {

namespace {

using nlohmann::json;

int64_t extent(const Model& model, std::string_view name, int64_t dimension) {
  for (const Parameter& parameter : model.parameters()) {
    if (parameter.name == name) return parameter.tensor.size(dimension);
  }
  throw Error(fmt::format("the {} model has no weight '{}'", name_of(model.spec().architecture), name));
}

json gpt_neox_config(const Model& model) {
  const ModelSpec& spec = model.spec();
  return {{"model_type", "gpt_neox"},
          {"architectures", {"GPTNeoXForCausalLM"}},
          {"vocab_size", extent(model, "gpt_neox.embed_in.weight", 0)},
          {"hidden_size", spec.hidden_size},
          {"num_hidden_layers", spec.layers},
          {"num_attention_heads", spec.heads},
          {"intermediate_size", extent(model, "gpt_neox.layers.0.mlp.dense_h_to_4h.weight", 0)},
          {"hidden_act", "gelu"},
          {"rotary_pct", spec.rotary_share},
          {"rotary_emb_base", spec.rotary_base},
          {"max_position_embeddings", 2048},
          {"attention_bias", true},
          {"attention_dropout", 0.0},
          {"hidden_dropout", 0.0},
          {"use_parallel_residual", spec.parallel_residual},
          {"layer_norm_eps", spec.norm_eps},
          {"initializer_range", 0.02},
          {"tie_word_embeddings", spec.tied_embeddings},
          {"use_cache", true}};
}

json mamba_config(const Model& model) {
  const ModelSpec& spec = model.spec();
  const int64_t inner = extent(model, "backbone.layers.0.mixer.A_log", 0);
  return {{"model_type", "mamba"},
          {"architectures", {"MambaForCausalLM"}},
          {"vocab_size", extent(model, "backbone.embeddings.weight", 0)},
          {"hidden_size", spec.hidden_size},
          {"num_hidden_layers", spec.layers},
          {"state_size", extent(model, "backbone.layers.0.mixer.A_log", 1)},
          {"intermediate_size", inner},
          {"expand", inner / spec.hidden_size},
          {"conv_kernel", extent(model, "backbone.layers.0.mixer.conv1d.weight", 2)},
          {"time_step_rank", extent(model, "backbone.layers.0.mixer.dt_proj.weight", 1)},
          {"time_step_min", 1e-3},
          {"time_step_max", 0.1},
          {"time_step_floor", 1e-4},
          {"time_step_scale", 1.0},
          {"hidden_act", "silu"},
          {"use_bias", false},
          {"use_conv_bias", true},
          {"layer_norm_epsilon", spec.norm_eps},
          {"initializer_range", 0.02},
          {"residual_in_fp32", true},
          // A rule for new models, that transformers would apply to the weights it has just loaded.
          {"rescale_prenorm_residual", false},
          {"tie_word_embeddings", true},
          {"use_cache", true}};
}

json own_config(const Model& model) {
  json config = model.spec();
  config["model_type"] = "recite";
  config["vocab_size"] = model.vocabulary();
  return config;
}

json architecture_config(const Model& model) {
  switch (model.spec().architecture) {
    case Architecture::rope:
      return gpt_neox_config(model);
    case Architecture::mamba:
      return mamba_config(model);
    default:
      return own_config(model);
  }
}

}  // namespace

json hugging_face_config(const Model& model, const Alphabet& alphabet) {
  json config = architecture_config(model);
  config["torch_dtype"] = model.parameters().front().tensor.scalar_type() == torch::kFloat64 ? "float64" : "float32";
  config["bos_token_id"] = alphabet.begin();
  config["eos_token_id"] = alphabet.end();
  config["pad_token_id"] = alphabet.padding();
  return config;
}

}  // namespace recite
