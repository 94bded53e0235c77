#include "weights/pretrained_folder.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tasks/alphabet.h"
#include "weights/durable_file.h"
#include "weights/hugging_face_config.h"
#include "weights/safetensors.h"

namespace recite {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* weights_file = "model.safetensors";
constexpr const char* config_file = "config.json";
constexpr const char* job_file = "recite.json";
constexpr int job_format_version = 1;

fs::path without_trailing_slash(const std::string& folder) {
  const fs::path path = fs::path(folder).lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

// Names that no user gives a folder: what has them may be removed.
fs::path sibling(const fs::path& folder, const char* ending) {
  return folder.parent_path() / fmt::format(".{}.{}", folder.filename().string(), ending);
}

void write_files(const fs::path& folder, const SavedModel& origin, const Model& model) {
  TensorFile weights;
  weights.metadata["format"] = "pt";  // transformers refuses a file that does not say so
  for (const Parameter& parameter : model.parameters()) weights.tensors.emplace_back(parameter.name, parameter.tensor);
  write_safetensors(folder / weights_file, weights);
  const json config = hugging_face_config(model, Alphabet(origin.job.task.vocab_size));
  write_durably(folder / config_file, config.dump(2) + "\n");
  const json trained = {{"format_version", job_format_version},
                        {"job", origin.job},
                        {"step", origin.step},
                        {"examples", origin.examples}};
  write_durably(folder / job_file, trained.dump(2) + "\n");
}

// A model saved before is replaced; any other folder is the user's.
void check_replaceable(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  if (!fs::is_directory(folder))
    throw Error(fmt::format("{}: is a file, a model is saved as a folder", folder.string()));
  if (!fs::is_empty(folder) && !fs::exists(folder / job_file)) {
    throw Error(fmt::format("{}: holds something else than a saved model (no {}), and is not replaced", folder.string(),
                            job_file));
  }
}

// A folder cannot be renamed over another that has files.
void move_into_place(const fs::path& made, const fs::path& folder) {
  const fs::path old = sibling(folder, "recite-old");
  fs::remove_all(old);
  if (fs::exists(folder)) fs::rename(folder, old);
  fs::rename(made, folder);
  fs::remove_all(old);
  sync_folder(folder.parent_path());
}

// All but the model.
SavedModel read_origin(const fs::path& path) {
  if (!fs::exists(path)) {
    throw UsageError(fmt::format("{}: no such file; a folder that recite saved holds {}, {} and {}", path.string(),
                                 config_file, weights_file, job_file));
  }
  const json saved = json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  if (!saved.is_object()) throw UsageError(fmt::format("{}: is no JSON object", path.string()));
  try {
    const int version = saved.at("format_version").get<int>();
    if (version != job_format_version) {
      throw UsageError(
          fmt::format("{}: has format_version {}, this program reads {}", path.string(), version, job_format_version));
    }
    return {saved.at("job").get<Job>(), saved.at("step").get<int64_t>(), saved.at("examples").get<int64_t>(), nullptr};
  } catch (const json::exception& error) {
    throw UsageError(fmt::format("{}: {}", path.string(), error.what()));
  }
}

TensorFile read_weights(const fs::path& path) {
  try {
    return read_safetensors(path);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

}  // namespace

void save_model_folder(const std::string& folder, const Model& model, const Job& job, int64_t step, int64_t examples) {
  const fs::path target = fs::absolute(without_trailing_slash(folder));
  const fs::path made = sibling(target, "recite-new");
  try {
    check_replaceable(target);
    fs::remove_all(made);
    fs::create_directories(made);
    write_files(made, {job, step, examples, nullptr}, model);
    move_into_place(made, target);
  } catch (const fs::filesystem_error& error) {
    throw Error(fmt::format("{}: cannot be saved: {}", target.string(), error.what()));
  }
}

SavedModel load_model_folder(const std::string& folder, torch::Device device, Precision precision) {
  const fs::path source = without_trailing_slash(folder);
  SavedModel saved = read_origin(source / job_file);
  const fs::path weights = source / weights_file;
  const TensorFile file = read_weights(weights);
  saved.model = make_model(saved.job.model, vocabulary_size(saved.job.task), precision, device);
  try {
    load_parameters(*saved.model, file.tensors);
  } catch (const Error& error) {
    throw UsageError(fmt::format("{}: {}", weights.string(), error.what()));
  }
  return saved;
}

}  // namespace recite
