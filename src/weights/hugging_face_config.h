// config.json of a saved model.
#pragma once

#include <nlohmann/json.hpp>

#include "models/model.h"
#include "tasks/alphabet.h"

namespace recite {

// rope: GPTNeoXConfig, mamba: MambaConfig, as `transformers` reads them. The others: model_type "recite" with the
// fields of ModelSpec. Sizes are those of the model's own weights.
nlohmann::json hugging_face_config(const Model& model, const Alphabet& alphabet);

}  // namespace recite
