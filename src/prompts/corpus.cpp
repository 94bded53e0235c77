#include "prompts/corpus.h"

#include <fmt/format.h>
#include <glob.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "prompts/text_file.h"
#include "prompts/unicode.h"

namespace recite {

namespace {

namespace fs = std::filesystem;

// The ending of a name, without that of gzip.
std::string kind_of(const fs::path& path) {
  return path.extension() == ".gz" ? path.stem().extension().string() : path.extension().string();
}

bool is_json_lines(const fs::path& path) { return kind_of(path) == ".json" || kind_of(path) == ".jsonl"; }

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> files;
  std::error_code failed;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, failed)) {
    const bool is_text = is_json_lines(entry.path()) || kind_of(entry.path()) == ".txt";
    if (entry.is_regular_file() && is_text) files.push_back(entry.path());
  }
  if (failed)
    throw UsageError(fmt::format("{}: cannot be read: {}: change c4_corpus", folder.string(), failed.message()));
  std::ranges::sort(files);
  if (files.empty()) {
    throw UsageError(fmt::format("{}: the folder has no .json, .jsonl or .txt file (.gz or not): change c4_corpus",
                                 folder.string()));
  }
  return files;
}

std::vector<std::string> files_like(const std::string& pattern) {
  glob_t found{};
  const int failed = glob(pattern.c_str(), 0, nullptr, &found);
  std::vector<std::string> files(found.gl_pathv, found.gl_pathv + (failed == 0 ? found.gl_pathc : 0));
  globfree(&found);
  if (files.empty()) throw UsageError(fmt::format("{}: no file has such a name: change c4_corpus", pattern));
  return files;
}

std::vector<std::string> files_of(const std::string& corpus) {
  std::error_code ignored;
  if (fs::is_directory(corpus, ignored)) return files_in(corpus);
  if (!fs::exists(corpus, ignored) && corpus.find_first_of("*?[") != std::string::npos) return files_like(corpus);
  return {corpus};
}

// Calls `take(text)` for each text, as long as it returns true.
template <class Take>
void read_json_lines(const std::string& path, Take take) {
  TextFile file(path, "c4_corpus");
  std::string line;
  bool more = true;
  while (more && file.read_line(line)) {
    if (trim(line).empty()) continue;
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) throw UsageError(fmt::format("{}: is no JSON object in UTF-8", file.place()));
    const auto text = object.find("text");
    if (text == object.end() || !text->is_string()) {
      throw UsageError(fmt::format("{}: the JSON object has no \"text\" that is a string", file.place()));
    }
    more = take(text->get<std::string>());
  }
}

template <class Take>
void read_paragraphs(const std::string& path, Take take) {
  TextFile file(path, "c4_corpus");
  std::string line, paragraph;
  bool more = true;
  while (more && file.read_line(line)) {
    if (!is_utf8(line)) throw UsageError(fmt::format("{}: is no UTF-8 text", file.place()));
    if (strip(line).empty()) {
      more = take(std::exchange(paragraph, {}));
    } else {
      paragraph += (paragraph.empty() ? "" : "\n") + line;
    }
  }
  if (more) take(paragraph);
}

}  // namespace

std::vector<std::string> read_corpus(const std::string& corpus, int64_t max_bytes) {
  std::vector<std::string> texts;
  int64_t bytes_read = 0;
  const auto take = [&](std::string text) {
    bytes_read += static_cast<int64_t>(text.size());
    if (!text.empty()) texts.push_back(std::move(text));
    return bytes_read < max_bytes;
  };
  for (const std::string& path : files_of(corpus)) {
    if (bytes_read >= max_bytes) break;
    is_json_lines(path) ? read_json_lines(path, take) : read_paragraphs(path, take);
  }
  if (texts.empty()) throw UsageError(fmt::format("{}: there is no text in it: change c4_corpus", corpus));
  return texts;
}

}  // namespace recite
