#include "weights/safetensors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "weights/durable_file.h"

namespace recite {

namespace {

using nlohmann::json;

constexpr uint64_t max_header_bytes = 100'000'000;  // the format's own limit
constexpr size_t length_bytes = 8;

struct NamedType {
  const char* name;
  torch::ScalarType type;
};
constexpr NamedType types[] = {
    {"F64", torch::kFloat64},         {"F32", torch::kFloat32},
    {"F16", torch::kFloat16},         {"BF16", torch::kBFloat16},
    {"F8_E5M2", torch::kFloat8_e5m2}, {"F8_E4M3", torch::kFloat8_e4m3fn},
    {"I64", torch::kInt64},           {"I32", torch::kInt32},
    {"I16", torch::kInt16},           {"I8", torch::kInt8},
    {"U64", torch::kUInt64},          {"U32", torch::kUInt32},
    {"U16", torch::kUInt16},          {"U8", torch::kUInt8},
    {"BOOL", torch::kBool},
};

std::string type_names() {
  std::string names;
  for (const NamedType& known : types) names += (names.empty() ? "" : ", ") + std::string(known.name);
  return names;
}

// Where a tensor's bytes lie: [begin, end), counted from the end of the header.
struct Entry {
  std::string name;
  torch::ScalarType type = torch::kUInt8;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

// ---- writing ----

std::string type_name(const std::string& path, const std::string& tensor, torch::ScalarType type) {
  for (const NamedType& known : types) {
    if (known.type == type) return known.name;
  }
  throw Error(fmt::format("{}: tensor '{}' is of type {}, which safetensors lacks (it has {})", path, tensor,
                          c10::toString(type), type_names()));
}

json header_of(const std::string& path, const TensorFile& file,
               const std::vector<std::pair<std::string, torch::Tensor>>& tensors) {
  json header = json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (header.contains(name) || name == "__metadata__") {
      throw Error(fmt::format("{}: two tensors would have the name '{}'", path, name));
    }
    header[name] = {{"dtype", type_name(path, name, tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  return header;
}

// ---- reading ----

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size());
  uint64_t stride = 1;  // may wrap where an extent is 0, and no stride counts
  for (size_t d = shape.size(); d-- > 0; stride *= static_cast<uint64_t>(shape[d]))
    strides[d] = static_cast<int64_t>(stride);
  return strides;
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), stream_(path, std::ios::binary) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (error) fail(error.message());
    if (!stream_) fail("cannot be opened");
    file_size_ = size;
  }

  TensorFile read() {
    TensorFile file;
    const json header = read_header();
    for (const Entry& entry : entries_of(header, file.metadata)) {
      torch::Tensor tensor = torch::empty(entry.shape, entry.type);
      read_bytes(static_cast<char*>(tensor.data_ptr()), entry.end - entry.begin);
      file.tensors.emplace_back(entry.name, std::move(tensor));
    }
    return file;
  }

  std::vector<StoredTensor> map() {
    const auto file = MappedFile::open(path_);
    if (file->bytes().size() != file_size_) fail("changes its length while it is read");
    std::map<std::string, std::string> metadata;
    std::vector<StoredTensor> tensors;
    const json header = read_header();
    const std::string_view data = file->bytes().substr(file_size_ - data_size_);
    for (const Entry& entry : entries_of(header, metadata))
      tensors.push_back({entry.name, file, data.substr(entry.begin, entry.end - entry.begin), std::nullopt, entry.type,
                         entry.shape, contiguous_strides(entry.shape), 0});
    return tensors;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw Error(fmt::format("{}: {}", path_, what)); }
  [[noreturn]] void fail(const std::string& tensor, const std::string& what) const {
    throw Error(fmt::format("{}: tensor '{}': {}", path_, tensor, what));
  }

  void read_bytes(char* data, size_t size) {
    if (!stream_.read(data, static_cast<std::streamsize>(size))) fail("ends early: it was cut short while being read");
  }

  json read_header() {
    if (file_size_ < length_bytes)
      fail(fmt::format("is no safetensors file: {} bytes, the header's length alone takes 8", file_size_));
    unsigned char raw[length_bytes];
    read_bytes(reinterpret_cast<char*>(raw), length_bytes);
    uint64_t length = 0;
    for (size_t i = length_bytes; i-- > 0;) length = length << 8 | raw[i];
    if (length > max_header_bytes) fail(fmt::format("is no safetensors file: a header of {} bytes", length));
    if (length > file_size_ - length_bytes) {
      fail(fmt::format("is cut short: a header of {} bytes in a file of {}", length, file_size_));
    }
    std::string text(length, '\0');
    read_bytes(text.data(), length);
    data_size_ = file_size_ - length_bytes - length;
    json header = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) fail("is no safetensors file: its header is no JSON object");
    return header;
  }

  // In the order of their bytes, which cover all that follows the header without hole or overlap.
  std::vector<Entry> entries_of(const json& header, std::map<std::string, std::string>& metadata) const {
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        metadata = metadata_of(value);
      } else {
        entries.push_back(entry_of(name, value));
      }
    }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    uint64_t covered = 0;
    for (const Entry& entry : entries) {
      if (entry.begin != covered) {
        fail(entry.name,
             fmt::format("begins at byte {} of the data, the tensor before it ends at {}", entry.begin, covered));
      }
      covered = entry.end;
    }
    if (covered != data_size_) fail(fmt::format("holds {} bytes of data, its tensors take {}", data_size_, covered));
    return entries;
  }

  std::map<std::string, std::string> metadata_of(const json& value) const {
    try {
      return value.get<std::map<std::string, std::string>>();
    } catch (const json::exception&) {
      fail("its __metadata__ is no table of texts");
    }
  }

  Entry entry_of(const std::string& name, const json& value) const {
    Entry entry;
    entry.name = name;
    std::string type;
    try {
      type = value.at("dtype").get<std::string>();
      for (const json& extent : value.at("shape")) entry.shape.push_back(extent_of(name, extent));
      const json& offsets = value.at("data_offsets");
      if (offsets.size() != 2 || !offsets.at(0).is_number_unsigned() || !offsets.at(1).is_number_unsigned()) {
        fail(name, fmt::format("data_offsets {} are not two byte counts", offsets.dump()));
      }
      entry.begin = offsets.at(0).get<uint64_t>();
      entry.end = offsets.at(1).get<uint64_t>();
    } catch (const json::exception&) {
      fail(name, fmt::format("its entry {} lacks dtype, shape or data_offsets", value.dump()));
    }
    entry.type = type_of(name, type);
    check_extent(entry);
    return entry;
  }

  int64_t extent_of(const std::string& name, const json& extent) const {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      fail(name, fmt::format("{} is no extent of a shape", extent.dump()));
    }
    return extent.get<int64_t>();
  }

  torch::ScalarType type_of(const std::string& name, const std::string& type) const {
    for (const NamedType& known : types) {
      if (type == known.name) return known.type;
    }
    fail(name, fmt::format("unknown dtype '{}' (known: {})", type, type_names()));
  }

  void check_extent(const Entry& entry) const {
    if (entry.begin > entry.end || entry.end > data_size_) {
      fail(entry.name,
           fmt::format("its bytes {}..{} are outside the file's {} bytes of data", entry.begin, entry.end, data_size_));
    }
    uint64_t bytes = c10::elementSize(entry.type);
    bool overflow = false;
    for (const int64_t extent : entry.shape) {
      overflow = overflow || __builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes);
    }
    if (overflow || bytes != entry.end - entry.begin) {
      fail(entry.name, fmt::format("shape [{}] of {} does not take the {} bytes that it has",
                                   fmt::join(entry.shape, ", "), c10::toString(entry.type), entry.end - entry.begin));
    }
  }

  const std::string& path_;
  std::ifstream stream_;
  uint64_t file_size_ = 0;
  uint64_t data_size_ = 0;
};

}  // namespace

uint32_t write_safetensors(const std::string& path, const TensorFile& file) {
  auto tensors = file.tensors;
  // Wide elements first: with the header a multiple of 8 long, every tensor is aligned to its element.
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const auto& a, const auto& b) { return a.second.element_size() > b.second.element_size(); });
  std::string header = header_of(path, file, tensors).dump();
  header.resize((header.size() + 7) / 8 * 8, ' ');

  DurableFile out(path);
  unsigned char length[length_bytes];
  for (size_t i = 0; i < length_bytes; ++i) length[i] = static_cast<unsigned char>(header.size() >> (8 * i));
  out.write(length, length_bytes);
  out.write(header.data(), header.size());
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor on_host = tensor.detach().to(torch::kCPU).contiguous();
    out.write(on_host.data_ptr(), on_host.nbytes());
  }
  return out.commit().crc32;
}

TensorFile read_safetensors(const std::string& path) { return Reader(path).read(); }

std::vector<StoredTensor> map_safetensors(const std::string& path) { return Reader(path).map(); }

}  // namespace recite
