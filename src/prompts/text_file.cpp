#include "prompts/text_file.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace recite {

namespace {

constexpr size_t piece_bytes = 1 << 18;

}  // namespace

TextFile::TextFile(std::string path, std::string option) : path_(std::move(path)), option_(std::move(option)) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path_, ignored)) fail("is a folder, a file is wanted");
  file_ = gzopen(path_.c_str(), "rb");
  if (file_ == nullptr) fail(fmt::format("cannot be opened: {}", std::strerror(errno)));
  gzbuffer(file_, piece_bytes);
  // zlib gives files without gzip's first bytes as they stand: the compressed rest of a damaged one would pass as text.
  if (path_.ends_with(".gz") && gzdirect(file_) != 0) {
    gzclose_r(file_);
    fail("is named .gz, but does not begin as gzip files do: it is empty or damaged");
  }
}

TextFile::~TextFile() { gzclose_r(file_); }

void TextFile::fail(const std::string& what) const {
  throw UsageError(fmt::format("{}: {} ({})", path_, what, option_));
}

bool TextFile::fill() {
  buffer_.erase(0, used_);
  used_ = 0;
  const size_t kept = buffer_.size();
  buffer_.resize(kept + piece_bytes);
  const int read = gzread(file_, buffer_.data() + kept, piece_bytes);
  buffer_.resize(kept + (read > 0 ? read : 0));
  if (read == static_cast<int>(piece_bytes)) return true;
  // A file that is cut short gives what it has, and an error beside it.
  int code = Z_OK;
  const char* reason = gzerror(file_, &code);
  if (code == Z_ERRNO) fail(fmt::format("cannot be read: {}", std::strerror(errno)));
  if (code != Z_OK && code != Z_STREAM_END) {
    fail(fmt::format("is a damaged gzip file, or not all of one: {}", reason));
  }
  return read > 0;
}

bool TextFile::read_line(std::string& line) {
  size_t end = buffer_.find('\n', used_);
  while (end == std::string::npos) {
    const size_t searched = buffer_.size() - used_;
    if (!fill()) break;
    end = buffer_.find('\n', searched);
  }
  line = buffer_.substr(used_, end == std::string::npos ? end : end - used_);
  const bool found = end != std::string::npos || !line.empty();
  used_ = end == std::string::npos ? buffer_.size() : end + 1;
  if (line.ends_with('\r')) line.pop_back();
  line_ += found ? 1 : 0;
  return found;
}

std::string TextFile::read_rest() {
  while (fill()) {
  }
  return std::move(buffer_);
}

std::string TextFile::place() const { return fmt::format("{}, line {}", path_, line_); }

}  // namespace recite
