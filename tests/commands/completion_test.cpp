#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>

#include "base/text.h"
#include "captured.h"
#include "commands/commands.h"
#include "config/options.h"

namespace recite {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsSupersetOf;
using testing::Not;

class Completion : public testing::Test {
 protected:
  Completion() : script_(testing::TempDir() + "recite-completion.bash") {
    std::ofstream(script_) << ran({"completion", "bash"}).out;
  }
  ~Completion() override { std::remove(script_.c_str()); }

  // What bash would offer for the last of `words`, which it has split as it does (at '=' too).
  std::vector<std::string> offered(const std::string& words) const {
    const std::string command = "bash -c 'source " + script_ + "; COMP_WORDS=(recite " + words +
                                " \"\"); COMP_CWORD=$((${#COMP_WORDS[@]}-2)); _recite; echo \"${COMPREPLY[@]}\"'";
    FILE* pipe = popen(command.c_str(), "r");
    std::string text;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) text += static_cast<char>(c);
    EXPECT_EQ(pclose(pipe), 0) << command;
    return split(text, ' ');
  }

  std::string script_;
};

TEST_F(Completion, ScriptsAreTakenByBash) {
  EXPECT_EQ(std::system(("bash -n " + script_).c_str()), 0);
  std::ofstream(script_) << ran({"completion", "zsh"}).out;
  EXPECT_EQ(std::system(("bash -n " + script_).c_str()), 0);
}

TEST_F(Completion, OffersVerbs) {
  EXPECT_THAT(offered("s"), ElementsAre("sweep", "status", "sample"));
  EXPECT_THAT(offered("help pl"), ElementsAre("plan"));
}

TEST_F(Completion, OffersOptionsOfTheVerb) {
  EXPECT_THAT(offered("sweep --train.w"), ElementsAre("--train.warmup_steps", "--train.weight_decay"));
  EXPECT_THAT(offered("sweep --"), IsSupersetOf({"--max-hours", "--retry-failed", "--only", "--lr", "--help"}));
  EXPECT_THAT(offered("doctor --"), ElementsAre("--help"));
}

TEST_F(Completion, OffersValues) {
  EXPECT_THAT(offered("sweep --train.precision b"), ElementsAre("bf16"));
  EXPECT_THAT(offered("sweep --train.precision = f"), ElementsAre("float32", "float64", "float16"));
  EXPECT_THAT(offered("train --model T"), testing::IsEmpty());
  EXPECT_THAT(offered("train --model m"), ElementsAre("mamba"));
  EXPECT_THAT(offered("completion z"), ElementsAre("zsh"));
}

TEST_F(Completion, KnowsEveryOptionOfTheTable) {
  const std::vector<std::string> words = offered("sweep --");
  for (const Option& option : options()) EXPECT_THAT(words, Contains("--" + option.name()));
}

TEST(CompletionOf, OtherShellsIsRefused) {
  const Ran tried = ran({"completion", "fish"});
  EXPECT_EQ(tried.code, 2);
  EXPECT_THAT(tried.err, HasSubstr("allowed: bash, zsh"));
}

}  // namespace
}  // namespace recite
