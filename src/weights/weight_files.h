// The files of weights in a Hugging Face folder.
#pragma once

#include <string>
#include <vector>

#include "weights/stored_tensor.h"

namespace recite {

// Every tensor of the first of these that the folder has, as `transformers` looks for them; of the shards that an index
// names, each must be there and hold what the index says, and no name may be in two:
//   model.safetensors, model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json
// Throws Error that names the file and what is wrong.
std::vector<StoredTensor> map_weight_files(const std::string& folder);

}  // namespace recite
