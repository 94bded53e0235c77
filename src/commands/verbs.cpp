#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "commands/commands.h"
#include "jobs/task_limits.h"

namespace recite {

namespace {

const std::vector<std::string> all_sections = {"sweep", "run", "task", "model", "pretrained", "train", "eval"};

std::vector<std::string> tasks_of_letters() {
  std::vector<std::string> names = names_of<TaskKind>();
  std::erase_if(names, [](const std::string& name) { return reads_text(parse_name<TaskKind>(name)); });
  return names;
}

Verb sweep_verb() {
  return {
      .name = "sweep",
      .summary = "Run every job of a grid, or go on with it.",
      .description =
          "Jobs that the results file holds as done are not run again; interrupted ones go on from their\n"
          "checkpoint. Ctrl-C once finishes what is begun and stops; twice ends at once. Every option of the\n"
          "sweep file is an option here too, and replaces the file's; repeated, a scalar is an axis of the grid.",
      .operands = {"FILE"},
      .options =
          {{"output", 'o', "RESULTS", "results file, made or gone on with; by default NAME.h5 of the sweep's name", {}},
           {"retry-failed", 0, "", "run failed jobs again", {}},
           {"max-hours", 0, "HOURS", "start nothing more after this long, leave checkpoints, exit with 75", {}}},
      .sections = all_sections,
      .examples = {
          {"recite sweep configs/quickstart.ini -o quickstart.h5", "four small models, in a few minutes on a laptop"},
          {"recite sweep configs/quickstart.ini -o quickstart.h5 --only model=mamba", "the jobs of one model alone"},
          {"recite sweep configs/quickstart.ini -o quickstart.h5 --train.steps=50 --retry-failed",
           "shorter training in place of the file's; failed jobs again"}}};
}

Verb plan_verb() {
  return {
      .name = "plan",
      .summary = "List the jobs of a sweep file with parameters, tokens, memory and time; run nothing.",
      .description =
          "Memory is an estimate for each rank. Time is known where the results file holds a measured\n"
          "rate of the same model, and '-' elsewhere.",
      .operands = {"FILE"},
      .options = {{"output", 'o', "RESULTS", "results file to go on with: what is done, and measured rates", {}},
                  {"retry-failed", 0, "", "count failed jobs as to be run", {}},
                  {"check", 0, "", "only check the file and the options; print nothing", {}},
                  {"workers", 0, "W", "workers that will train [1]", {}}},
      .sections = all_sections,
      .examples = {
          {"recite plan configs/quickstart.ini", "the jobs, biggest first"},
          {"recite plan configs/quickstart.ini --workers 4 --sweep.ranks_per_job=2", "for another machine"},
          {"recite plan configs/quickstart.ini --check", "exit code 0: the file is right; 2: a message says why not"}}};
}

Verb status_verb() {
  return {.name = "status",
          .summary = "Show jobs by state, rates, time left and failures of a results file, also while it is written.",
          .description =
              "Exit code: 0 when every job is done, 3 when some failed for good, 75 when the same `recite sweep`\n"
              "command goes on.",
          .operands = {"RESULTS"},
          .options = {{"watch", 0, "SECONDS", "again and again, with this pause, until interrupted", {}},
                      {"quiet", 'q', "", "print nothing: the exit code says it", {}}},
          .sections = {},
          .examples = {{"recite status quickstart.h5", "once"},
                       {"recite status quickstart.h5 --watch 5", "live, every five seconds"},
                       {"recite status quickstart.h5 --quiet || echo not done", "for scripts"}}};
}

Verb train_verb() {
  return {
      .name = "train",
      .summary = "Train and evaluate one model from the command line.",
      .description =
          "Takes the names and defaults of the published code (--train_task, --lr, --min_eval_len, ...) and\n"
          "those of the sweep file. Lengths are included at both ends. eval.context_length limits only when\n"
          "it is set.",
      .operands = {},
      .options = {{"output", 'o', "RESULTS", "results file, made or gone on with [train.h5]", {}},
                  {"retry-failed", 0, "", "train again though it failed", {}}},
      .sections = {"sweep", "run", "task", "model", "train", "eval"},
      .examples = {{"recite train --model T_rope --train_task copy --eval_task copy --min_train_len 5 "
                    "--max_train_len 20 --min_eval_len 20 --max_eval_len 20",
                    "the published code's own example"},
                   {"recite train --model mamba --hidden_size 64 --layers 2 --steps 200 --lr 1e-3 -o mamba.h5",
                    "a model that a laptop trains in a minute"},
                   {"recite train --model lstm --hidden_size 64 --layers 2 --train.steps=100 --save-models -o lstm.h5",
                    "the sweep file's names; the weights are kept in lstm.h5.jobs/"}}};
}

Verb eval_verb() {
  return {
      .name = "eval",
      .summary = "Evaluate saved weights on strings of other tasks and lengths.",
      .description = "A folder in the Hugging Face layout, as run.save_models leaves it.",
      .operands = {},
      .options = {{"model", 0, "DIR", "folder of the model (config.json, model.safetensors, recite.json)", {}},
                  {"output", 'o', "RESULTS", "results file to add to; by default the table is only printed", {}}},
      .sections = {"run.device", "run.threads", "eval.task", "eval.n_gram", "eval.lengths", "eval.batch_size",
                   "eval.num_batches", "eval.mode", "eval.seed", "eval.context_length"},
      .examples = {{"recite eval --model lstm.h5.jobs/*/model --lengths 10:100:10",
                    "the model that the last example of `recite train --help` keeps"},
                   {"recite eval --model lstm.h5.jobs/*/model --min_eval_len 20 --max_eval_len 40 --eval_len_step 5",
                    "a range by its published names"},
                   {"recite eval --model lstm.h5.jobs/*/model --eval.mode=greedy --eval_num_batches 10",
                    "the model reads its own answers"}}};
}

Verb pretrained_verb() {
  return {
      .name = "pretrained",
      .summary = "Ask a pretrained model to copy text, look up a phone book or answer questions.",
      .description =
          "Tasks: c4_copy (a text of so many tokens), phone_book (so many entries), squad (passages of up to so\n"
          "many tokens). The model is a folder on disk, GPT-NeoX or Mamba in the Hugging Face layout; nothing is\n"
          "downloaded. Answers are decoded greedily, and the same prompts are put to every model of one tokenizer.",
      .operands = {},
      .options = {{"model", 0, "DIR", "folder of the model (config.json, weights, tokenizer.json)", {}},
                  {"output", 'o', "RESULTS", "results file, made or gone on with [pretrained.h5]", {}},
                  {"retry-failed", 0, "", "ask again though it failed", {}}},
      .sections = {"sweep.task", "sweep.ranks_per_job", "run.device", "run.threads", "run.stall_timeout",
                   "run.log_samples", "pretrained", "train.precision", "eval.lengths", "eval.batch_size",
                   "eval.num_batches", "eval.seed"},
      .examples = {{"recite pretrained --model models/pythia-410m --task phone_book --lengths 3,10",
                    "two sizes of phone book"},
                   {"recite pretrained --model models/mamba-370m --task c4_copy --c4_corpus c4.json.gz "
                    "--text_order random --min_eval_len 20 --max_eval_len 40 --eval_len_step 20 -o copied.h5",
                    "shuffled text, by published names"},
                   {"recite pretrained --model models/mamba-370m --task squad --squad_file dev-v2.0.json --log-samples",
                    "every bin of SQuAD; the answers are kept in pretrained.h5.jobs/"}},
      .defaults = {{"eval.lengths", "20"}, {"eval.batch_size", "32"}, {"eval.num_batches", "3"}}};
}

Verb sample_verb() {
  return {
      .name = "sample",
      .summary = "Print strings of a task, with a mark under each token that carries loss.",
      .description = "",
      .operands = {},
      .options = {{"task", 0, "TASK", "copy, prefix_ngram, suffix_ngram, duplicate_ngram [copy]", tasks_of_letters()},
                  {"n_gram", 0, "LETTERS", "of the n-gram [0]", {}},
                  {"length", 0, "LETTERS", "of each string [20]", {}},
                  {"count", 0, "N", "strings, or packed rows [5]", {}},
                  {"seed", 0, "SEED", "of the strings [0]", {}},
                  {"vocab_size", 0, "LETTERS", "of the alphabet, 1 to 26 [26]", {}},
                  {"length_answer", 0, "LETTERS", "of the answer; 0: all that the task allows [0]", {}},
                  {"ngram_key", 0, "WHICH", "unique: the key occurs once; any: the first occurrence counts [unique]",
                   names_of<NgramKey>()},
                  {"packed", 0, "", "print packed training rows", {}},
                  {"min_length", 0, "LETTERS", "with --packed: of the shortest string [5]", {}},
                  {"max_length", 0, "LETTERS", "with --packed: of the longest string [20]", {}},
                  {"context_length", 0, "TOKENS", "with --packed: of a row [220]", {}},
                  {"width", 0, "COLUMNS", "before a line is broken; 0: never [100]", {}}},
      .sections = {},
      .examples = {{"recite sample --task copy --length 10", "five strings to copy"},
                   {"recite sample --task prefix_ngram --n_gram 2 --length 20", "look-ups by a key of two letters"},
                   {"recite sample --task copy --packed --count 1", "a training row"}}};
}

Verb tokenize_verb() {
  return {
      .name = "tokenize",
      .summary = "Print the token ids of text, one line for each line.",
      .description =
          "For a tokenizer.json of the byte-level BPE kind (GPT-2, GPT-NeoX-20b), with the ids of Hugging Face's\n"
          "`tokenizers`. A line's end is no part of it, special tokens written in it are, and none are added.",
      .operands = {"[TEXT]"},
      .options = {{"tokenizer", 0, "FILE", "the tokenizer.json; must be given", {}},
                  {"decode", 0, "", "the other way: read lines of ids, print their text", {}},
                  {"skip-special", 0, "", "with --decode: leave out special tokens", {}}},
      .sections = {},
      .examples = {
          {"recite tokenize --tokenizer tokenizer.json text.txt", "of a file"},
          {"echo 'to be or not to be' | recite tokenize --tokenizer tokenizer.json", "of standard input"},
          {"recite tokenize --tokenizer tokenizer.json text.txt | recite tokenize --tokenizer tokenizer.json --decode",
           "there and back: the text in NFC, where the tokenizer asks for it"}}};
}

Verb bench_verb() {
  return {
      .name = "bench",
      .summary = "Time operations and training steps beside a plain matrix product and a copy.",
      .description =
          "Without --model all of them, in a small size. A share is that of the nearer ceiling: the product's\n"
          "FLOP/s, or the copy's bytes/s. Times are medians.",
      .operands = {},
      .options = {{"seconds", 0, "SECONDS", "for each row [1]", {}},
                  {"json", 0, "FILE", "write the figures there, too", {}},
                  {"trace", 0, "FILE", "write a Chrome trace of one training step of --model", {}}},
      .sections = {"sweep.model", "sweep.task", "sweep.seed", "run.device", "run.threads", "task", "model", "train"},
      .examples = {{"recite bench --seconds 0.2", "every model in a small size, on all cores"},
                   {"recite bench --model mamba --layers 4 --run.threads=1 --json mamba.json", "one model, one core"},
                   {"recite bench --model rope --seconds 0.1 --trace rope.json", "where a step's time goes"}}};
}

Verb export_verb() {
  return {.name = "export",
          .summary = "Write the rows of a results file as CSV.",
          .description = "",
          .operands = {"RESULTS"},
          .options = {{"output", 'o', "FILE", "CSV file; by default standard output", {}},
                      {"table",
                       0,
                       "TABLE",
                       "runs, jobs, events, evaluations or training [evaluations]",
                       {"runs", "jobs", "events", "evaluations", "training"}},
                      {"every-try", 0, "", "rows of earlier tries too, not only those that count", {}}},
          .sections = {},
          .examples = {{"recite export quickstart.h5 -o quickstart.csv", "every measured point, with its job"},
                       {"recite export quickstart.h5 --table training -o loss.csv", "logged losses"},
                       {"recite export quickstart.h5 --table jobs", "the jobs, on the terminal"}}};
}

Verb doctor_verb() {
  return {.name = "doctor",
          .summary = "Check the installation: libraries, GPU, MPI, results files, cores and memory.",
          .description = "One line a check: ok, warning or failed, and what to do. Exit code 1 when one failed.",
          .operands = {},
          .options = {},
          .sections = {},
          .examples = {{"recite doctor", "this machine"},
                       {"recite doctor > doctor.txt", "to send along with a question"},
                       {"recite doctor | grep -v '^ok'", "what is not as it should be"}}};
}

Verb version_verb() {
  return {.name = "version",
          .summary = "Print the build and the versions of its libraries.",
          .description = "",
          .operands = {},
          .options = {},
          .sections = {},
          .examples = {{"recite version", "all of it"},
                       {"recite version | head -n 1", "the build alone"},
                       {"recite version | grep HDF5", "one library"}}};
}

Verb completion_verb() {
  return {.name = "completion",
          .summary = "Print a completion script for a shell.",
          .description = "",
          .operands = {"bash|zsh"},
          .options = {},
          .sections = {},
          .examples = {{"source <(recite completion bash)", "for this bash"},
                       {"recite completion bash > recite.bash", "to be sourced in ~/.bashrc"},
                       {"source <(recite completion zsh)", "for this zsh; the same line in ~/.zshrc for every one"}}};
}

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> table = {
      sweep_verb(),    plan_verb(),  status_verb(), train_verb(),  eval_verb(),    pretrained_verb(), sample_verb(),
      tokenize_verb(), bench_verb(), export_verb(), doctor_verb(), version_verb(), completion_verb()};
  return table;
}

const Verb& verb_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Verb& verb : verbs()) {
    if (verb.name == name) return verb;
    names.push_back(verb.name);
  }
  throw UsageError(
      fmt::format("unknown verb '{}'{}; there are: {}", name, did_you_mean(name, names), fmt::join(names, ", ")));
}

Arguments arguments_of(const std::string& verb, const std::vector<std::string>& arguments) {
  Arguments given = parse_arguments(verb_named(verb), arguments);
  if (given.help) fmt::print("{}", help_text(verb_named(verb)));
  return given;
}

}  // namespace recite
