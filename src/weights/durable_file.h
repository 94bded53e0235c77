// A file that is whole or not there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

namespace recite {

// What tells a whole file from a damaged one: its CRC-32 (zlib's) and its length.
struct FileChecksum {
  uint32_t crc32 = 0;
  uint64_t size = 0;
  bool operator==(const FileChecksum&) const = default;
};

// Writes beside `path` ("PATH.tmp"); commit() forces the bytes to the disk and renames. Destroyed before commit(), it
// leaves `path` as it was. Every failure throws Error with the path and the system's reason.
class DurableFile {
 public:
  explicit DurableFile(std::string path);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, size_t size);
  FileChecksum commit();

 private:
  std::string path_;
  std::string temporary_path_;
  std::FILE* file_ = nullptr;
  FileChecksum checksum_;
};

FileChecksum write_durably(const std::string& path, const std::string& text);

// Reads the whole file. Throws Error.
FileChecksum checksum_of(const std::string& path);
std::string read_text(const std::string& path);

// Makes renames and removals inside `folder` survive a loss of power.
void sync_folder(const std::string& folder);

}  // namespace recite
