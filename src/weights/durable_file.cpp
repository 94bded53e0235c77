#include "weights/durable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/error.h"

namespace recite {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

// Calls `take` with one piece of the file after another.
template <class Take>
void read_pieces(const std::string& path, Take take) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), &std::fclose);
  if (!file) fail(path, "cannot be opened");
  std::array<char, 1 << 16> piece;
  while (const size_t size = std::fread(piece.data(), 1, piece.size(), file.get())) take(piece.data(), size);
  if (std::ferror(file.get()) != 0) fail(path, "cannot be read");
}

uint32_t extend_crc(uint32_t crc, const void* data, size_t size) {
  return static_cast<uint32_t>(crc32_z(crc, static_cast<const Bytef*>(data), size));
}

}  // namespace

DurableFile::DurableFile(std::string path) : path_(std::move(path)), temporary_path_(path_ + ".tmp") {
  file_ = std::fopen(temporary_path_.c_str(), "wb");
  if (file_ == nullptr) fail(temporary_path_, "cannot be created");
}

DurableFile::~DurableFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::remove(temporary_path_.c_str());
}

void DurableFile::write(const void* data, size_t size) {
  if (std::fwrite(data, 1, size, file_) != size) fail(temporary_path_, "cannot be written");
  checksum_.crc32 = extend_crc(checksum_.crc32, data, size);
  checksum_.size += size;
}

FileChecksum DurableFile::commit() {
  if (std::fflush(file_) != 0 || fsync(fileno(file_)) != 0) fail(temporary_path_, "cannot be written");
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) fail(path_, "cannot be renamed into place");
  std::fclose(std::exchange(file_, nullptr));
  sync_folder(folder_of(path_));
  return checksum_;
}

FileChecksum write_durably(const std::string& path, const std::string& text) {
  DurableFile file(path);
  file.write(text.data(), text.size());
  return file.commit();
}

FileChecksum checksum_of(const std::string& path) {
  FileChecksum checksum;
  read_pieces(path, [&](const char* data, size_t size) {
    checksum.crc32 = extend_crc(checksum.crc32, data, size);
    checksum.size += size;
  });
  return checksum;
}

std::string read_text(const std::string& path) {
  std::string text;
  read_pieces(path, [&](const char* data, size_t size) { text.append(data, size); });
  return text;
}

void sync_folder(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  if (descriptor < 0) fail(folder, "cannot be opened");
  const bool synced = fsync(descriptor) == 0;
  const int reason = errno;
  close(descriptor);
  errno = reason;
  if (!synced) fail(folder, "cannot be forced to the disk");
}

}  // namespace recite
