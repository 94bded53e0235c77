#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "captured.h"
#include "config/sweep_file.h"
#include "results/writer.h"
#include "sweep/resume.h"

namespace recite {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

class Plan : public testing::Test {
 protected:
  Plan() {
    std::string name = (fs::temp_directory_path() / "recite-plan-XXXXXX").string();
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    std::ofstream(file()) << "[sweep]\nname = planned\nmodel = rope\nmodel = lstm\n[lstm]\nlayers = 4\n"
                             "[run]\ndevice = cpu\n[train]\nsteps = 100\n[eval]\nlengths = 10, 20\n";
  }
  ~Plan() override { fs::remove_all(folder_); }

  std::string file() const { return (folder_ / "planned.ini").string(); }
  std::string results() const { return (folder_ / "planned.h5").string(); }

  // A results file in which the first job of the plan is done, at 1000 tokens a second.
  void finish_first_job(int last_length) const {
    const Job job = load_sweep(file(), {}, {}).jobs.front();
    ResultsWriter writer(results(), "planned");
    const int32_t run = writer.add_run({});
    const int32_t row = writer.add_job(job_record(job));
    TrainingRow trained;
    trained.job = row;
    trained.run = run;
    trained.tokens_per_second = 1000;
    writer.append(trained);
    for (const EvalPoint& point : eval_points(job)) {
      EvaluationRow measured;
      measured.job = row;
      measured.attempt = 1;
      measured.step = 100;
      measured.task = name_of(point.task);
      measured.length = point.length;
      measured.mode = "teacher_forced";
      if (point.length <= last_length) writer.append(measured);
    }
    EventRow event;
    event.job = row;
    event.attempt = 1;
    event.state = JobState::done;
    writer.append(event);
  }

  fs::path folder_;
};

TEST_F(Plan, ListsJobsWithSizesAndTotals) {
  const Ran planned = ran({"plan", file()});
  EXPECT_EQ(planned.code, 0) << planned.err;
  EXPECT_THAT(planned.out, HasSubstr("Sweep 'planned'"));
  EXPECT_THAT(planned.out, ContainsRegex("rope copy 5..20 seed 0 +151.2 M +176.0 k .*GiB +1 +- +new"));
  EXPECT_THAT(planned.out, ContainsRegex("lstm copy 5..20 seed 0 +33.6 M"));
  EXPECT_LT(planned.out.find("rope copy"), planned.out.find("lstm copy"));
  EXPECT_THAT(planned.out, HasSubstr("2 jobs, 2 to train; 4 evaluation points; 352.0 k tokens"));
}

TEST_F(Plan, KnowsWhatIsDoneAndMeasuredRates) {
  finish_first_job(20);
  const Ran planned = ran({"plan", file(), "-o", results(), "--sweep.seed=0", "--sweep.seed=1"});
  EXPECT_EQ(planned.code, 0) << planned.err;
  EXPECT_THAT(planned.out, ContainsRegex("rope copy 5..20 seed 0 .* - +done\n"));
  EXPECT_THAT(planned.out, ContainsRegex("rope copy 5..20 seed 1 .*2 min 56 s +new\n"));  // 176000 tokens
  EXPECT_THAT(planned.out, HasSubstr("4 jobs, 3 to train"));
}

TEST_F(Plan, SaysThatAJobWillBeTrainedAgain) {
  finish_first_job(10);
  EXPECT_THAT(ran({"plan", file(), "-o", results()}).out, ContainsRegex("rope copy 5..20 seed 0 .*trained again"));
}

TEST_F(Plan, CheckPrintsNothingAndSaysWhatIsWrong) {
  const Ran good = ran({"plan", file(), "--check", "--workers", "2"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out + good.err, "");
  const Ran ranks = ran({"plan", file(), "--check", "--workers", "2", "--sweep.ranks_per_job=4"});
  EXPECT_EQ(ranks.code, 2);
  EXPECT_THAT(ranks.err, AllOf(HasSubstr("sweep.ranks_per_job = 4"), HasSubstr("2 workers")));
  EXPECT_EQ(ran({"plan", file(), "--check", "--sweep.ranks_per_job=4"}).code, 0);  // nobody said how many workers
  EXPECT_EQ(ran({"plan", file(), "--check", "-o", "/no/such/folder/x.h5"}).code, 2);
  EXPECT_EQ(ran({"plan", (folder_ / "none.ini").string(), "--check"}).code, 2);
  EXPECT_EQ(ran({"plan", file(), "--workers", "0"}).code, 2);
}

}  // namespace
}  // namespace recite
