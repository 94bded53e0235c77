// From the command line of the program to a verb.
#pragma once

#include <string>
#include <vector>

namespace recite {

// `words` are the arguments without the program's name. Runs the verb, or prints help; messages of UsageError and Error
// go to stderr as "recite VERB: ...". Returns the exit code.
int run_program(const std::vector<std::string>& words);

}  // namespace recite
