#include "weights/pretrained.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "weights/pretrained_config.h"
#include "weights/weight_files.h"

namespace recite {

namespace {

namespace fs = std::filesystem;

// A folder's weights beside the parameters that they are of.
struct Contents {
  PretrainedConfig config;
  std::vector<StoredTensor> weights;   // of each parameter, in the model's order
  std::optional<StoredTensor> output;  // a second copy of the embedding
};

bool is_mamba(const ModelSpec& spec) { return spec.architecture == Architecture::mamba; }
bool is_tied(const ModelSpec& spec) { return is_mamba(spec) || spec.tied_embeddings; }

// The name that our models have for it: state-spaces and versions of transformers differ in a few.
std::string usual_name(const std::string& name, const ModelSpec& spec) {
  if (is_mamba(spec)) return name == "backbone.embedding.weight" ? "backbone.embeddings.weight" : name;
  return name == "lm_head.weight" ? "embed_out.weight" : name;
}

const char* output_name(const ModelSpec& spec) { return is_mamba(spec) ? "lm_head.weight" : "embed_out.weight"; }

// Masks and tables that old versions of transformers saved with GPT-NeoX; they follow from the configuration.
bool is_buffer(const std::string& name) {
  return name.starts_with("gpt_neox.") &&
         (name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias") ||
          name.ends_with("rotary_emb.inv_freq"));
}

std::optional<Precision> precision_of(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32:
      return Precision::float32;
    case torch::kFloat16:
      return Precision::float16;
    case torch::kBFloat16:
      return Precision::bf16;
    case torch::kFloat64:
      return Precision::float64;
    default:
      return std::nullopt;
  }
}

[[noreturn]] void refuse(const StoredTensor& tensor, const std::string& what) {
  throw UsageError(fmt::format("{}: tensor '{}' {}", tensor.file->path(), tensor.name, what));
}

void check_like(const StoredTensor& stored, torch::IntArrayRef shape) {
  if (stored.shape != shape.vec())
    refuse(stored, fmt::format("has shape ({}); config.json makes it ({})", fmt::join(stored.shape, ", "),
                               fmt::join(shape, ", ")));
  if (!precision_of(stored.type))
    refuse(stored,
           fmt::format("is of type {}; weights are float32, float16, bfloat16 or float64", c10::toString(stored.type)));
}

std::map<std::string, StoredTensor> by_usual_name(std::vector<StoredTensor> tensors, const ModelSpec& spec) {
  std::map<std::string, StoredTensor> named;
  for (StoredTensor& tensor : tensors) {
    if (is_buffer(tensor.name)) continue;
    const auto [at, is_new] = named.emplace(usual_name(tensor.name, spec), tensor);
    if (!is_new) refuse(tensor, fmt::format("is the same weight as '{}'", at->second.name));
  }
  return named;
}

// Takes out of `left` what the model has; its shapes come from a model without memory.
Contents matched(const std::string& folder, const PretrainedConfig& config, std::map<std::string, StoredTensor> left) {
  Contents contents{config, {}, {}};
  const auto shapes = make_model(config.spec, config.vocabulary, Precision::float32, torch::kMeta, ModelUse::inference);
  for (const Parameter& parameter : shapes->parameters()) {
    const auto found = left.find(parameter.name);
    if (found == left.end())
      throw UsageError(fmt::format("{}: its weights lack '{}', which config.json asks for", folder, parameter.name));
    check_like(found->second, parameter.tensor.sizes());
    contents.weights.push_back(found->second);
    left.erase(found);
  }
  if (const auto found = left.find(output_name(config.spec)); is_tied(config.spec) && found != left.end()) {
    check_like(found->second, contents.weights.front().shape);
    contents.output = found->second;
    left.erase(found);
  }
  if (!left.empty()) refuse(left.begin()->second, "is no weight of the model that config.json describes");
  return contents;
}

Contents open_folder(const std::string& folder) {
  if (!fs::is_directory(folder)) throw UsageError(fmt::format("{}: no such folder", folder));
  const std::string config_file = fs::path(folder) / "config.json";
  if (!fs::exists(config_file))
    throw UsageError(
        fmt::format("{}: no such file; the folder of a model holds config.json and its weights", config_file));
  const PretrainedConfig config = read_pretrained_config(config_file);
  return matched(folder, config, by_usual_name(map_weight_files(folder), config.spec));
}

void check_finite(const StoredTensor& stored, const torch::Tensor& values) {
  if (values.numel() == 0) return;
  const auto [low, high] = torch::aminmax(values);
  if ((low.isfinite() & high.isfinite()).item<bool>()) return;
  refuse(stored, fmt::format("has values that are not finite in {}", c10::toString(values.scalar_type())));
}

void check_tied(const Contents& contents) {
  if (!contents.output) return;
  const StoredTensor &embedding = contents.weights.front(), &output = *contents.output;
  if (embedding.type == output.type && torch::equal(read_stored(embedding), read_stored(output))) return;
  refuse(output,
         fmt::format("is not the embedding '{}', as it is in models whose embeddings are tied", embedding.name));
}

std::unique_ptr<Model> filled(const Contents& contents, torch::Device device, Precision precision) {
  const torch::NoGradGuard no_grad;
  auto model = make_model(contents.config.spec, contents.config.vocabulary, precision, device, ModelUse::inference);
  check_tied(contents);
  for (size_t p = 0; p < contents.weights.size(); ++p) {
    const StoredTensor& stored = contents.weights[p];
    const torch::Tensor& weight = model->parameters()[p].tensor;
    weight.copy_(read_stored(stored));
    check_finite(stored, weight);
    release_pages(stored.bytes);
  }
  return model;
}

// What is wrong with a file that the user named is the user's to mend.
template <class Body>
auto as_usage_error(const Body& body) {
  try {
    return body();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace

PretrainedHeader read_pretrained_header(const std::string& folder) {
  return as_usage_error([&] {
    const Contents contents = open_folder(folder);
    const PretrainedConfig& config = contents.config;
    PretrainedHeader header{config.spec, config.vocabulary, config.max_positions, {}, 0, config.end_of_text};
    header.stored = *precision_of(contents.weights.front().type);
    for (const StoredTensor& weight : contents.weights) header.parameters += c10::multiply_integers(weight.shape);
    return header;
  });
}

std::unique_ptr<Model> load_pretrained(const std::string& folder, torch::Device device, Precision precision) {
  return as_usage_error([&] { return filled(open_folder(folder), device, precision); });
}

}  // namespace recite
