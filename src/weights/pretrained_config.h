// config.json of a pretrained model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "jobs/specs.h"

namespace recite {

struct PretrainedConfig {
  ModelSpec spec;
  int64_t vocabulary = 0;     // rows of the embedding
  int64_t max_positions = 0;  // tokens that it was made for; 0: no limit
  std::optional<int64_t> end_of_text;
};

// Understands
//   "model_type": "gpt_neox"   of transformers up to 4 (rotary_pct, rotary_emb_base) and of 5 (rope_parameters)
//   "model_type": "mamba"      the -hf layout
//   no model_type, "d_model"   the layout of state-spaces/mamba-*: Mamba-1 alone
//   "model_type": "recite"     what save_model_folder writes of the other architectures
// Throws Error that names the file, the key, what it is and what is allowed, where it is not understood or describes
// what src/models lacks.
PretrainedConfig read_pretrained_config(const std::string& path);

}  // namespace recite
