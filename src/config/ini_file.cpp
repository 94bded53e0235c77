#include "config/ini_file.h"

#include <fmt/format.h>

#include <sstream>

#include "base/error.h"
#include "base/text.h"

namespace recite {

namespace {

std::string without_comment(const std::string& line) {
  for (size_t i = 0; i < line.size(); ++i) {
    const bool mark = line[i] == '#' || line[i] == ';';
    if (mark && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) return trim(line.substr(0, i));
  }
  return trim(line);
}

}  // namespace

std::vector<IniEntry> parse_ini(const std::string& text, const std::string& path) {
  std::vector<IniEntry> entries;
  std::istringstream lines(text);
  std::string section, raw;
  int section_line = 0;
  constexpr const char* byte_order_mark = "\xef\xbb\xbf";  // of UTF-8, as some editors put it first
  if (text.starts_with(byte_order_mark)) lines.ignore(3);
  for (int number = 1; std::getline(lines, raw); ++number) {
    const auto refuse = [&](const std::string& what) {
      throw UsageError(fmt::format("{}:{}: {}: '{}'", path, number, what, trim(raw)));
    };
    const std::string line = without_comment(raw);
    if (line.empty()) continue;
    if (line.front() == '[') {
      if (line.back() != ']') refuse("a section is written [name]");
      section = trim(line.substr(1, line.size() - 2));
      section_line = number;
      continue;
    }
    const size_t equals = line.find('=');
    if (equals == std::string::npos) refuse("neither [section] nor key = value");
    const std::string key = trim(line.substr(0, equals));
    if (key.empty()) refuse("no key before '='");
    if (section.empty()) refuse("a key before the first [section]");
    entries.push_back({section, key, trim(line.substr(equals + 1)), number, section_line});
  }
  return entries;
}

}  // namespace recite
