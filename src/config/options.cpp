#include "config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "base/error.h"
#include "base/text.h"
#include "config/values.h"

namespace recite {

namespace {

constexpr Range any_count{0, std::numeric_limits<int>::max()};
constexpr Range positive{1, std::numeric_limits<int>::max()};
constexpr Range big_count{0, 9007199254740992.0};  // 2^53: every integer up to it is a double
constexpr Range big_positive{1, 9007199254740992.0};
constexpr Range not_negative{0};

// How a type of value is read, written and described.
template <class Value>
Value read_as(const std::string& text, Range range) {
  if constexpr (std::is_same_v<Value, bool>) {
    return read_flag(text);
  } else if constexpr (std::is_enum_v<Value>) {
    return parse_name<Value>(text);
  } else if constexpr (std::is_integral_v<Value>) {
    return static_cast<Value>(read_integer(text, range));
  } else if constexpr (std::is_floating_point_v<Value>) {
    return read_number(text, range);
  } else if constexpr (std::is_same_v<Value, std::vector<int>>) {
    return read_integers(text, range);
  } else if constexpr (std::is_same_v<Value, std::vector<TaskKind>>) {
    return read_tasks(text);
  } else {
    return text;
  }
}

template <class Value>
std::string written(const Value& value) {
  if constexpr (std::is_same_v<Value, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<Value>) {
    return std::string(name_of(value));
  } else if constexpr (std::is_arithmetic_v<Value>) {
    return fmt::format("{}", value);
  } else if constexpr (std::is_same_v<Value, std::vector<int>>) {
    return write_integers(value);
  } else if constexpr (std::is_same_v<Value, std::vector<TaskKind>>) {
    return write_tasks(value);
  } else {
    return value;
  }
}

template <class Value>
std::vector<std::string> allowed_names() {
  if constexpr (std::is_same_v<Value, bool>) {
    return {"true", "false"};
  } else if constexpr (std::is_same_v<Value, std::vector<TaskKind>>) {
    return names_of<TaskKind>();
  } else if constexpr (std::is_enum_v<Value>) {
    return names_of<Value>();
  } else {
    return {};
  }
}

template <class Value>
std::string allowed_text(Range range) {
  if constexpr (std::is_same_v<Value, std::vector<int>>) {
    return describe("a list of integers", range) + ", ranges from:to:step too";
  } else if constexpr (std::is_same_v<Value, std::vector<TaskKind>>) {
    return fmt::format("a list of {}", fmt::join(allowed_names<Value>(), ", "));
  } else if constexpr (std::is_same_v<Value, bool> || std::is_enum_v<Value>) {
    return fmt::format("one of {}", fmt::join(allowed_names<Value>(), ", "));
  } else if constexpr (std::is_integral_v<Value>) {
    return describe("an integer", range);
  } else if constexpr (std::is_floating_point_v<Value>) {
    return describe("a number", range);
  } else {
    return "text";
  }
}

// `member` gives the place of the value in a Settings, const or not.
template <class Member>
Option option(const std::string& name, Member member, Range range, std::string help,
              std::vector<std::string> aliases = {}) {
  using Value = std::remove_cvref_t<decltype(member(std::declval<Settings&>()))>;
  Option made;
  made.section = name.substr(0, name.find('.'));
  made.key = name.substr(name.find('.') + 1);
  made.aliases = std::move(aliases);
  made.repeat = std::is_same_v<Value, std::vector<int>> || std::is_same_v<Value, std::vector<TaskKind>> ? Repeat::list
                                                                                                        : Repeat::axis;
  made.names = allowed_names<Value>();
  made.allowed = allowed_text<Value>(range);
  made.help = std::move(help);
  made.flag = std::is_same_v<Value, bool>;
  made.set = [member, range](Settings& settings, const std::string& text) {
    member(settings) = read_as<Value>(text, range);
  };
  made.get = [member](const Settings& settings) { return written(member(settings)); };
  return made;
}

template <class Member>
Option single(const std::string& name, Member member, Range range, std::string help,
              std::vector<std::string> aliases = {}) {
  Option made = option(name, member, range, std::move(help), std::move(aliases));
  made.repeat = Repeat::single;
  return made;
}

template <class Member>
Option collected(const std::string& name, Member member, std::string help, std::vector<std::string> aliases = {}) {
  Option made;
  made.section = name.substr(0, name.find('.'));
  made.key = name.substr(name.find('.') + 1);
  made.aliases = std::move(aliases);
  made.repeat = Repeat::collected;
  made.allowed = "NAME=VALUE, NAME=VALUE, ...";
  made.help = std::move(help);
  made.set = [member](Settings& settings, const std::string& text) { member(settings).push_back(text); };
  made.get = [member](const Settings& settings) { return fmt::format("{}", fmt::join(member(settings), "\n")); };
  return made;
}

#define FIELD(path) [](auto& settings) -> auto& { return settings.path; }

std::vector<Option> sweep_options() {
  return {
      single("sweep.name", FIELD(sweep.name), {},
             "of the sweep and its results file; by default the sweep file's name"),
      option("sweep.model", FIELD(job.model.architecture), {}, "architecture; T_rope, T_nope, ... are taken too",
             {"model"}),
      option("sweep.task", FIELD(job.task.kind), {},
             "trained on; duplicate_ngram only evaluates, and c4_copy, phone_book, squad ask pretrained models",
             {"task", "train_task"}),
      option("sweep.seed", FIELD(job.train.seed), big_count, "of initial weights, training strings and dropout",
             {"seed"}),
      single("sweep.ranks_per_job", FIELD(job.ranks), positive, "workers that train one job together"),
      single("sweep.max_tries", FIELD(sweep.max_tries), Range{1, 100}, "of a job, before it counts as failed"),
      collected("sweep.exclude", FIELD(sweep.exclude), "leave out the jobs that match all parts; may be repeated",
                {"exclude"}),
      collected("sweep.only", FIELD(sweep.only), "leave out the jobs that match no such option; may be repeated",
                {"only"}),
  };
}

Option run_duration(const char* name, double RunSpec::* seconds, const Range& range, const char* help) {
  Option option = single(name, [seconds](auto& settings) -> auto& { return settings.job.run.*seconds; }, range, help);
  option.allowed = "a time, e.g. 60 s, 5 min, 1 h";
  option.set = [=](Settings& settings, const std::string& text) {
    settings.job.run.*seconds = read_seconds(text, range);
  };
  option.get = [=](const Settings& settings) { return write_number(settings.job.run.*seconds) + " s"; };
  return option;
}

std::vector<Option> run_options() {
  return {
      single("run.device", FIELD(job.run.device), {}, "auto: a GPU where there is one", {"device"}),
      run_duration("run.checkpoint_every", &RunSpec::checkpoint_every, not_negative,
                   "seconds between checkpoints of a job; units s, min, h"),
      run_duration("run.stall_timeout", &RunSpec::stall_timeout, Range{0.5, 1e7},
                   "a worker that makes no step for so long is ended, and its job tried again"),
      single("run.log_every", FIELD(job.run.log_every), big_positive, "steps between logged losses"),
      single("run.threads", FIELD(job.run.threads), any_count, "of each worker; 0: cores of the host / its workers"),
      single("run.save_models", FIELD(job.run.save_models), {}, "keep the trained weights, in the Hugging Face layout",
             {"save_models"}),
      single("run.log_samples", FIELD(job.run.log_samples), {},
             "of text tasks: keep prompt, gold, prediction and scores in RESULTS.jobs/ID/samples-TASK-LENGTH.jsonl",
             {"log_samples"}),
  };
}

std::vector<Option> task_options() {
  return {
      option("task.vocab_size", FIELD(job.task.vocab_size), Range{1, 26}, "letters; the vocabulary has four marks more",
             {"vocab_size"}),
      option("task.n_gram", FIELD(job.task.n_gram), any_count, "letters of the key in n-gram tasks", {"n_gram"}),
      option("task.length_answer", FIELD(job.task.length_answer), any_count, "letters of the answer; 0: all",
             {"length_answer"}),
      option("task.ngram_key", FIELD(job.task.ngram_key), {},
             "unique: keys that occur once in the string; any: as the published code draws them"),
  };
}

std::vector<Option> model_options() {
  return {
      option("model.hidden_size", FIELD(job.model.hidden_size), positive, "width of the model", {"hidden_size"}),
      option("model.layers", FIELD(job.model.layers), positive, "depth", {"layers"}),
      option("model.heads", FIELD(job.model.heads), positive, "attention heads; they divide hidden_size", {"heads"}),
      option("model.num_masked_heads", FIELD(job.model.num_masked_heads), any_count,
             "hard_alibi: head i of these sees the last i + 1 tokens", {"num_masked_heads"}),
      option("model.state_dim", FIELD(job.model.state_dim), positive, "mamba: states of each channel", {"state_dim"}),
      option("model.dropout", FIELD(job.model.dropout), Range{0, 0.999}, "lstm: share dropped between layers"),
      option(
          "model.score_quirk", FIELD(job.model.score_quirk), {},
          "published: count head dimensions from 16 on twice in nope, alibi, hard_alibi, as the published code does"),
  };
}

std::vector<Option> pretrained_options() {
  return {
      option("pretrained.model", FIELD(job.pretrained.model), {},
             "folder of a model in the Hugging Face layout (config.json, weights): its job trains nothing"),
      single("pretrained.tokenizer", FIELD(job.pretrained.tokenizer), {},
             "tokenizer.json; by default that of the model's folder", {"tokenizer"}),
      single("pretrained.c4_corpus", FIELD(job.pretrained.c4_corpus), {},
             "c4_copy: texts: JSON lines with \"text\", as C4's .json.gz, or plain; a file, folder or 'pattern*'",
             {"c4_corpus"}),
      single("pretrained.squad_file", FIELD(job.pretrained.squad_file), {}, "squad: the official JSON of SQuAD",
             {"squad_file"}),
      option("pretrained.text_order", FIELD(job.pretrained.text_order), {},
             "c4_copy: random shuffles the tokens of each text first", {"text_order"}),
      option("pretrained.decode_cleanup", FIELD(job.pretrained.decode_cleanup), {},
             "published: no blank before punctuation in decoded text, as the published code has it"),
      option("pretrained.squad_bins", FIELD(job.pretrained.squad_bins), positive,
             "squad: tokens of context that a bin is wide; bins of fewer than 15 contexts are not run", {"squad_bins"}),
      option("pretrained.squad_contexts", FIELD(job.pretrained.squad_contexts), positive,
             "squad: contexts asked about in a bin, at most"),
      option("pretrained.squad_normalisation", FIELD(job.pretrained.squad_normalisation), {},
             "published: punctuation becomes a blank before answers are compared; official: it is deleted"),
  };
}

Option precision_option() {
  Option made =
      option("train.precision", FIELD(job.train.precision), {},
             "of the computation; auto: bf16 on a GPU, float32 on the CPU; float16 for pretrained models alone");
  made.names.insert(made.names.begin(), "auto");
  made.allowed = fmt::format("one of {}", fmt::join(made.names, ", "));
  made.set = [](Settings& settings, const std::string& text) {
    const std::vector<std::string> names = option_named("train.precision").names;
    const bool known = std::find(names.begin(), names.end(), text) != names.end();
    if (!known) throw UsageError(fmt::format("allowed: {}{}", fmt::join(names, ", "), did_you_mean(text, names)));
    settings.automatic_precision = text == "auto";
    if (text != "auto") settings.job.train.precision = parse_name<Precision>(text);
  };
  made.get = [](const Settings& settings) {
    return settings.automatic_precision ? "auto" : std::string(name_of(settings.job.train.precision));
  };
  return made;
}

std::vector<Option> train_options() {
  return {
      option("train.steps", FIELD(job.train.steps), big_positive, "updates", {"steps"}),
      option("train.epochs", FIELD(job.train.epochs), positive, "multiplies steps", {"epochs"}),
      option("train.batch_size", FIELD(job.train.batch_size), positive, "rows of an update, over all ranks of the job",
             {"train_batch_size"}),
      option("train.micro_batch_size", FIELD(job.train.micro_batch_size), any_count,
             "rows of one forward pass on one rank: less memory, same gradient; 0: all"),
      option("train.min_length", FIELD(job.train.min_length), positive, "letters of the shortest training string",
             {"min_train_len"}),
      option("train.max_length", FIELD(job.train.max_length), positive, "letters of the longest training string",
             {"max_train_len"}),
      option("train.context_length", FIELD(job.train.context_length), positive,
             "tokens of a row, into which strings are packed", {"context_len"}),
      option("train.packed_state", FIELD(job.train.packed_state), {},
             "what a model remembers across the strings of a row: carry or reset"),
      option("train.learning_rate", FIELD(job.train.learning_rate), not_negative, "largest, after warm-up", {"lr"}),
      option("train.warmup_steps", FIELD(job.train.warmup_steps), any_count, "updates until the largest rate"),
      option("train.weight_decay", FIELD(job.train.weight_decay), not_negative, "of AdamW, on every parameter"),
      option("train.gradient_clip", FIELD(job.train.gradient_clip), not_negative, "largest global norm; 0: none"),
      precision_option(),
  };
}

std::vector<Option> eval_options() {
  return {
      option("eval.task", FIELD(job.eval.tasks), {}, "measured; by default the training task", {"eval_task"}),
      option("eval.n_gram", FIELD(job.eval.n_grams), any_count, "letters of the key; by default task.n_gram"),
      option("eval.lengths", FIELD(job.eval.lengths), positive,
             "letters of the strings; of text: tokens (c4_copy), entries (phone_book), upper edges of bins, all when "
             "empty (squad)",
             {"lengths"}),
      option("eval.batch_size", FIELD(job.eval.batch_size), positive, "strings measured at once", {"eval_batch_size"}),
      option("eval.num_batches", FIELD(job.eval.num_batches), positive, "batches for each length",
             {"eval_num_batches"}),
      option("eval.every", FIELD(job.eval.every), big_count, "steps between evaluations; 0: after the last step only"),
      option("eval.every_lengths", FIELD(job.eval.every_lengths), positive,
             "those of eval.lengths that are measured every eval.every steps; by default all"),
      option("eval.mode", FIELD(job.eval.mode), {}, "greedy: the model reads its own answer"),
      option("eval.seed", FIELD(job.eval.seed), big_count, "of the strings: the same for every model"),
      option("eval.context_length", FIELD(job.eval.context_length), any_count,
             "tokens; longer strings are refused; 0: no limit", {"eval_context_len"}),
      option("eval.stop_at_accuracy", FIELD(job.eval.stop_at_accuracy), Range{0, 1},
             "training ends once the string accuracy at stop_length reaches it; 0: never"),
      option("eval.stop_length", FIELD(job.eval.stop_length), any_count, "letters; 0: train.max_length"),
  };
}

#undef FIELD

std::string folded(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

}  // namespace

const std::vector<Option>& options() {
  static const std::vector<Option> table = [] {
    std::vector<Option> all;
    for (auto section :
         {sweep_options, run_options, task_options, model_options, pretrained_options, train_options, eval_options}) {
      for (Option& each : section()) all.push_back(std::move(each));
    }
    return all;
  }();
  return table;
}

const std::vector<std::string>& option_sections() {
  static const std::vector<std::string> sections = {"sweep", "run", "task", "model", "pretrained", "train", "eval"};
  return sections;
}

const Option* find_option(const std::string& name) {
  const std::string wanted = folded(name);
  const Option* by_key = nullptr;
  int keys = 0;
  for (const Option& each : options()) {
    if (wanted == each.name()) return &each;
    if (std::find(each.aliases.begin(), each.aliases.end(), wanted) != each.aliases.end()) return &each;
    if (wanted == each.key) by_key = &each, ++keys;
  }
  return keys == 1 ? by_key : nullptr;
}

const Option& option_named(const std::string& full_name) {
  for (const Option& each : options()) {
    if (full_name == each.name()) return each;
  }
  throw Error(fmt::format("no option '{}' in the table", full_name));
}

void set_option(Settings& settings, const Option& option, const std::string& text, const std::string& place) {
  try {
    option.set(settings, text);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {} = {}: {}", place, option.name(), text, error.what()));
  }
}

}  // namespace recite
