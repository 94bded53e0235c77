#include "pretrained/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "config/message.h"
#include "pretrained/tiny_pretrained.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class PreparePretrained : public TinyPretrained {
 protected:
  static std::string refused(const Job& job) {
    std::vector<Job> jobs = {job};
    return refusal([&] { prepare_pretrained(jobs); });
  }
};

TEST_F(PreparePretrained, FillsInWhatTheFoldersSay) {
  std::vector<Job> jobs = {job_of(save("mamba", Architecture::mamba, as_drawn)), Job(),
                           job_of(save("neox", Architecture::rope, as_drawn, 2))};
  const std::string trained = jobs[1].id();
  prepare_pretrained(jobs);
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_TRUE(std::ranges::is_sorted(jobs, std::greater(), job_cost));
  EXPECT_EQ(jobs[0].id(), trained) << "the largest of them";
  const auto filled_in = [&](const std::string& name) { return *std::ranges::find(jobs, name, &Job::model_name); };
  const Job neox = filled_in("neox"), mamba = filled_in("mamba");
  EXPECT_EQ(neox.model.architecture, Architecture::rope);
  EXPECT_EQ(neox.model.layers, 2);
  EXPECT_EQ(mamba.model.architecture, Architecture::mamba);
  EXPECT_EQ(mamba.model.state_dim, 4);
  for (const Job& job : {neox, mamba}) {
    EXPECT_EQ(job.model.hidden_size, 64);
    EXPECT_EQ(job.folder.vocabulary, tiny_vocabulary);
    EXPECT_EQ(job.folder.parameters, parameter_count(job.model, tiny_vocabulary));
    EXPECT_THAT(job.eval.lengths, ElementsAre(50)) << "as asked";
  }
}

TEST_F(PreparePretrained, EveryMissingFolderIsNamed) {
  const Job there = job_of(save("there", Architecture::rope, as_drawn));
  std::vector<Job> jobs = {there, there, there};
  jobs[1].pretrained.model = "models/one";
  jobs[2].pretrained.model = "models/two";
  EXPECT_THAT(
      refusal([&] { prepare_pretrained(jobs); }),
      AllOf(HasSubstr("pretrained.model: no such folder: models/one, models/two"), HasSubstr("looked for from /")));
}

TEST_F(PreparePretrained, SquadWithoutLengthsHasThoseOfItsOwnBins) {
  Job job = job_of(save("model", Architecture::rope, as_drawn));
  job.eval.lengths = {};
  std::vector<Job> jobs(4, job);
  jobs[1].pretrained.squad_file = jobs[2].pretrained.squad_file = save_squad(folder_ / "two.json", {40, 90});
  jobs[2].pretrained.squad_bins = 100;
  jobs[3].eval.lengths = {50, 50};
  std::vector<std::vector<int>> lengths;
  prepare_pretrained(jobs);
  for (const Job& prepared : jobs) lengths.push_back(prepared.eval.lengths);
  EXPECT_THAT(lengths, testing::UnorderedElementsAre(ElementsAre(50), ElementsAre(50, 100), ElementsAre(100),
                                                     ElementsAre(50, 50)));
}

TEST_F(PreparePretrained, ReadsNoWeights) {
  const std::string model = save("model", Architecture::rope, [](Model& changed) {
    weight_of(changed, "gpt_neox.final_layer_norm.bias").fill_(NAN);
  });
  EXPECT_EQ(refused(job_of(model)), "taken");
}

TEST_F(PreparePretrained, TokenizerMustFitTheEmbedding) {
  const std::string model = save("model", Architecture::rope, as_drawn);
  const auto with_last_token = [&](int id) {
    nlohmann::json tokenizer = tiny_tokenizer();
    for (int next = end_token + 1; next <= id; ++next)
      tokenizer["added_tokens"].push_back(added_token(next, fmt::format("<{}>", next)));
    write_durably(model + "/tokenizer.json", tokenizer.dump());
    return refused(job_of(model));
  };
  EXPECT_EQ(with_last_token(263), "taken");
  EXPECT_EQ(with_last_token(264),
            fmt::format("{0}/tokenizer.json numbers its tokens up to 264, and the embedding of {0} has 264 rows: they "
                        "do not belong together (pretrained.tokenizer names another)",
                        model));
}

TEST_F(PreparePretrained, RefusesAFolderInPlaceOfATokenizer) {
  std::vector<Job> jobs = {job_of(save("model", Architecture::rope, as_drawn))};
  jobs[0].pretrained.tokenizer = folder_.path();
  EXPECT_THROW(prepare_pretrained(jobs), UsageError);
}

TEST_F(PreparePretrained, LooksAtTheJobsOfASharedTokenizerOneByOne) {
  const std::string model = save("model", Architecture::rope, as_drawn);
  std::vector<Job> jobs(3, job_of(model));
  jobs[2].pretrained.model = folder_ / "lost";
  EXPECT_THAT(refusal([&] { prepare_pretrained(jobs); }), HasSubstr("no such folder: " + (folder_ / "lost") + " ("));
  jobs[2].pretrained.model = model;
  jobs[2].eval.lengths = {50, 100};
  EXPECT_EQ(refusal([&] { prepare_pretrained(jobs); }),
            squad_ + ": no bin of squad that runs ends at 100 tokens: choose lengths among 50");
}

TEST_F(PreparePretrained, RefusalsNameTheFileOrTheOption) {
  const std::string model = save("model", Architecture::rope, as_drawn);
  Job job = job_of(model, TaskKind::phone_book);
  job.eval.lengths = {3, 2};
  EXPECT_THAT(refused(job), HasSubstr("phone_book needs 3 entries or more, not 2"));
  job.eval.lengths = {};
  EXPECT_THAT(refused(job), HasSubstr("eval.lengths is empty"));

  job = job_of(model, TaskKind::c4_copy);
  EXPECT_THAT(refused(job), HasSubstr("set c4_corpus"));
  job.pretrained.c4_corpus = folder_ / "texts.txt";
  std::string texts;
  for (int i = 0; i < 10; ++i) texts += "ten bytes.\n\n";
  write_durably(job.pretrained.c4_corpus, texts);
  EXPECT_EQ(refused(job), "taken");
  job.eval.lengths = {50, 101};
  EXPECT_EQ(refused(job), job.pretrained.c4_corpus +
                              ": its 10 texts have 100 tokens, fewer than the 101 to copy: "
                              "choose shorter lengths, or a larger corpus");

  std::filesystem::rename(model, folder_ / std::string(33, 'm'));
  EXPECT_THAT(refused(job_of(folder_ / std::string(33, 'm'))), AllOf(HasSubstr("pretrained.model"), HasSubstr("32")));
  std::filesystem::remove(folder_ / std::string(33, 'm') + "/config.json");
  EXPECT_THAT(refused(job_of(folder_ / std::string(33, 'm'))), HasSubstr("config.json: no such file"));
}

}  // namespace
}  // namespace recite
