#include <fmt/format.h>

#include <filesystem>

#include "jobs/job.h"
#include "jobs/task_limits.h"

namespace recite {

namespace {

bool is_attention(Architecture architecture) {
  return architecture != Architecture::mamba && architecture != Architecture::lstm;
}

// What changes the trained weights, and nothing else: an option that the model or the task does not use is left out, so
// that a grid over it does not train the same weights twice.
nlohmann::json trained_task(const TaskSpec& task) {
  nlohmann::json out = task;
  if (!is_lookup(task.kind)) {
    out.erase("n_gram");
    out.erase("ngram_key");
  }
  return out;
}

nlohmann::json trained_model(const ModelSpec& model) {
  nlohmann::json out = model;
  const Architecture architecture = model.architecture;
  if (!is_attention(architecture)) out.erase("heads");
  if (architecture != Architecture::hard_alibi) out.erase("num_masked_heads");
  if (architecture != Architecture::mamba) out.erase("state_dim");
  if (architecture != Architecture::lstm) out.erase("dropout");
  if (!is_attention(architecture) || architecture == Architecture::rope) out.erase("score_quirk");
  return out;
}

nlohmann::json trained_how(const TrainSpec& train) {
  nlohmann::json out = train;
  out["steps"] = train.total_steps();
  out.erase("epochs");
  // As the number of ranks: the same training up to rounding, and what a user changes to fit the memory.
  out.erase("micro_batch_size");
  return out;
}

nlohmann::json stopped_when(const Job& job) {
  const EvalSpec& eval = job.eval;
  if (eval.stop_at_accuracy <= 0) return nullptr;
  return {{"accuracy", eval.stop_at_accuracy},
          {"length", eval.stop_length > 0 ? eval.stop_length : job.train.max_length},
          {"n_gram", uses_n_gram(job.task.kind) ? job.task.n_gram : 0},
          {"every", eval.every},
          {"mode", name_of(eval.mode)},
          {"seed", eval.seed},
          {"batch_size", eval.batch_size},
          {"num_batches", eval.num_batches}};
}

std::string normal_path(const std::string& path) {
  const std::filesystem::path normal = std::filesystem::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).string();
}

nlohmann::json asked_and_answered(const Job& job) {
  const PretrainedSpec& asked = job.pretrained;
  nlohmann::json out = {{"folder", normal_path(asked.model)},
                        {"tokenizer", normal_path(asked.tokenizer)},
                        {"task", name_of(job.task.kind)},
                        {"decode_cleanup", name_of(asked.decode_cleanup)},
                        {"precision", name_of(job.train.precision)},
                        {"seed", job.eval.seed}};
  if (job.task.kind == TaskKind::c4_copy) {
    out["file"] = normal_path(asked.c4_corpus);
    out["text_order"] = name_of(asked.text_order);
  }
  if (job.task.kind == TaskKind::squad) {
    out["file"] = normal_path(asked.squad_file);
    out["bins"] = {asked.squad_bins, asked.squad_contexts};
    out["normalisation"] = name_of(asked.squad_normalisation);
  }
  return out;
}

// FNV-1a (Fowler, Noll, Vo), 64 bits.
uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string Job::id() const {
  if (is_pretrained()) return fmt::format("{:016x}", hash_of(asked_and_answered(*this).dump()));
  const nlohmann::json trained = {{"task", trained_task(task)},
                                  {"model", trained_model(model)},
                                  {"train", trained_how(train)},
                                  {"stop", stopped_when(*this)}};
  return fmt::format("{:016x}", hash_of(trained.dump()));
}

std::string Job::model_name() const {
  if (!is_pretrained()) return std::string(name_of(model.architecture));
  return std::filesystem::path(normal_path(pretrained.model)).filename().string();
}

std::string Job::label() const {
  if (is_pretrained()) {
    const bool shuffled = task.kind == TaskKind::c4_copy && pretrained.text_order == TextOrder::random;
    return fmt::format("{} {}{} seed {}", model_name(), name_of(task.kind), shuffled ? " random" : "", eval.seed);
  }
  const std::string key = uses_n_gram(task.kind) ? fmt::format(" n={}", task.n_gram) : "";
  return fmt::format("{} {}{} {}..{} seed {}", name_of(model.architecture), name_of(task.kind), key, train.min_length,
                     train.max_length, train.seed);
}

}  // namespace recite
