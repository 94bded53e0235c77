// The C++ side of pretrained_transformers_test.py: one process for many folders.
//
//   pretrained_oracle FOLDER
//
// FOLDER/cases.json lists {"name", "folder", "precision"}. For each, FOLDER/NAME.json holds what
// read_pretrained_header says, or {"refused": message} of it or of load_pretrained. Where FOLDER/NAME.in.safetensors
// holds "tokens" (B, T), FOLDER/NAME.out.safetensors has their "logits" (B, T, V) and "greedy" (B, 64), what follows.
//
//   pretrained_oracle damage FILE COPY
//
// Changes every byte of FILE (of torch.save) in turn, in COPY: each must be refused by an Error that names it, or make
// no difference. Prints {"refused": n, "equal": n}.
#include <torch/torch.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "generate/generate.h"
#include "weights/durable_file.h"
#include "weights/pretrained.h"
#include "weights/safetensors.h"
#include "weights/torch_file.h"

namespace {

using namespace recite;
using nlohmann::json;

constexpr int64_t continued = 64;

json header_of(const std::string& folder) {
  const PretrainedHeader header = read_pretrained_header(folder);
  json out = {{"spec", header.spec},
              {"vocabulary", header.vocabulary},
              {"max_positions", header.max_positions},
              {"stored", name_of(header.stored)},
              {"parameters", header.parameters}};
  out["end_of_text"] = header.end_of_text ? json(*header.end_of_text) : json();
  return out;
}

// (B, 64): what follows each row of tokens (B, T).
torch::Tensor continuations(Model& model, const torch::Tensor& tokens) {
  std::vector<std::vector<int32_t>> prompts;
  for (int64_t b = 0; b < tokens.size(0); ++b) {
    const auto* row = tokens[b].const_data_ptr<int64_t>();
    prompts.emplace_back(row, row + tokens.size(1));
  }
  std::vector<torch::Tensor> rows;
  for (const auto& text : generate(model, prompts, std::vector<int64_t>(prompts.size(), continued), {}))
    rows.push_back(torch::tensor(text, torch::kInt64));
  return torch::stack(rows);
}

json run_case(const std::string& path, const json& description) {
  const auto folder = description.at("folder").get<std::string>();
  json out = header_of(folder);
  const auto model =
      load_pretrained(folder, torch::kCPU, parse_name<Precision>(description.at("precision").get<std::string>()));
  if (!std::filesystem::exists(path + ".in.safetensors")) return out;
  const torch::Tensor tokens = read_safetensors(path + ".in.safetensors").tensors.at(0).second;
  const torch::NoGradGuard no_grad;
  TensorFile result;
  result.tensors = {{"logits", model->forward(tokens, {}).contiguous()}, {"greedy", continuations(*model, tokens)}};
  write_safetensors(path + ".out.safetensors", result);
  out["counted"] = model->parameter_count();
  return out;
}

void run_cases(const std::string& folder) {
  for (const auto& description : json::parse(std::ifstream(folder + "/cases.json"))) {
    const std::string path = folder + "/" + description.at("name").get<std::string>();
    json out;
    try {
      out = run_case(path, description);
    } catch (const UsageError& error) {
      out = {{"refused", error.what()}};
    }
    std::ofstream(path + ".json") << out;
  }
}

std::vector<std::pair<std::string, torch::Tensor>> read_all(const std::string& path) {
  std::vector<std::pair<std::string, torch::Tensor>> tensors;
  for (const StoredTensor& stored : map_torch_file(path))
    tensors.emplace_back(stored.name, read_stored(stored).clone());
  return tensors;
}

bool equal(const std::vector<std::pair<std::string, torch::Tensor>>& a,
           const std::vector<std::pair<std::string, torch::Tensor>>& b) {
  if (a.size() != b.size()) return false;
  for (size_t t = 0; t < a.size(); ++t)
    if (a[t].first != b[t].first || !torch::equal(a[t].second, b[t].second)) return false;
  return true;
}

void damage(const std::string& file, const std::string& copy) {
  const std::string whole = read_text(file);
  const auto expected = read_all(file);
  int refused = 0, same = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ (at % 2 == 0 ? 0xff : 1 << at % 8));
    std::ofstream(copy, std::ios::binary) << changed;
    try {
      if (!equal(read_all(copy), expected)) throw std::runtime_error("unseen damage at byte " + std::to_string(at));
      ++same;
    } catch (const Error& error) {
      if (!std::string(error.what()).starts_with(copy)) throw std::runtime_error(error.what());
      ++refused;
    }
  }
  std::cout << json{{"refused", refused}, {"equal", same}};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 2)
    run_cases(argv[1]);
  else if (argc == 4 && argv[1] == std::string("damage"))
    damage(argv[2], argv[3]);
  else
    throw UsageError("usage: pretrained_oracle FOLDER | damage FILE COPY");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
