#include "weights/stored_tensor.h"

#include <fmt/format.h>
#include <zlib.h>

#include <cstring>

#include "base/error.h"

namespace recite {

namespace {

void check_sum(const StoredTensor& stored) {
  if (!stored.crc32) return;
  const auto* bytes = reinterpret_cast<const Bytef*>(stored.bytes.data());
  if (crc32_z(0, bytes, stored.bytes.size()) == *stored.crc32) return;
  throw Error(fmt::format("{}: tensor '{}' is damaged: its bytes do not have the CRC-32 that the file gives",
                          stored.file->path(), stored.name));
}

}  // namespace

torch::Tensor read_stored(const StoredTensor& stored) {
  check_sum(stored);
  const size_t element = c10::elementSize(stored.type);
  const char* first = stored.bytes.data() + static_cast<size_t>(stored.offset) * element;
  if (reinterpret_cast<uintptr_t>(first) % element == 0) {
    // PROT_READ: whoever writes through it is stopped.
    return torch::from_blob(
        const_cast<char*>(first), stored.shape, stored.strides, [file = stored.file](void*) {}, stored.type);
  }
  const auto count = static_cast<int64_t>(stored.bytes.size() / element);
  const torch::Tensor copy = torch::empty({count}, stored.type);
  std::memcpy(copy.data_ptr(), stored.bytes.data(), stored.bytes.size());
  return copy.as_strided(stored.shape, stored.strides, stored.offset);
}

}  // namespace recite
