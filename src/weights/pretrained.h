// Pretrained models from Hugging Face folders: config.json, and weights as safetensors or as pytorch_model.bin, each in
// one file or in shards with an index. GPT-NeoX (all of Pythia), Mamba in the layout of state-spaces and in the -hf
// one, and what `recite` itself saved. Nothing is downloaded, and nothing that a file holds is run.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "models/model.h"

namespace recite {

struct PretrainedHeader {
  ModelSpec spec;
  int64_t vocabulary = 0;     // rows of the embedding: any of them may win the argmax, as in `transformers`, and a
                              // tokenizer must have no number beyond them
  int64_t max_positions = 0;  // tokens that config.json says it was made for; 0: no limit
  Precision stored = Precision::float32;  // of the embedding in the file
  int64_t parameters = 0;                 // the output matrix counted once where it is the embedding
  std::optional<int64_t> end_of_text;
};

// Reads config.json and the headers of the files of weights, in a moment whatever their size. Throws UsageError that
// names the file and what is wrong: missing, not understood, cut short, a pickle that names anything but tensors; a
// tensor that is missing, there twice, misshapen, of a type that is no number with a fraction, or that the model has
// not (masks and rotary tables that old versions saved are known, and passed over).
PretrainedHeader read_pretrained_header(const std::string& folder);

// The model, for inference (ModelUse): its weights go one by one from the mapped file straight to where they stay.
// Throws UsageError as read_pretrained_header does, and that names file and tensor where bytes are damaged, a value is
// not finite in the wanted precision, or an output matrix is not the embedding that it should be. There may be one of
// the recite architectures without a counterpart in `transformers` too.
std::unique_ptr<Model> load_pretrained(const std::string& folder, torch::Device device, Precision precision);

}  // namespace recite
