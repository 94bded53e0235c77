#include "weights/torch_file.h"

#include <fmt/format.h>
#include <zlib.h>

#include <map>

#include "base/error.h"
#include "weights/tensor_pickle.h"
#include "weights/zip_archive.h"

namespace recite {

namespace {

class TorchFile {
 public:
  explicit TorchFile(const std::string& path) : file_(MappedFile::open(path)) {
    check_kind();
    for (const ZipMember& member : zip_members(*file_)) add(member);
  }

  std::vector<StoredTensor> tensors() const {
    const ZipMember& pickle = found("data.pkl");
    if (crc32_z(0, reinterpret_cast<const Bytef*>(bytes_of(pickle).data()), pickle.size) != pickle.crc32)
      fail("its pickle is damaged: it does not have the CRC-32 that the archive gives");
    check_byte_order();
    std::vector<StoredTensor> tensors;
    for (const PickledTensor& tensor : read_tensor_pickle(file_->path(), bytes_of(pickle)))
      tensors.push_back(stored(tensor));
    return tensors;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(fmt::format("{}: {}", file_->path(), what)); }

  void check_kind() const {
    if (file_->bytes().starts_with("PK")) return;
    if (file_->bytes().starts_with('\x80'))
      fail(
          "is of PyTorch before 1.6, or a bare pickle; load it with torch.load and save it again with torch.save, or "
          "as safetensors");
    fail("is no file of torch.save");
  }

  // All members lie in one folder, whose name is the file's at its making.
  void add(const ZipMember& member) {
    const std::string folder = member.name.substr(0, member.name.find('/'));
    if (folder_.empty()) folder_ = folder;
    if (folder != folder_ || folder.size() == member.name.size())
      fail(fmt::format("its member '{}' is outside of the folder '{}'", member.name, folder_));
    if (!members_.emplace(member.name.substr(folder.size() + 1), member).second)
      fail(fmt::format("holds the member '{}' twice", member.name));
  }

  const ZipMember& found(const std::string& name) const {
    const auto at = members_.find(name);
    if (at == members_.end()) fail(fmt::format("lacks the member '{}/{}'", folder_, name));
    return at->second;
  }

  std::string_view bytes_of(const ZipMember& member) const { return file_->bytes().substr(member.begin, member.size); }

  void check_byte_order() const {
    const auto at = members_.find("byteorder");
    if (at != members_.end() && bytes_of(at->second) != "little")
      fail(fmt::format("its numbers are of byte order '{}', only 'little' is read", bytes_of(at->second)));
  }

  StoredTensor stored(const PickledTensor& tensor) const {
    const ZipMember& member = found("data/" + tensor.storage);
    uint64_t bytes = c10::elementSize(tensor.type);
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(tensor.storage_elements), &bytes) || bytes != member.size)
      fail(fmt::format("tensor '{}' lies in {} elements of {}, but '{}' has {} bytes", tensor.name,
                       tensor.storage_elements, c10::toString(tensor.type), member.name, member.size));
    return {tensor.name, file_,        bytes_of(member), member.crc32,
            tensor.type, tensor.shape, tensor.strides,   tensor.offset};
  }

  std::shared_ptr<const MappedFile> file_;
  std::string folder_;
  std::map<std::string, ZipMember> members_;
};

}  // namespace

std::vector<StoredTensor> map_torch_file(const std::string& path) { return TorchFile(path).tensors(); }

}  // namespace recite
