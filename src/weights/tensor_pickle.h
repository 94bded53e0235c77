// The pickle inside a file of `torch.save`: a table of tensors by name, read without running anything. Python's pickle
// is a program that may call whatever it names; here a small machine knows the opcodes that `torch.save` writes and the
// few names that a table of tensors takes, and refuses every other by its name.
#pragma once

#include <torch/torch.h>

#include <string>
#include <string_view>
#include <vector>

namespace recite {

// A strided part of a storage, which is a member of the archive around the pickle.
struct PickledTensor {
  std::string name;
  std::string storage;  // the member's name, without its folder
  torch::ScalarType type = torch::kUInt8;
  int64_t storage_elements = 0;
  int64_t offset = 0;  // in elements, as strides are
  std::vector<int64_t> shape, strides;
};

// The tensors in the order of the table; two of them may share a storage. Each lies within its storage. `path` is for
// messages. Throws Error that names the path and what is wrong.
std::vector<PickledTensor> read_tensor_pickle(const std::string& path, std::string_view pickle);

}  // namespace recite
