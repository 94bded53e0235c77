#include "weights/weight_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "weights/durable_file.h"
#include "weights/safetensors.h"
#include "weights/torch_file.h"

namespace recite {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* index_ending = ".index.json";
constexpr std::array names = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                              "pytorch_model.bin.index.json"};

std::vector<StoredTensor> map_file(const std::string& path) {
  return path.ends_with(".safetensors") ? map_safetensors(path) : map_torch_file(path);
}

// Which file of the folder holds the tensor of each name.
std::map<std::string, std::string> read_index(const fs::path& path) {
  const json index = json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  std::map<std::string, std::string> shard_of;
  try {
    index.at("weight_map").get_to(shard_of);
  } catch (const json::exception&) {
    throw Error(fmt::format("{}: is no index: it lacks a weight_map of tensors' names to files", path.string()));
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (fs::path(shard).filename() != shard || shard == "." || shard == "..")
      throw Error(fmt::format("{}: '{}' is not the name of a file beside it", path.string(), shard));
  }
  return shard_of;
}

// Takes the tensors of one shard out of `left`.
void take_shard(const fs::path& index, const std::string& shard, std::map<std::string, std::string>& left,
                std::vector<StoredTensor>& tensors) {
  const std::string path = index.parent_path() / shard;
  if (!fs::exists(path)) throw Error(fmt::format("{}: no such file; {} names it", path, index.string()));
  for (StoredTensor& tensor : map_file(path)) {
    const auto found = left.find(tensor.name);
    if (found == left.end() || found->second != shard)
      throw Error(fmt::format("{}: tensor '{}' is not of this file by {}", path, tensor.name, index.string()));
    left.erase(found);
    tensors.push_back(std::move(tensor));
  }
}

std::vector<StoredTensor> map_shards(const fs::path& index) {
  std::map<std::string, std::string> left = read_index(index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : left) shards.insert(shard);
  std::vector<StoredTensor> tensors;
  for (const std::string& shard : shards) take_shard(index, shard, left, tensors);
  if (!left.empty())
    throw Error(fmt::format("{}: lacks '{}', which {} says it holds",
                            (index.parent_path() / left.begin()->second).string(), left.begin()->first,
                            index.string()));
  return tensors;
}

}  // namespace

std::vector<StoredTensor> map_weight_files(const std::string& folder) {
  for (const std::string name : names) {
    const fs::path path = fs::path(folder) / name;
    if (!fs::exists(path)) continue;
    return name.ends_with(index_ending) ? map_shards(path) : map_file(path);
  }
  throw Error(fmt::format("{}: has no weights: none of {}", folder, fmt::join(names, ", ")));
}

}  // namespace recite
