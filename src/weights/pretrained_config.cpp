#include "weights/pretrained_config.h"

#include <fmt/format.h>

#include "weights/durable_file.h"
#include "weights/json_fields.h"

namespace recite {

namespace {

using nlohmann::json;

// What the kernels take.
constexpr int widest_head = 256;
constexpr int most_states = 256;
constexpr int widest_convolution = 4;

std::optional<int64_t> end_of_text(const JsonFields& config) {
  if (!config.has("eos_token_id")) return std::nullopt;
  const json& id = config.json().at("eos_token_id");
  if (!id.is_number_integer() || id < 0) config.refuse("eos_token_id", "one token's number");
  return id.get<int64_t>();
}

// Of transformers 5, or of the rope_scaling of older versions; empty where there is neither.
JsonFields rotary_fields(const JsonFields& config) {
  const JsonFields rotary = config.object(config.has("rope_parameters") ? "rope_parameters" : "rope_scaling");
  for (const char* kind : {"rope_type", "type"}) rotary.expect(kind, "default");
  if (rotary.has("factor")) rotary.refuse("factor", "not there: positions are not scaled");
  return rotary;
}

void read_rotary(const JsonFields& config, ModelSpec& spec) {
  const JsonFields rotary = rotary_fields(config);
  spec.rotary_share = rotary.get("partial_rotary_factor", config.get("rotary_pct", 0.25));
  spec.rotary_base = rotary.get("rope_theta", config.get("rotary_emb_base", 10000.0));
  const int head = spec.hidden_size / spec.heads;
  const auto rotated = static_cast<int>(head * spec.rotary_share);
  if (spec.rotary_share <= 1 && rotated >= 1 && (rotated + 1) / 2 * 2 <= head) return;
  const std::string allowed = fmt::format("pairs of a head's {} dimensions", head);
  if (rotary.has("partial_rotary_factor")) rotary.refuse("partial_rotary_factor", allowed);
  config.refuse("rotary_pct", allowed);
}

PretrainedConfig gpt_neox(const JsonFields& config) {
  PretrainedConfig out;
  ModelSpec& spec = out.spec;
  spec.architecture = Architecture::rope;
  spec.hidden_size = config.get<int>("hidden_size");
  spec.layers = config.get<int>("num_hidden_layers");
  spec.heads = config.get<int>("num_attention_heads");
  if (spec.hidden_size % spec.heads != 0)
    config.refuse("num_attention_heads", fmt::format("divisors of hidden_size = {}", spec.hidden_size));
  if (spec.hidden_size / spec.heads > widest_head)
    config.refuse("num_attention_heads", fmt::format("at least {}, for heads of at most {} dimensions",
                                                     (spec.hidden_size + widest_head - 1) / widest_head, widest_head));
  spec.intermediate_size = config.get("intermediate_size", 4 * spec.hidden_size);
  if (spec.intermediate_size == 4 * spec.hidden_size) spec.intermediate_size = 0;
  read_rotary(config, spec);
  spec.parallel_residual = config.get("use_parallel_residual", true);
  spec.tied_embeddings = config.get("tie_word_embeddings", false);
  spec.norm_eps = config.get("layer_norm_eps", 1e-5);
  config.expect("hidden_act", "gelu");
  config.expect("attention_bias", true);
  out.vocabulary = config.get<int64_t>("vocab_size");
  out.max_positions = config.get<int64_t>("max_position_embeddings", 2048);
  return out;
}

// dt_rank, or time_step_rank: a number or "auto". 0 where it is what recite takes by itself.
int delta_rank(const JsonFields& config, const char* key, const ModelSpec& spec) {
  if (!config.has(key) || config.json().at(key) == "auto") return 0;
  const int rank = config.get<int>(key);
  return rank == spec.delta_rank() ? 0 : rank;
}

// The keys in which the two layouts of Mamba say the same.
struct MambaKeys {
  const char *states, *convolution, *rank;
};

void read_mamba(const JsonFields& config, const MambaKeys& keys, ModelSpec& spec) {
  spec.state_dim = config.get(keys.states, 16);
  if (spec.state_dim > most_states) config.refuse(keys.states, fmt::format("1..{}", most_states));
  spec.conv_width = config.get(keys.convolution, 4);
  if (spec.conv_width > widest_convolution) config.refuse(keys.convolution, fmt::format("1..{}", widest_convolution));
  spec.expand = config.get("expand", 2);
  spec.dt_rank = delta_rank(config, keys.rank, spec);
}

// residual_in_fp32 is read over: the residual is kept in float32 whatever it says, and false means no more than that
// a float16 model's would be rounded.
PretrainedConfig mamba(const JsonFields& config) {
  PretrainedConfig out;
  ModelSpec& spec = out.spec;
  spec.architecture = Architecture::mamba;
  spec.hidden_size = config.get<int>("hidden_size");
  spec.layers = config.get<int>("num_hidden_layers");
  read_mamba(config, {"state_size", "conv_kernel", "time_step_rank"}, spec);
  spec.norm_eps = config.get("layer_norm_epsilon", 1e-5);
  config.expect("intermediate_size", spec.inner_size());
  config.expect("hidden_act", "silu");
  config.expect("use_bias", false);
  config.expect("use_conv_bias", true);
  config.expect("tie_word_embeddings", true);
  config.expect("rms_norm", true);
  out.vocabulary = config.get<int64_t>("vocab_size");
  spec.vocabulary_multiple = 1;
  return out;
}

PretrainedConfig state_spaces(const JsonFields& config) {
  PretrainedConfig out;
  ModelSpec& spec = out.spec;
  spec.architecture = Architecture::mamba;
  spec.hidden_size = config.get<int>("d_model");
  spec.layers = config.get<int>("n_layer");
  const JsonFields layer = config.object("ssm_cfg");
  layer.expect("layer", "Mamba1");
  layer.expect("bias", false);
  layer.expect("conv_bias", true);
  read_mamba(layer, {"d_state", "d_conv", "dt_rank"}, spec);
  config.expect("rms_norm", true);
  config.expect("tie_embeddings", true);
  config.expect("d_intermediate", 0);
  config.expect("attn_layer_idx", json::array());
  const auto multiple = config.get<int64_t>("pad_vocab_size_multiple", 8);
  out.vocabulary = (config.get<int64_t>("vocab_size") + multiple - 1) / multiple * multiple;
  spec.vocabulary_multiple = 1;
  return out;
}

PretrainedConfig own(const JsonFields& config) {
  for (const char* size : {"hidden_size", "layers", "heads", "state_dim"}) config.get<int>(size);
  PretrainedConfig out;
  out.vocabulary = config.get<int64_t>("vocab_size");
  try {
    out.spec = config.json().get<ModelSpec>();
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", config.where(), error.what()));
  }
  return out;
}

PretrainedConfig understood(const JsonFields& config) {
  if (!config.has("model_type") && config.has("d_model")) return state_spaces(config);
  const auto type = config.get<std::string>("model_type");
  if (type == "gpt_neox") return gpt_neox(config);
  if (type == "mamba") return mamba(config);
  if (type == "recite") return own(config);
  config.refuse("model_type", "gpt_neox, mamba, recite, or none in the layout of state-spaces/mamba-*");
}

}  // namespace

PretrainedConfig read_pretrained_config(const std::string& path) {
  const JsonFields config(path, json::parse(read_text(path), nullptr, /*allow_exceptions=*/false));
  PretrainedConfig out = understood(config);
  out.end_of_text = end_of_text(config);
  return out;
}

}  // namespace recite
