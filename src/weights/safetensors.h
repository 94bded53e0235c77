// The safetensors format: 8 bytes of header length (little endian), a JSON header, the tensors' bytes.
#pragma once

#include <torch/torch.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "weights/stored_tensor.h"

namespace recite {

struct TensorFile {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;  // on the CPU, contiguous; in the order of the file
  std::map<std::string, std::string> metadata;
};

// Writes to a temporary file beside `path`, forces it to the disk and renames it: `path` is the old file or the new
// one, never a part. Returns the CRC-32 of the file's bytes (zlib). Throws Error with the path and the reason.
uint32_t write_safetensors(const std::string& path, const TensorFile& file);

// Throws Error that names the path and what is wrong: cut short, header not JSON, offsets outside the file, unknown
// dtype.
TensorFile read_safetensors(const std::string& path);

// The same where it lies: reads the header alone. The format has no checksums.
std::vector<StoredTensor> map_safetensors(const std::string& path);

}  // namespace recite
