// What a zip archive holds that only stores its members, as `torch.save` writes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "weights/mapped_file.h"

namespace recite {

struct ZipMember {
  std::string name;
  uint64_t begin, size;  // its bytes within the file
  uint32_t crc32;        // that the archive gives of them
};

// In the order of the archive's directory. Throws Error that names the path and what is wrong: no archive, cut short,
// a damaged directory, a compressed or encrypted member.
std::vector<ZipMember> zip_members(const MappedFile& file);

}  // namespace recite
