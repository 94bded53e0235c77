#include "commands/export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/error.h"
#include "commands/commands.h"
#include "known_rows.h"
#include "results/writer.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

std::string csv(const ResultsContents& contents, const std::string& table, bool every_try = false) {
  std::ostringstream out;
  write_csv(out, contents, table, every_try);
  return out.str();
}

ResultsContents one_point() {
  ResultsContents contents;
  contents.jobs = {{.job = 4,
                    .id = "00ff",
                    .model = "mamba",
                    .task = "copy",
                    .train_min_length = 5,
                    .train_max_length = 20,
                    .seed = 7,
                    .learning_rate = 1e-5,
                    .parameters = 151'000'000}};
  EvaluationRow row = known_evaluation(0);
  row.job = 4;
  row.string_accuracy = 0.1;
  row.string_accuracy_std = 0;
  row.char_accuracy = 1.0 / 3;
  contents.evaluations = {row};
  return contents;
}

TEST(Export, EvaluationsCarryTheirJob) {
  EXPECT_EQ(csv(one_point(), "evaluations"),
            "id,model,train_task,train_min_length,train_max_length,seed,learning_rate,parameters,job,try,run,step,"
            "examples,task,n_gram,length,mode,n,string_accuracy,string_accuracy_std,string_accuracy_low,"
            "string_accuracy_high,char_accuracy,exact_match,f1\n"
            "00ff,mamba,copy,5,20,7,1e-05,151000000,4,1,0,500,0,prefix_ngram,2,10,teacher_forced,1280,0.1,0,0.1,0.9,"
            "0.3333333333333333,,\n");
}

TEST(Export, EarlierTriesOnlyWhenAsked) {
  ResultsContents contents = one_point();
  contents.evaluations.push_back(contents.evaluations.front());
  contents.evaluations.back().attempt = 2;
  const auto lines = [](const std::string& text) { return std::count(text.begin(), text.end(), '\n'); };
  EXPECT_EQ(lines(csv(contents, "evaluations")), 2);
  EXPECT_EQ(lines(csv(contents, "evaluations", true)), 3);
}

TEST(Export, TextIsQuotedWhereItMustBe) {
  ResultsContents contents;
  contents.events = {{.job = 1,
                      .attempt = 2,
                      .run = 0,
                      .time = 1.5,
                      .state = JobState::failed,
                      .host = "a",
                      .message = "no, \"it\"\nis"}};
  EXPECT_EQ(csv(contents, "events"),
            "job,try,run,time,state,step,ranks,host,message\n1,2,0,1.5,failed,0,0,a,\"no, \"\"it\"\"\nis\"\n");
}

TEST(Export, UnknownTableIsRefused) {
  try {
    csv({}, "evalutions");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("did you mean 'evaluations'"));
  }
}

TEST(Export, CommandWritesAFileAndNeverTheResultsFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  {
    ResultsWriter writer(path, "known");
    for (int k = 0; k < 3; ++k) writer.append(known_training(k));
  }
  EXPECT_EQ(export_command({path, "--table", "training", "-o", folder / "loss.csv"}), 0);
  std::ifstream file(folder / "loss.csv");
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "job,try,run,step,examples,loss,learning_rate,grad_norm,tokens_per_second");
  std::getline(file, line);
  EXPECT_EQ(line, "0,1,0,0,0,1,1e-05,,1000000");
  EXPECT_THROW(export_command({path, "-o", path}), UsageError);
  EXPECT_EQ(read_results(path).training.size(), 3U);
}

}  // namespace
}  // namespace recite
