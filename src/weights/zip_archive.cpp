#include "weights/zip_archive.h"

#include <fmt/format.h>
#include <minizip/unzip.h>

#include <array>
#include <memory>

#include "base/error.h"

namespace recite {

namespace {

constexpr size_t longest_name = 4096;

// minizip's cursor over the members of an open archive.
class Archive {
 public:
  explicit Archive(const MappedFile& file)
      : path_(file.path()), handle_(unzOpen64(path_.c_str()), &unzClose), file_size_(file.bytes().size()) {
    if (!handle_) fail("is no whole zip archive: the directory at its end is missing or damaged");
  }

  std::vector<ZipMember> members() const {
    std::vector<ZipMember> all;
    int at = unzGoToFirstFile(handle_.get());
    for (; at == UNZ_OK; at = unzGoToNextFile(handle_.get())) all.push_back(member());
    if (at != UNZ_END_OF_LIST_OF_FILE) fail(fmt::format("its directory is damaged after {} members", all.size()));
    return all;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(fmt::format("{}: {}", path_, what)); }

  ZipMember member() const {
    unz_file_info64 info{};
    std::array<char, longest_name> name{};
    if (unzGetCurrentFileInfo64(handle_.get(), &info, name.data(), name.size() - 1, nullptr, 0, nullptr, 0) != UNZ_OK)
      fail("its directory is damaged");
    const std::string text = name.data();
    constexpr uLong encrypted = 1;
    if (info.compression_method != 0 || (info.flag & encrypted) != 0)
      fail(fmt::format("its member '{}' is compressed or encrypted; torch.save only stores", text));
    // As it lies there: this finds and checks the header in front of the bytes.
    if (unzOpenCurrentFile2(handle_.get(), nullptr, nullptr, /*raw=*/1) != UNZ_OK)
      fail(fmt::format("the header of its member '{}' is damaged", text));
    const uint64_t begin = unzGetCurrentFileZStreamPos64(handle_.get());
    unzCloseCurrentFile(handle_.get());
    if (begin > file_size_ || info.uncompressed_size > file_size_ - begin)
      fail(fmt::format("its member '{}' is outside the file's {} bytes", text, file_size_));
    return {text, begin, info.uncompressed_size, static_cast<uint32_t>(info.crc)};
  }

  const std::string& path_;
  std::unique_ptr<void, int (*)(unzFile)> handle_;
  uint64_t file_size_;
};

}  // namespace

std::vector<ZipMember> zip_members(const MappedFile& file) { return Archive(file).members(); }

}  // namespace recite
