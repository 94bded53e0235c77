// Axes, overrides, exclusions and --only.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "config/sweep_file.h"
#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

Sweep sweep_of(const std::string& text, const GivenOptions& command_line = {}) {
  return parse_sweep(text, "grid.ini", command_line, {});
}

std::vector<std::string> labels(const Sweep& sweep) {
  std::vector<std::string> out;
  for (const Job& job : sweep.jobs) out.push_back(job.label());
  return out;
}

constexpr const char* models_and_lengths = R"(
[sweep]
model = rope
model = mamba
model = lstm
[train]
max_length = 20
max_length = 40
max_length = 60
)";

TEST(Axes, InEverySectionMultiply) {
  EXPECT_EQ(sweep_of(models_and_lengths).jobs.size(), 9u);
  const std::string more = std::string(models_and_lengths) + "[model]\nlayers = 1\nlayers = 2\n";
  EXPECT_EQ(sweep_of(more).jobs.size(), 18u);
  std::set<std::string> ids;
  for (const Job& job : sweep_of(more).jobs) ids.insert(job.id());
  EXPECT_EQ(ids.size(), 18u);
}

TEST(Axes, OverOptionsThatAModelDoesNotUseTrainItOnce) {
  const Sweep sweep = sweep_of("[sweep]\nmodel = mamba\nmodel = nope\n[model]\nheads = 8\nheads = 16\n");
  EXPECT_THAT(labels(sweep),
              UnorderedElementsAre("nope copy 5..20 seed 0", "nope copy 5..20 seed 0", "mamba copy 5..20 seed 0"));
}

TEST(Axes, BiggestJobsComeFirst) {
  const Sweep sweep = sweep_of("[model]\nlayers = 2\nlayers = 8\n[train]\nsteps = 100\nsteps = 1000\n");
  double last = std::numeric_limits<double>::infinity();
  for (const Job& job : sweep.jobs) {
    EXPECT_LE(job_cost(job), last);
    last = job_cost(job);
  }
  EXPECT_EQ(sweep.jobs.front().model.layers, 8);
  EXPECT_EQ(sweep.jobs.front().train.steps, 1000);
}

TEST(Axes, MayNotDifferOnlyInWhatIsNotTrained) {
  EXPECT_THAT(refusal([] { sweep_of("[eval]\nmode = greedy\nmode = teacher_forced\n"); }),
              AllOf(HasSubstr("eval.mode (greedy, teacher_forced)"), HasSubstr("same weights")));
  EXPECT_THAT(refusal([] { sweep_of("[train]\nmicro_batch_size = 1\nmicro_batch_size = 2\n"); }),
              HasSubstr("train.micro_batch_size"));
}

TEST(Overrides, HoldForTheirModelAlone) {
  const Sweep sweep = sweep_of(
      "[sweep]\nmodel = rope\nmodel = lstm\n[model]\nlayers = 6\n[lstm]\nlayers = 4\n"
      "learning-rate = 1e-3\n[T_rope]\nsteps = 7\n");
  for (const Job& job : sweep.jobs) {
    const bool lstm = job.model.architecture == Architecture::lstm;
    EXPECT_EQ(job.model.layers, lstm ? 4 : 6);
    EXPECT_EQ(job.train.learning_rate, lstm ? 1e-3 : 1e-5);
    EXPECT_EQ(job.train.steps, lstm ? 2000 : 7);
  }
}

TEST(Overrides, TakeTheAxisFromTheirModel) {
  const Sweep sweep =
      sweep_of("[sweep]\nmodel = nope\nmodel = lstm\n[model]\nlayers = 2\nlayers = 6\n[lstm]\nlayers = 4\n");
  std::vector<std::pair<std::string_view, int>> seen;
  for (const Job& job : sweep.jobs) seen.emplace_back(name_of(job.model.architecture), job.model.layers);
  EXPECT_THAT(seen, UnorderedElementsAre(std::pair("nope", 2), std::pair("nope", 6), std::pair("lstm", 4)));
}

TEST(Overrides, HoldNoAxesAndNoOtherSections) {
  EXPECT_THAT(refusal([] { sweep_of("[mamba]\nlayers = 2\nlayers = 4\n"); }),
              AllOf(HasSubstr("grid.ini:3"), HasSubstr("grid.ini:2"), HasSubstr("no axes")));
  EXPECT_THAT(refusal([] { sweep_of("[mamba]\nvocab_size = 2\n"); }),
              AllOf(HasSubstr("grid.ini:2"), HasSubstr("[task]")));
}

TEST(Exclude, DropsWhatMatchesAllParts) {
  const std::string excluding = std::string(models_and_lengths) + "[sweep]\nexclude = model=lstm, max_length=60\n";
  EXPECT_EQ(sweep_of(excluding).jobs.size(), 8u);
  EXPECT_EQ(sweep_of(excluding + "exclude = train.max_length=40\n").jobs.size(), 5u);
  EXPECT_EQ(sweep_of(excluding + "exclude = lr=0.00001, model=T_rope\n").jobs.size(), 5u);  // 1e-5, as by default
}

TEST(Only, KeepsWhatMatchesOne) {
  EXPECT_EQ(sweep_of(models_and_lengths, {{"sweep.only", "model=mamba"}}).jobs.size(), 3u);
  EXPECT_EQ(sweep_of(models_and_lengths, {{"sweep.only", "model=mamba"}, {"sweep.only", "model=lstm"}}).jobs.size(),
            6u);
  EXPECT_THAT(labels(sweep_of(models_and_lengths, {{"sweep.only", "model=lstm, max_length=40"}})),
              ElementsAre("lstm copy 5..40 seed 0"));
}

TEST(Only, SeesOverrides) {
  const std::string overridden = std::string(models_and_lengths) + "[lstm]\nsteps = 5\n";
  EXPECT_EQ(sweep_of(overridden, {{"sweep.only", "steps=5"}}).jobs.size(), 3u);
}

TEST(Filters, NameWhatTheyDoNotKnow) {
  const auto exclude = [](const std::string& text) {
    return refusal([&] { sweep_of("[sweep]\nexclude = " + text + "\n"); });
  };
  EXPECT_THAT(exclude("modell=lstm"), AllOf(HasSubstr("'modell'"), HasSubstr("sweep.model")));
  EXPECT_THAT(exclude("model=ltsm"), HasSubstr("did you mean 'lstm'"));
  EXPECT_THAT(exclude("batch_size=8"), AllOf(HasSubstr("'batch_size'"), HasSubstr("its section")));
  EXPECT_THAT(exclude("lengths=8"), HasSubstr("'lengths'"));
  EXPECT_THAT(exclude("model"), HasSubstr("NAME=VALUE"));
  EXPECT_THAT(exclude(""), HasSubstr("NAME=VALUE"));
}

TEST(PretrainedGrid, HasModelsTasksAndOrdersAsAxes) {
  const Sweep sweep = parse_sweep(
      "[sweep]\ntask = c4_copy\ntask = phone_book\ntask = squad\n"
      "[pretrained]\nmodel = models/pythia-410m\nmodel = models/mamba-370m\nc4_corpus = c4\nsquad_file = dev.json\n"
      "text_order = standard\ntext_order = random\n[eval]\nlengths = 50, 100\n",
      "test.ini", {}, {});
  std::vector<std::string> labels;
  for (const Job& job : sweep.jobs) {
    labels.push_back(job.label());
    EXPECT_EQ(job.eval.mode, EvalMode::greedy);
  }
  EXPECT_THAT(labels, testing::UnorderedElementsAre("pythia-410m c4_copy seed 0", "pythia-410m c4_copy random seed 0",
                                                    "pythia-410m phone_book seed 0", "pythia-410m squad seed 0",
                                                    "mamba-370m c4_copy seed 0", "mamba-370m c4_copy random seed 0",
                                                    "mamba-370m phone_book seed 0", "mamba-370m squad seed 0"));
  EXPECT_EQ(parse_sweep(sweep.text, "again.ini", {}, {}).text, sweep.text);
}

TEST(PretrainedGrid, TakesFloat16) {
  const Sweep sweep = parse_sweep("[sweep]\ntask = phone_book\n[pretrained]\nmodel = a\n[train]\nprecision = float16\n",
                                  "test.ini", {}, {});
  EXPECT_EQ(sweep.jobs.front().train.precision, Precision::float16);
}

TEST(PretrainedGrid, NoLengthsAreAllBinsOfSquad) {
  const Sweep sweep = parse_sweep(
      "[sweep]\ntask = squad\n[pretrained]\nmodel = a\nsquad_file = dev.json\n[eval]\nlengths =\n", "test.ini", {}, {});
  EXPECT_THAT(sweep.jobs.front().eval.lengths, testing::IsEmpty());
  EXPECT_THAT(parse_sweep(sweep.text, "again.ini", {}, {}).jobs.front().eval.lengths, testing::IsEmpty());
}

}  // namespace
}  // namespace recite
