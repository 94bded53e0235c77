// What the user gave: the texts of a sweep file and a command line by option, before they become values.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/sweep_file.h"

namespace recite {

struct Given {
  std::string text;
  std::string place;  // "sweep.ini:12", "command line"
};

struct GivenSweep {
  std::map<std::string, std::vector<Given>> options;               // full name -> as often as it was given
  std::map<Architecture, std::map<std::string, Given>> overrides;  // sections of models
};

// Throws UsageError for unknown sections and keys, and for what may not be repeated.
GivenSweep given_by_file(const std::string& text, const std::string& path);

// Puts the command line in place of what the file says, overrides of models too.
void replace_given(GivenSweep& given, const GivenOptions& command_line);

// Writes what `auto` means on this machine in place of it: device, then precision.
void resolve_automatic(GivenSweep& given, const Machine& machine);

// An INI text of every option, given or by default, from which given_by_file() makes the same sweep.
std::string text_of(const GivenSweep& given);

}  // namespace recite
