// A text file, plain or compressed by gzip, read line by line.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>

namespace recite {

// Not copyable. Every method throws UsageError that names the file and the option: missing, no file, cannot be read;
// named .gz without being so; damaged or cut short.
class TextFile {
 public:
  // `option` is the one that names the file, for messages.
  TextFile(std::string path, std::string option);
  ~TextFile();
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  // The next line without its end, "\n" or "\r\n"; false, and an empty line, at the end of the file.
  bool read_line(std::string& line);

  // All that was not read yet.
  std::string read_rest();

  // "FILE, line 12": of the line read last.
  std::string place() const;

 private:
  [[noreturn]] void fail(const std::string& what) const;
  bool fill();

  std::string path_;
  std::string option_;
  gzFile file_ = nullptr;
  std::string buffer_;
  size_t used_ = 0;  // bytes of the buffer that were given out
  int64_t line_ = 0;
};

}  // namespace recite
