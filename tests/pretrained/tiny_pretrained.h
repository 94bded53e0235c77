// Folders of pretrained models that are made in milliseconds, and texts to ask them about.
#pragma once

#include <fmt/format.h>
#include <torch/torch.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "jobs/job.h"
#include "models/model.h"
#include "support/temporary_folder.h"
#include "tokenizer/small_tokenizer.h"
#include "weights/durable_file.h"
#include "weights/pretrained_folder.h"

namespace recite {

constexpr int tiny_vocabulary =
    264;  // rows of the embedding; the tokenizer has 261 tokens, of which the bytes are first
constexpr int32_t end_token = 260;

inline nlohmann::json tiny_tokenizer() {
  nlohmann::json tokenizer = small_tokenizer();
  tokenizer["added_tokens"] = {added_token(end_token, "<|endoftext|>", true)};
  return tokenizer;
}

inline torch::Tensor weight_of(const Model& model, const std::string& name) {
  for (const Parameter& parameter : model.parameters())
    if (parameter.name == name) return parameter.tensor;
  throw Error("no " + name);
}

using Change = std::function<void(Model&)>;

// Random weights, then what `change` makes of them.
inline std::string save_tiny(const std::string& folder, Architecture architecture, const Change& change,
                             int layers = 1) {
  const torch::NoGradGuard no_grad;
  Job job;
  job.model.architecture = architecture;
  job.model.hidden_size = 64;
  job.model.layers = layers;
  job.model.heads = 2;
  job.model.state_dim = 4;
  const auto model = make_model(job.model, tiny_vocabulary, Precision::float32, torch::kCPU, 7);
  change(*model);
  save_model_folder(folder, *model, job, 0, 0);
  write_durably(folder + "/tokenizer.json", tiny_tokenizer().dump());
  return folder;
}

// Layers so loud that what is written depends on the whole prompt; Mamba's read the past alone, and forget slowly.
inline void as_drawn(Model& model) {
  for (const auto& [name, weight, computed] : model.parameters()) {
    if (name.find(".layers.") != std::string::npos && name.ends_with(".weight")) weight.mul_(8);
    if (name.ends_with(".out_proj.weight")) weight.mul_(100);
    if (name.ends_with(".mixer.D") || name.ends_with(".dt_proj.weight")) weight.zero_();
  }
}

struct Follows {
  int32_t last, next;
  double strength = 1;
};

// A GPT-NeoX that looks at the last token alone: after `last` it finds `next` the likelier, the larger `strength` is.
inline Change which_says(const std::vector<Follows>& table) {
  return [table](Model& model) {
    for (const Parameter& parameter : model.parameters())
      if (parameter.name.find(".attention.dense.") != std::string::npos ||
          parameter.name.find(".mlp.dense_4h_to_h.") != std::string::npos)
        parameter.tensor.zero_();
    const torch::Tensor read = torch::layer_norm(weight_of(model, "gpt_neox.embed_in.weight"), {64});
    const torch::Tensor written = weight_of(model, "embed_out.weight").zero_();
    for (const auto& [last, next, strength] : table) written[next] += strength * read[last];
  };
}

// The same of a Mamba: `best` after any token, then `second`.
inline Change which_always_says(int32_t best, int32_t second) {
  return [=](Model& model) {
    weight_of(model, "backbone.layers.0.mixer.out_proj.weight").zero_();
    const torch::Tensor both = weight_of(model, "backbone.embeddings.weight").zero_();
    both.select(1, 0).fill_(1);
    both[best][0] = 3;
    both[second][0] = 2;
  };
}

// 15 passages of up to each of `sizes` tokens, a third of them with the answer "yes", with "yes sir" and with "no".
inline std::string save_squad(const std::string& path, const std::vector<int>& sizes) {
  nlohmann::json paragraphs = nlohmann::json::array();
  for (const int size : sizes) {
    for (int i = 0; i < 15; ++i) {
      const char* answer = std::array{"yes", "yes sir", "no"}[static_cast<size_t>(i) % 3];
      nlohmann::json questions;
      for (const char* name : {"this", "that"}) {
        questions.push_back({{"question", fmt::format("Is {} {}?", name, std::string(i % 4, 'q'))},
                             {"answers", {{{"text", answer}, {"answer_start", 0}}}}});
      }
      std::string context = fmt::format("passage {}/{} ", size, i);
      context.resize(static_cast<size_t>(size - i % 7), static_cast<char>('A' + i));
      paragraphs.push_back({{"context", context}, {"qas", questions}});
    }
  }
  write_durably(path, nlohmann::json{{"data", {{{"paragraphs", paragraphs}}}}}.dump());
  return path;
}

// Asks about 15 passages of at most 50 tokens, in batches of 4, in float64.
class TinyPretrained : public testing::Test {
 protected:
  TinyPretrained() { at::set_num_threads(1); }  // tensors are too small to share

  Job job_of(const std::string& model, TaskKind task = TaskKind::squad) const {
    Job job;
    job.task.kind = task;
    job.pretrained.model = model;
    job.pretrained.squad_file = squad_;
    job.eval.lengths = {task == TaskKind::phone_book ? 3 : 50};
    job.eval.batch_size = 4;
    job.train.precision = Precision::float64;
    job.run.log_samples = true;
    return job;
  }

  std::string save(const std::string& name, Architecture architecture, const Change& change, int layers = 1) const {
    return save_tiny(folder_ / name, architecture, change, layers);
  }

  TemporaryFolder folder_;
  const std::string squad_ = save_squad(folder_ / "squad.json", {40});
};

}  // namespace recite
