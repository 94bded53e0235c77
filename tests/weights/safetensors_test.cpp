#include "weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "weights/durable_file.h"

namespace recite {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string file_of(uint64_t header_length, const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header_length >> (8 * i));
  return bytes + header + data;
}

std::string file_of(const json& header, size_t data_bytes) {
  const std::string text = header.dump();
  return file_of(text.size(), text, std::string(data_bytes, '\1'));
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

json entry(const std::string& type, const json& shape, const json& begin, const json& end) {
  return {{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, end}}};
}

// Bit by bit, from the polynomial.
uint32_t plain_crc32(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

TEST(Safetensors, GivesBackEveryTypeShapeAndTheMetadata) {
  const TemporaryFolder folder;
  TensorFile written;
  written.metadata = {{"format", "pt"}, {"note", "\"quotes\" and \u00e9"}};
  torch::manual_seed(1);
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16, torch::kFloat16, torch::kInt64,
                          torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8, torch::kBool}) {
    const std::string name = c10::toString(type);
    written.tensors.emplace_back("odd." + name, (torch::randn({3, 1, 5}) * 50).to(type));
    written.tensors.emplace_back("scalar." + name, torch::ones({}, torch::kFloat32).to(type));
    written.tensors.emplace_back("empty." + name, torch::empty({2, 0}, type));
  }
  written.tensors.emplace_back("strided", torch::arange(6).view({2, 3}).t());
  write_safetensors(folder / "x", written);
  const TensorFile read = read_safetensors(folder / "x");

  EXPECT_EQ(read.metadata, written.metadata);
  ASSERT_EQ(read.tensors.size(), written.tensors.size());
  const std::map<std::string, torch::Tensor> by_name(read.tensors.begin(), read.tensors.end());
  for (const auto& [name, tensor] : written.tensors) {
    ASSERT_TRUE(by_name.contains(name)) << name;
    const torch::Tensor back = by_name.at(name);
    EXPECT_EQ(back.scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(back.is_contiguous()) << name;
    EXPECT_TRUE(torch::equal(back, tensor)) << name;
  }
}

TEST(Safetensors, KeepsTheOrderOfEqualTypes) {
  const TemporaryFolder folder;
  TensorFile written;
  for (const char* name : {"z", "a", "m"}) written.tensors.emplace_back(name, torch::ones({2}));
  write_safetensors(folder / "x", written);
  std::vector<std::string> names;
  for (const auto& [name, tensor] : read_safetensors(folder / "x").tensors) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"z", "a", "m"}));
}

TEST(Safetensors, ReturnsTheChecksumOfTheFile) {
  const TemporaryFolder folder;
  TensorFile written;
  written.tensors.emplace_back("a", torch::randn({1000}));
  const uint32_t crc32 = write_safetensors(folder / "x", written);
  const std::string bytes = read_text(folder / "x");
  EXPECT_EQ(crc32, plain_crc32(bytes));
  EXPECT_EQ(checksum_of(folder / "x"), (FileChecksum{crc32, bytes.size()}));
}

TEST(Safetensors, AFailedWriteLeavesTheOldFile) {
  const TemporaryFolder folder;
  TensorFile good;
  good.tensors.emplace_back("a", torch::ones({3}));
  write_safetensors(folder / "x", good);
  TensorFile bad = good;
  bad.tensors.emplace_back("a", torch::zeros({3}));
  EXPECT_THROW(write_safetensors(folder / "x", bad), Error);
  EXPECT_TRUE(torch::equal(read_safetensors(folder / "x").tensors.at(0).second, torch::ones({3})));
  {
    DurableFile abandoned(folder / "x");
    abandoned.write("half", 4);
  }
  EXPECT_TRUE(torch::equal(read_safetensors(folder / "x").tensors.at(0).second, torch::ones({3})));
  EXPECT_FALSE(std::filesystem::exists(folder / "x.tmp"));
}

TEST(Safetensors, AWriteThatCannotBeMadeNamesThePath) {
  const TemporaryFolder folder;
  const std::string path = folder / "missing/x";
  try {
    write_safetensors(path, {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path));
    EXPECT_THAT(error.what(), HasSubstr("No such file or directory"));
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  TensorFile written;
  written.tensors.emplace_back("a", torch::randn({5}));
  written.tensors.emplace_back("b", torch::randn({2, 2}));
  write_safetensors(folder / "whole", written);
  const std::string bytes = read_text(folder / "whole");
  for (size_t size = 0; size < bytes.size(); ++size) {
    write_bytes(folder / "cut", bytes.substr(0, size));
    try {
      read_safetensors(folder / "cut");
      FAIL() << "cut to " << size << " bytes of " << bytes.size();
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(folder / "cut"));
    }
  }
  write_bytes(folder / "cut", bytes + "x");
  EXPECT_THROW(read_safetensors(folder / "cut"), Error);
}

struct Damage {
  const char* name;
  std::string bytes;
  std::vector<std::string> said;  // besides the path
};

class Damaged : public testing::TestWithParam<Damage> {};

TEST_P(Damaged, IsRefusedByFileAndTensor) {
  const TemporaryFolder folder;
  const std::string path = folder / "weights.safetensors";
  write_bytes(path, GetParam().bytes);
  try {
    read_safetensors(path);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path));
    for (const std::string& said : GetParam().said) EXPECT_THAT(error.what(), HasSubstr(said));
  }
}

const Damage damages[] = {
    {"header_too_long", file_of(1000, "{}", ""), {"1000", "cut short"}},
    {"header_absurd", file_of(~uint64_t{0}, "{}", ""), {"no safetensors file"}},
    {"header_not_json", file_of(4, "{\"a\"", ""), {"JSON"}},
    {"header_not_object", file_of(2, "[]", ""), {"JSON"}},
    {"unknown_type", file_of({{"a.b", entry("F31", {1}, 0, 4)}}, 4), {"'a.b'", "F31", "BF16"}},
    {"no_shape", file_of({{"a.b", {{"dtype", "F32"}, {"data_offsets", {0, 4}}}}}, 4), {"'a.b'", "shape"}},
    {"entry_is_a_number", file_of({{"a.b", 3}}, 4), {"'a.b'"}},
    {"one_offset", file_of({{"a.b", {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0}}}}}, 4), {"'a.b'"}},
    {"negative_offset", file_of({{"a.b", entry("F32", {1}, -4, 0)}}, 4), {"'a.b'", "data_offsets"}},
    {"fractional_offset", file_of({{"a.b", entry("F32", {1}, 0, 4.5)}}, 4), {"'a.b'", "data_offsets"}},
    {"negative_extent", file_of({{"a.b", entry("F32", {-1}, 0, 4)}}, 4), {"'a.b'", "-1"}},
    {"fractional_extent", file_of({{"a.b", entry("F32", {1.5}, 0, 4)}}, 4), {"'a.b'", "1.5"}},
    {"shape_too_large", file_of({{"a.b", entry("F32", {2}, 0, 4)}}, 4), {"'a.b'", "[2]", "4 bytes"}},
    {"shape_overflows", file_of({{"a.b", entry("F32", {1ull << 62, 4}, 0, 0)}}, 0), {"'a.b'", "4611686018427387904"}},
    {"offsets_reversed", file_of({{"a.b", entry("F32", {1}, 4, 0)}}, 4), {"'a.b'", "4..0"}},
    {"offsets_outside", file_of({{"a.b", entry("F32", {2}, 0, 8)}}, 4), {"'a.b'", "0..8", "outside"}},
    {"hole", file_of({{"a", entry("F32", {1}, 0, 4)}, {"b", entry("F32", {1}, 8, 12)}}, 12), {"'b'", "byte 8"}},
    {"overlap", file_of({{"a", entry("F32", {2}, 0, 8)}, {"b", entry("F32", {1}, 4, 8)}}, 8), {"'b'", "byte 4"}},
    {"rest", file_of({{"a", entry("F32", {1}, 0, 4)}}, 12), {"12 bytes"}},
    {"metadata_number", file_of({{"__metadata__", {{"n", 3}}}}, 0), {"__metadata__"}},
};
INSTANTIATE_TEST_SUITE_P(Files, Damaged, testing::ValuesIn(damages),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(Safetensors, AMissingFileIsRefused) {
  const TemporaryFolder folder;
  EXPECT_THROW(read_safetensors(folder / "nothing"), Error);
  EXPECT_THROW(read_safetensors(folder.path()), Error);
}

}  // namespace
}  // namespace recite
