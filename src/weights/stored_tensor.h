// A tensor where a file of weights holds it.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "weights/mapped_file.h"

namespace recite {

struct StoredTensor {
  std::string name;
  std::shared_ptr<const MappedFile> file;
  std::string_view bytes;         // of the file: what holds the tensor
  std::optional<uint32_t> crc32;  // that the file gives of these bytes
  torch::ScalarType type = torch::kUInt8;
  std::vector<int64_t> shape, strides;
  int64_t offset = 0;  // elements from the beginning of `bytes` to the tensor's first
};

// The tensor on the CPU: a part of the mapped file, never to be written to, which it keeps mapped; a copy where the
// file does not align it. Throws Error that names file and tensor when the bytes are not those that the file's checksum
// was made of.
torch::Tensor read_stored(const StoredTensor& stored);

}  // namespace recite
