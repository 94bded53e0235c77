#include "train/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "weights/durable_file.h"

namespace recite {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::string_view name_prefix = "step-";

fs::path json_path(const fs::path& folder, int64_t step) { return folder / fmt::format("step-{}.json", step); }
fs::path tensors_path(const fs::path& folder, int64_t step) {
  return folder / fmt::format("step-{}.safetensors", step);
}

// What step-N.json says.
struct Label {
  int64_t step = 0;
  int64_t examples = 0;
  std::string job;
  FileChecksum checksum;
};

std::string text_of(const Label& label) {
  const json written = {{"step", label.step},
                        {"examples", label.examples},
                        {"job", label.job},
                        {"crc32", label.checksum.crc32},
                        {"size", label.checksum.size}};
  return written.dump(2) + "\n";
}

Label read_label(const fs::path& path) {
  const json read = json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  try {
    return {read.at("step").get<int64_t>(),
            read.at("examples").get<int64_t>(),
            read.at("job").get<std::string>(),
            {read.at("crc32").get<uint32_t>(), read.at("size").get<uint64_t>()}};
  } catch (const json::exception&) {
    throw Error(fmt::format("{} does not say what it should", path.filename().string()));
  }
}

// N of "step-N.json", "step-N.safetensors" and what a killed write left of them.
std::optional<int64_t> step_of(const fs::path& path) {
  const std::string name = path.filename();
  if (!name.starts_with(name_prefix)) return std::nullopt;
  int64_t step = 0;
  const char* begin = name.data() + name_prefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), step);
  if (error != std::errc() || *end != '.') return std::nullopt;
  return step;
}

std::vector<fs::path> files_of_checkpoints(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (step_of(entry.path())) files.push_back(entry.path());
  }
  return files;
}

// Newest first.
std::vector<int64_t> steps_in(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const fs::path& file : files_of_checkpoints(folder)) {
    if (file.extension() == ".json") steps.push_back(*step_of(file));
  }
  std::sort(steps.begin(), steps.end(), std::greater<>());
  return steps;
}

// Not the checksum: to read all of it again at each save would take longer than the save.
bool looks_whole(const fs::path& folder, const std::string& job_id, int64_t step) {
  try {
    const Label label = read_label(json_path(folder, step));
    return label.job == job_id && fs::file_size(tensors_path(folder, step)) == label.checksum.size;
  } catch (const std::exception&) {
    return false;
  }
}

// Later steps than the one just written are those that a restart found damaged.
void remove_all_but_last_two(const fs::path& folder, const std::string& job_id, int64_t newest) {
  std::optional<int64_t> before;
  for (const int64_t step : steps_in(folder)) {
    if (step < newest && !before && looks_whole(folder, job_id, step)) before = step;
  }
  for (const fs::path& file : files_of_checkpoints(folder)) {
    const int64_t step = *step_of(file);
    if (step != newest && step != before) fs::remove(file);
  }
}

Checkpoint read_whole(const fs::path& folder, int64_t step, const Label& label) {
  if (label.step != step) throw Error(fmt::format("its JSON says step {}", label.step));
  const std::string path = tensors_path(folder, step);
  const FileChecksum checksum = checksum_of(path);
  if (checksum.size != label.checksum.size) {
    throw Error(fmt::format("{} bytes instead of {}", checksum.size, label.checksum.size));
  }
  if (checksum.crc32 != label.checksum.crc32) {
    throw Error(fmt::format("CRC-32 {:08x} instead of {:08x}", checksum.crc32, label.checksum.crc32));
  }
  return {label.step, label.examples, read_safetensors(path)};
}

}  // namespace

void write_checkpoint(const std::string& folder, const std::string& job_id, const Checkpoint& checkpoint) {
  try {
    fs::create_directories(folder);
    const fs::path tensors = tensors_path(folder, checkpoint.step);
    const uint32_t crc32 = write_safetensors(tensors, checkpoint.tensors);
    const Label label{checkpoint.step, checkpoint.examples, job_id, {crc32, fs::file_size(tensors)}};
    write_durably(json_path(folder, checkpoint.step), text_of(label));
    remove_all_but_last_two(folder, job_id, checkpoint.step);
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("the checkpoint of step {} cannot be written: {}", checkpoint.step, error.what()));
  }
}

std::optional<int64_t> newest_checkpoint_step(const std::string& folder) {
  const std::vector<int64_t> steps = steps_in(folder);
  return steps.empty() ? std::nullopt : std::optional(steps.front());
}

std::string restore_newest_checkpoint(const std::string& folder, const std::string& job_id,
                                      const std::function<void(const Checkpoint&)>& restore) {
  std::string refused;
  for (const int64_t step : steps_in(folder)) {
    try {
      const Label label = read_label(json_path(folder, step));
      if (label.job != job_id) {
        refused += fmt::format("; step-{} is of another job ({}, this one is {})", step, label.job, job_id);
        continue;
      }
      restore(read_whole(folder, step, label));
      return fmt::format("step {} from step-{}.safetensors{}", step, step, refused);
    } catch (const Error& error) {  // anything else, as memory that is short, says nothing of the file
      refused += fmt::format("; step-{} is damaged: {}", step, error.what());
    }
  }
  return refused.empty() ? "" : "no checkpoint can be used, training starts at step 0" + refused;
}

}  // namespace recite
