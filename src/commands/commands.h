// The verbs. Each takes what follows its name on the command line, writes to stdout, and returns the exit code
// (base/error.h); UsageError and Error are left to main.
#pragma once

#include <string>
#include <vector>

#include "config/command_line.h"

namespace recite {

int sweep_command(const std::vector<std::string>& arguments);
int plan_command(const std::vector<std::string>& arguments);
int status_command(const std::vector<std::string>& arguments);
int train_command(const std::vector<std::string>& arguments);
int eval_command(const std::vector<std::string>& arguments);
int pretrained_command(const std::vector<std::string>& arguments);
int sample_command(const std::vector<std::string>& arguments);
int tokenize_command(const std::vector<std::string>& arguments);
int bench_command(const std::vector<std::string>& arguments);
int export_command(const std::vector<std::string>& arguments);
int doctor_command(const std::vector<std::string>& arguments);
int version_command(const std::vector<std::string>& arguments);
int completion_command(const std::vector<std::string>& arguments);

// The table of verbs (commands/verbs.cpp): operands, options, help and examples of each.
const std::vector<Verb>& verbs();
const Verb& verb_named(const std::string& name);

// parse_arguments() for the verb. Where --help was given it prints the help; the command then returns 0:
//
//   const Arguments given = arguments_of("status", arguments);
//   if (given.help) return 0;
Arguments arguments_of(const std::string& verb, const std::vector<std::string>& arguments);

}  // namespace recite
