#include "weights/zip_archive.h"

#include <fmt/format.h>
#include <minizip/unzip.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace recite {

namespace {

constexpr size_t longest_name = 4096;

// A number of a zip archive, the lowest byte first. The caller sees to the bounds.
uint64_t number(const char* at, size_t bytes) {
  uint64_t value = 0;
  for (size_t i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(at[i]);
  return value;
}

// What of a directory's entry does not fit into 32 bits (the "ZIP64 extended information" of APPNOTE.TXT, 4.5.3).
// minizip 1.1 takes it for there only where the 32-bit number is 2^64 - 1, that is never.
struct Wide {
  uint64_t size;
  std::optional<uint64_t> header;  // where the member's own header begins
};

Wide wide_numbers(const unz_file_info64& info, const std::vector<char>& extra) {
  constexpr uint64_t does_not_fit = 0xffffffff, zip64 = 1;
  Wide wide{info.uncompressed_size, {}};
  for (size_t at = 0; at + 4 <= extra.size();) {
    const uint64_t id = number(&extra[at], 2);
    const size_t begin = at + 4, end = std::min<size_t>(begin + number(&extra[at + 2], 2), extra.size());
    at = end;
    if (id != zip64) continue;
    std::vector<uint64_t> numbers;  // only those that do not fit, in this order: size, stored size, header
    for (size_t i = begin; i + 8 <= end; i += 8) numbers.push_back(number(&extra[i], 8));
    size_t next = 0;
    if (info.uncompressed_size == does_not_fit && next < numbers.size()) wide.size = numbers[next++];
    if (info.compressed_size == does_not_fit) ++next;
    if (next < numbers.size()) wide.header = numbers[next];
  }
  return wide;
}

// minizip's cursor over the members of an open archive.
class Archive {
 public:
  explicit Archive(const MappedFile& file)
      : path_(file.path()), handle_(unzOpen64(path_.c_str()), &unzClose), bytes_(file.bytes()) {
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
    std::vector<char> extra(info.size_file_extra);
    if (!extra.empty() &&
        unzGetCurrentFileInfo64(handle_.get(), nullptr, nullptr, 0, extra.data(), extra.size(), nullptr, 0) != UNZ_OK)
      fail("its directory is damaged");
    const Wide wide = wide_numbers(info, extra);
    constexpr uLong encrypted = 1;
    if (info.compression_method != 0 || (info.flag & encrypted) != 0)
      fail(fmt::format("its member '{}' is compressed or encrypted; torch.save only stores", text));
    const uint64_t begin = wide.header ? begin_after(*wide.header, text) : begin_of_current(text);
    if (begin > bytes_.size() || wide.size > bytes_.size() - begin)
      fail(fmt::format("its member '{}' is outside the file's {} bytes", text, bytes_.size()));
    return {text, begin, wide.size, static_cast<uint32_t>(info.crc)};
  }

  // Where the bytes of the member under the cursor begin. minizip finds and checks the header in front of them.
  uint64_t begin_of_current(const std::string& name) const {
    if (unzOpenCurrentFile2(handle_.get(), nullptr, nullptr, /*raw=*/1) != UNZ_OK) fail_header(name);
    const uint64_t begin = unzGetCurrentFileZStreamPos64(handle_.get());
    unzCloseCurrentFile(handle_.get());
    return begin;
  }
  // Of a member whose header is too far into the file for minizip: a signature, the lengths of the name and of what
  // follows it, the name (APPNOTE.TXT, 4.3.7).
  uint64_t begin_after(uint64_t header, const std::string& name) const {
    constexpr size_t fixed = 30, name_length = 26, extra_length = 28;
    constexpr uint64_t signature = 0x04034b50;
    if (header > bytes_.size() || bytes_.size() - header < fixed + name.size()) fail_header(name);
    const char* at = bytes_.data() + header;
    if (number(at, 4) != signature || bytes_.substr(header + fixed, name.size()) != name ||
        number(at + name_length, 2) != name.size())
      fail_header(name);
    return header + fixed + name.size() + number(at + extra_length, 2);
  }
  [[noreturn]] void fail_header(const std::string& name) const {
    fail(fmt::format("the header of its member '{}' is damaged", name));
  }

  const std::string& path_;
  std::unique_ptr<void, int (*)(unzFile)> handle_;
  std::string_view bytes_;
};

}  // namespace

std::vector<ZipMember> zip_members(const MappedFile& file) { return Archive(file).members(); }

}  // namespace recite
