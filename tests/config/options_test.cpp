#include "config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "config/sweep_file.h"
#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A value of each option that is not its default, and that fits to the defaults of the others.
const std::map<std::string, std::string>& other_values() {
  static const std::map<std::string, std::string> values = {{"sweep.name", "mine"},
                                                            {"sweep.model", "mamba"},
                                                            {"sweep.task", "prefix_ngram"},
                                                            {"sweep.seed", "9"},
                                                            {"sweep.ranks_per_job", "2"},
                                                            {"sweep.max_tries", "5"},
                                                            {"sweep.exclude", "model=alibi"},
                                                            {"sweep.only", "model=mamba"},
                                                            {"run.device", "cuda"},
                                                            {"run.checkpoint_every", "2.5 s"},
                                                            {"run.stall_timeout", "40 s"},
                                                            {"run.log_every", "4"},
                                                            {"run.threads", "3"},
                                                            {"run.save_models", "true"},
                                                            {"task.vocab_size", "20"},
                                                            {"task.n_gram", "2"},
                                                            {"task.length_answer", "1"},
                                                            {"task.ngram_key", "any"},
                                                            {"model.hidden_size", "512"},
                                                            {"model.layers", "3"},
                                                            {"model.heads", "4"},
                                                            {"model.num_masked_heads", "2"},
                                                            {"model.state_dim", "16"},
                                                            {"model.dropout", "0.1"},
                                                            {"model.score_quirk", "published"},
                                                            {"run.log_samples", "true"},
                                                            {"pretrained.model", "models/a"},
                                                            {"pretrained.tokenizer", "tokenizer.json"},
                                                            {"pretrained.c4_corpus", "c4.json.gz"},
                                                            {"pretrained.squad_file", "dev.json"},
                                                            {"pretrained.text_order", "random"},
                                                            {"pretrained.decode_cleanup", "published"},
                                                            {"pretrained.squad_bins", "3"},
                                                            {"pretrained.squad_contexts", "40"},
                                                            {"pretrained.squad_normalisation", "official"},
                                                            {"train.steps", "10"},
                                                            {"train.epochs", "2"},
                                                            {"train.batch_size", "16"},
                                                            {"train.micro_batch_size", "4"},
                                                            {"train.min_length", "7"},
                                                            {"train.max_length", "30"},
                                                            {"train.context_length", "200"},
                                                            {"train.packed_state", "reset"},
                                                            {"train.learning_rate", "0.001"},
                                                            {"train.warmup_steps", "5"},
                                                            {"train.weight_decay", "0.2"},
                                                            {"train.gradient_clip", "0.5"},
                                                            {"train.precision", "float64"},
                                                            {"eval.task", "copy, suffix_ngram"},
                                                            {"eval.n_gram", "1, 2"},
                                                            {"eval.lengths", "9, 18"},
                                                            {"eval.batch_size", "32"},
                                                            {"eval.num_batches", "10"},
                                                            {"eval.every", "5"},
                                                            {"eval.every_lengths", "18"},
                                                            {"eval.mode", "greedy"},
                                                            {"eval.seed", "3"},
                                                            {"eval.context_length", "100"},
                                                            {"eval.stop_at_accuracy", "0.75"},
                                                            {"eval.stop_length", "15"}};
  return values;
}

// A job trains a model or reads one: of the two files, the first has no pretrained.model, and the second another task.
std::string file_of_all(const std::set<std::string>& left_out) {
  std::string file;
  for (const std::string& section : option_sections()) {
    file += "[" + section + "]\n";
    for (const Option& option : options()) {
      if (option.section != section || left_out.count(option.name()) > 0) continue;
      file += option.key + " = " + other_values().at(option.name()) + "\n";
    }
  }
  return file;
}

void expect_read_and_written_back(const std::string& file, const std::set<std::string>& left_out) {
  const Sweep sweep = parse_sweep(file, "test.ini", {}, {});
  ASSERT_EQ(sweep.jobs.size(), 1u);
  const Settings read{sweep.spec, sweep.jobs.front(), false};
  for (const Option& option : options()) {
    if (left_out.count(option.name()) > 0) continue;
    EXPECT_EQ(option.get(read), other_values().at(option.name())) << option.name();
    EXPECT_NE(option.get(read), option.default_text()) << option.name();
  }
}

TEST(Options, EachIsReadFromAFileAndWrittenBack) {
  const std::set<std::string> no_folder = {"pretrained.model"};
  expect_read_and_written_back(file_of_all(no_folder), no_folder);
  const std::set<std::string> of_letters = {"sweep.task", "eval.task"};
  expect_read_and_written_back(file_of_all(of_letters) + "[sweep]\ntask = squad\n", of_letters);
}

TEST(Options, EachIsSetFromItsOwnTextAndTouchesNothingElse) {
  for (const Option& option : options()) {
    Settings settings;
    option.set(settings, other_values().at(option.name()));
    for (const Option& other : options()) {
      const std::string expected = &other == &option ? other_values().at(option.name()) : other.default_text();
      EXPECT_EQ(other.get(settings), expected) << option.name() << " changed " << other.name();
    }
  }
}

TEST(Options, EveryMemberOfAJobHasOne) {
  std::set<std::string> members;
  const nlohmann::json job = Job{};
  for (const auto& [part, value] : job.items()) {
    if (!value.is_object()) continue;
    for (const auto& [key, setting] : value.items()) members.insert(part + '.' + key);
  }
  const std::map<std::string, std::string> renamed = {{"sweep.model", "model.architecture"},
                                                      {"sweep.task", "task.kind"},
                                                      {"sweep.seed", "train.seed"},
                                                      {"eval.task", "eval.tasks"},
                                                      {"eval.n_gram", "eval.n_grams"}};
  for (const Option& option : options()) {
    const auto other = renamed.find(option.name());
    members.erase(other == renamed.end() ? option.name() : other->second);
  }
  EXPECT_THAT(members, testing::IsEmpty());
}

TEST(Options, NamesAndAliasesAreUnique) {
  std::set<std::string> seen;
  for (const Option& option : options()) {
    EXPECT_TRUE(seen.insert(option.name()).second) << option.name();
    for (const std::string& alias : option.aliases) EXPECT_TRUE(seen.insert(alias).second) << alias;
    EXPECT_FALSE(option.help.empty());
    EXPECT_FALSE(option.allowed.empty());
  }
}

// arXiv 2402.01032's code: its options and what they are by default.
TEST(Options, PublishedNamesHavePublishedDefaults) {
  const std::map<std::string, std::string> published = {
      {"train_task", "copy"},    {"vocab_size", "26"},     {"n_gram", "0"},           {"length_answer", "0"},
      {"hidden_size", "1024"},   {"layers", "12"},         {"heads", "16"},           {"num_masked_heads", "8"},
      {"state_dim", "32"},       {"lr", "1e-05"},          {"epochs", "1"},           {"steps", "2000"},
      {"train_batch_size", "8"}, {"eval_batch_size", "8"}, {"eval_num_batches", "3"}, {"min_train_len", "5"},
      {"max_train_len", "20"},   {"context_len", "220"},   {"model", "rope"}};
  for (const auto& [name, value] : published) {
    const Option* option = find_option(name);
    ASSERT_NE(option, nullptr) << name;
    EXPECT_EQ(option->default_text(), value) << name;
  }
  EXPECT_EQ(find_option("lengths")->default_text(), "10:20:1");  // min_eval_len, max_eval_len
  EXPECT_EQ(find_option("eval_task")->default_text(), "");       // the training task
  EXPECT_NE(find_option("eval_context_len"), nullptr);
}

TEST(FindOption, TakesFullNamesAliasesAndKeysOfOneSection) {
  EXPECT_EQ(find_option("train.learning-rate")->name(), "train.learning_rate");
  EXPECT_EQ(find_option("max_length")->name(), "train.max_length");
  EXPECT_EQ(find_option("task")->name(), "sweep.task");
  EXPECT_EQ(find_option("batch_size"), nullptr);  // train or eval
  EXPECT_EQ(find_option("nonsense"), nullptr);
}

struct BadValue {
  const char* option;
  const char* text;
  const char* allowed;
};

TEST(SetOption, SaysWhatIsAllowed) {
  for (const BadValue& bad : {BadValue{"task.vocab_size", "27", "an integer in 1..26"},
                              {"train.steps", "0", "an integer >= 1"},
                              {"train.steps", "2000 s", "an integer >= 1"},
                              {"train.learning_rate", "-1", "a number >= 0"},
                              {"model.dropout", "1", "a number in 0..0.999"},
                              {"run.device", "tpu", "auto, cpu, cuda"},
                              {"train.precision", "fp8", "auto, float32, tf32, bf16, float64"},
                              {"run.save_models", "maybe", "true or false"},
                              {"eval.lengths", "0:10", "an integer >= 1"},
                              {"run.checkpoint_every", "soon", "s, min or h"}}) {
    Settings settings;
    const std::string message = refusal([&] { set_option(settings, option_named(bad.option), bad.text, "here:3"); });
    EXPECT_THAT(message,
                AllOf(HasSubstr("here:3"), HasSubstr(bad.option), HasSubstr(bad.text), HasSubstr(bad.allowed)));
    EXPECT_EQ(option_named(bad.option).get(settings), option_named(bad.option).default_text());
  }
}

}  // namespace
}  // namespace recite
