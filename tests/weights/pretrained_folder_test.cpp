#include "weights/pretrained_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "support/temporary_folder.h"
#include "weights/durable_file.h"
#include "weights/safetensors.h"

namespace recite {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Job small_job(Architecture architecture) {
  Job job;
  job.task.vocab_size = 7;
  job.model.architecture = architecture;
  job.model.hidden_size = 24;
  job.model.layers = 2;
  job.model.heads = 3;
  job.model.num_masked_heads = 2;
  job.model.state_dim = 5;
  job.train.seed = 11;
  return job;
}

std::unique_ptr<Model> model_of(const Job& job) {
  return make_model(job.model, vocabulary_size(job.task), Precision::float32, torch::kCPU,
                    static_cast<uint64_t>(job.train.seed));
}

std::string refusal(const std::string& folder) {
  try {
    load_model_folder(folder, torch::kCPU, Precision::float32);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "nothing was refused";
}

class SavedFolder : public testing::TestWithParam<Architecture> {};

TEST_P(SavedFolder, GivesBackTheModelAndItsJob) {
  const TemporaryFolder folder;
  const Job job = small_job(GetParam());
  const auto model = model_of(job);
  save_model_folder(folder / "model/", *model, job, 120, 4500);
  const SavedModel saved = load_model_folder(folder / "model", torch::kCPU, Precision::float32);

  EXPECT_EQ(saved.step, 120);
  EXPECT_EQ(saved.examples, 4500);
  EXPECT_EQ(saved.job.id(), job.id());
  ASSERT_EQ(saved.model->parameters().size(), model->parameters().size());
  for (size_t p = 0; p < model->parameters().size(); ++p) {
    EXPECT_TRUE(torch::equal(saved.model->parameters()[p].tensor, model->parameters()[p].tensor))
        << model->parameters()[p].name;
  }
  const torch::Tensor tokens = torch::arange(11).view({1, 11});
  EXPECT_TRUE(torch::equal(saved.model->forward(tokens, {}), model->forward(tokens, {})));
}

INSTANTIATE_TEST_SUITE_P(All, SavedFolder,
                         testing::Values(Architecture::rope, Architecture::nope, Architecture::alibi,
                                         Architecture::hard_alibi, Architecture::mamba, Architecture::lstm),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST(ModelFolder, ReplacesASavedModelButNothingElse) {
  const TemporaryFolder folder;
  Job job = small_job(Architecture::rope);
  save_model_folder(folder / "model", *model_of(job), job, 1, 1);
  job.train.seed = 12;
  const auto second = model_of(job);
  save_model_folder(folder / "model", *second, job, 2, 2);
  const SavedModel saved = load_model_folder(folder / "model", torch::kCPU, Precision::float32);
  EXPECT_EQ(saved.step, 2);
  EXPECT_TRUE(torch::equal(saved.model->parameters()[0].tensor, second->parameters()[0].tensor));

  fs::create_directory(folder / "thesis");
  std::ofstream(folder / "thesis/chapter1") << "years of work";
  EXPECT_THROW(save_model_folder(folder / "thesis", *second, job, 2, 2), Error);
  EXPECT_EQ(read_text(folder / "thesis/chapter1"), "years of work");
  const auto entries = std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator());
  EXPECT_EQ(entries, 2) << "left-overs beside 'model' and 'thesis'";
}

TEST(ModelFolder, RefusalsNameTheFile) {
  const TemporaryFolder folder;
  const Job job = small_job(Architecture::rope);
  const std::string saved = folder / "model";
  const std::string weights = saved + "/model.safetensors", description = saved + "/recite.json";
  EXPECT_THAT(refusal(saved), HasSubstr(description));

  save_model_folder(saved, *model_of(job), job, 1, 1);
  const std::string good = read_text(description);
  std::ofstream(description) << "no JSON";
  EXPECT_THAT(refusal(saved), HasSubstr(description));
  std::ofstream(description) << R"({"format_version": 99})";
  EXPECT_THAT(refusal(saved), testing::AllOf(HasSubstr(description), HasSubstr("99")));
  std::ofstream(description) << R"({"format_version": 1, "job": {}})";
  EXPECT_THAT(refusal(saved), HasSubstr(description));
  std::ofstream(description) << good;

  TensorFile file = read_safetensors(weights);
  const auto complete = file.tensors;
  file.tensors.pop_back();
  write_safetensors(weights, file);
  EXPECT_THAT(refusal(saved), testing::AllOf(HasSubstr(weights), HasSubstr(complete.back().first)));
  file.tensors.emplace_back(complete.back().first, torch::zeros({1, 2, 3}));
  write_safetensors(weights, file);
  EXPECT_THAT(refusal(saved), testing::AllOf(HasSubstr(weights), HasSubstr(complete.back().first)));
  file.tensors.back().second = complete.back().second;
  file.tensors.emplace_back("one.too.many", torch::zeros({1}));
  write_safetensors(weights, file);
  EXPECT_THAT(refusal(saved), testing::AllOf(HasSubstr(weights), HasSubstr("one.too.many")));

  fs::resize_file(weights, fs::file_size(weights) - 1);
  EXPECT_THAT(refusal(saved), HasSubstr(weights));
  fs::remove(weights);
  EXPECT_THAT(refusal(saved), HasSubstr(weights));
}

}  // namespace
}  // namespace recite
