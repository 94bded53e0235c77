#include "weights/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/error.h"

namespace recite {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw Error(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

struct Descriptor {
  explicit Descriptor(const std::string& path) : number(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const Descriptor file(path);
  if (file.number < 0) fail(path, "cannot be opened");
  struct stat status{};
  if (fstat(file.number, &status) != 0) fail(path, "cannot be read");
  if (!S_ISREG(status.st_mode)) throw Error(fmt::format("{}: is no file", path));
  const auto size = static_cast<size_t>(status.st_size);
  const void* begin = nullptr;
  if (size > 0) {  // no bytes cannot be mapped
    begin = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number, 0);
    if (begin == MAP_FAILED) fail(path, "cannot be mapped into memory");
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(path, {static_cast<const char*>(begin), size}));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

void release_pages(std::string_view bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = address / page * page;
  // Advice: what the system makes of it changes no result.
  madvise(reinterpret_cast<void*>(begin), address + bytes.size() - begin, MADV_DONTNEED);
}

}  // namespace recite
