#include "pretrained/prepare.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "pretrained/job_prompts.h"
#include "weights/durable_file.h"
#include "weights/pretrained.h"

namespace recite {

namespace {

// Files that several jobs name are read once.
class Preparation {
 public:
  void prepare(Job& job) {
    const PretrainedHeader& header = header_of(job);
    job.model = header.spec;
    job.folder = {header.parameters, header.vocabulary};
    const JobPrompts& prompts = prompts_of(job);
    check_vocabulary(job, prompts.tokenizer());
    if (job.task.kind == TaskKind::squad && job.eval.lengths.empty()) job.eval.lengths = prompts.source().bins();
    for (const int length : job.eval.lengths) prompts.source().check(length);
    check_job(job);
  }

 private:
  const PretrainedHeader& header_of(const Job& job) {
    const auto [found, is_new] = headers_.try_emplace(job.pretrained.model);
    if (is_new) found->second = read_pretrained_header(job.pretrained.model);
    return found->second;
  }

  const JobPrompts& prompts_of(const Job& job) {
    const std::string key = key_of(job);
    auto found = prompts_.find(key);
    if (found == prompts_.end()) found = prompts_.emplace(key, JobPrompts(job)).first;
    return found->second;
  }

  // Most folders have a copy of the same tokenizer.
  static std::string key_of(const Job& job) {
    PretrainedSpec asked = job.pretrained;
    asked.model.clear();
    asked.tokenizer.clear();
    const std::string path = tokenizer_path(job);
    const FileChecksum tokenizer = std::filesystem::is_regular_file(path) ? checksum_of(path) : FileChecksum{};
    const nlohmann::json key = {asked, name_of(job.task.kind), job.eval.seed, tokenizer.crc32, tokenizer.size};
    return key.dump();
  }

  static void check_vocabulary(const Job& job, const Tokenizer& tokenizer) {
    if (tokenizer.size() <= job.folder.vocabulary) return;
    throw UsageError(
        fmt::format("{} numbers its tokens up to {}, and the embedding of {} has {} rows: they do not belong together "
                    "(pretrained.tokenizer names another)",
                    tokenizer_path(job), tokenizer.size() - 1, job.pretrained.model, job.folder.vocabulary));
  }

  std::map<std::string, PretrainedHeader> headers_;  // by folder
  std::map<std::string, JobPrompts> prompts_;
};

// All at once: who gets them ready wants to know what for.
void check_folders(const std::vector<Job>& jobs) {
  std::set<std::string> missing;
  for (const Job& job : jobs)
    if (job.is_pretrained() && !std::filesystem::is_directory(job.pretrained.model))
      missing.insert(job.pretrained.model);
  if (missing.empty()) return;
  throw UsageError(
      fmt::format("pretrained.model: no such folder: {} (looked for from {}); each is to hold config.json, "
                  "weights and tokenizer.json",
                  fmt::join(missing, ", "), std::filesystem::current_path().string()));
}

}  // namespace

void prepare_pretrained(std::vector<Job>& jobs) {
  check_folders(jobs);
  Preparation preparation;
  for (Job& job : jobs)
    if (job.is_pretrained()) preparation.prepare(job);
  sort_by_cost(jobs);
}

}  // namespace recite
