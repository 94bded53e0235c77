// The lines of an INI file. Boost.Program_options reads INI files too, but forgets the lines that messages must name.
#pragma once

#include <string>
#include <vector>

namespace recite {

struct IniEntry {
  std::string section;
  std::string key;
  std::string value;  // without comment and outer blanks; may be empty
  int line = 0;       // from 1
  int section_line = 0;
};

// '#' and ';' begin a comment at the start of a line or after a blank. Throws UsageError ("PATH:LINE: ...") for a line
// that is neither a section, nor "key = value", nor empty, and for a key before the first section.
std::vector<IniEntry> parse_ini(const std::string& text, const std::string& path);

}  // namespace recite
