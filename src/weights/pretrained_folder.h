// A model as a folder in the Hugging Face layout: config.json and model.safetensors, so that `transformers` opens what
// was trained here (rope: GPTNeoXForCausalLM; mamba: MambaForCausalLM), plus recite.json with the job it came from.
#pragma once

#include <memory>
#include <string>

#include "jobs/job.h"
#include "models/model.h"

namespace recite {

// Written beside `folder` and renamed: it is whole or not there. Architectures that Hugging Face lacks (nope, alibi,
// hard_alibi, lstm) are written with our own model_type "recite".
// `step` and `examples` are what it was trained for; they come back from load_model_folder.
void save_model_folder(const std::string& folder, const Model& model, const Job& job, int64_t step, int64_t examples);

struct SavedModel {
  Job job;
  int64_t step = 0;
  int64_t examples = 0;
  std::unique_ptr<Model> model;
};
// Throws UsageError that names the file and what is wrong.
SavedModel load_model_folder(const std::string& folder, torch::Device device, Precision precision);

}  // namespace recite
