// Files of `torch.save` (pytorch_model.bin), as PyTorch writes them since 1.6: a zip archive of a pickle and the
// tensors' bytes.
#pragma once

#include <string>
#include <vector>

#include "weights/stored_tensor.h"

namespace recite {

// Reads the directory and the pickle, nothing of the tensors. Throws Error that names the path and what is wrong: of an
// older PyTorch, cut short, a pickle that holds anything but tensors, a tensor without its bytes.
std::vector<StoredTensor> map_torch_file(const std::string& path);

}  // namespace recite
