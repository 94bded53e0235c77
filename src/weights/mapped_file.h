// A file as a part of memory, for reading.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace recite {

// Takes no memory of its own: pages come from the disk when they are read, and go when others need the room. The file
// must not be cut meanwhile: reading what is no longer there ends the program.
class MappedFile {
 public:
  // Throws Error with the path and the system's reason.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }

 private:
  MappedFile(std::string path, std::string_view bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::string_view bytes_;
};

// Gives back the memory that pages of these bytes of a mapped file take; they are read again when used again.
void release_pages(std::string_view bytes);

}  // namespace recite
