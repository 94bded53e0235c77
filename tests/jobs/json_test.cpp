#include <gtest/gtest.h>

#include "base/error.h"
#include "jobs/job.h"

namespace recite {
namespace {

// Every member has another value than by default.
Job unusual_job() {
  Job job;
  job.task = {TaskKind::suffix_ngram, 7, 3, 2, NgramKey::any};
  job.model = {Architecture::hard_alibi, 96, 5, 6, 4, 12, 0.25, ScoreQuirk::published};
  job.pretrained = {.model = "models/pythia",
                    .tokenizer = "tokenizer.json",
                    .c4_corpus = "c4",
                    .squad_file = "dev.json",
                    .text_order = TextOrder::random,
                    .decode_cleanup = DecodeCleanup::published,
                    .squad_bins = 25,
                    .squad_contexts = 20,
                    .squad_normalisation = SquadNormalisation::official};
  job.folder = {405334016, 50304};
  job.train = {.seed = 4000000000,
               .steps = 77,
               .epochs = 2,
               .batch_size = 24,
               .micro_batch_size = 3,
               .min_length = 9,
               .max_length = 31,
               .context_length = 111,
               .packed_state = PackedState::reset,
               .learning_rate = 0.1 + 0.2,
               .warmup_steps = 6,
               .weight_decay = 0.01,
               .gradient_clip = 0.5,
               .precision = Precision::float64};
  job.eval = {.tasks = {TaskKind::copy, TaskKind::duplicate_ngram},
              .n_grams = {2, 4},
              .lengths = {8, 64},
              .batch_size = 16,
              .num_batches = 5,
              .every = 11,
              .every_lengths = {64},
              .mode = EvalMode::greedy,
              .seed = 5,
              .context_length = 300,
              .stop_at_accuracy = 0.99,
              .stop_length = 30};
  job.run = {DeviceKind::cuda, 12.5, 40, 3, 2, true, true};
  job.ranks = 4;
  return job;
}

TEST(JobJson, EveryMemberIsReadBack) {
  const nlohmann::json written = unusual_job();
  EXPECT_EQ(nlohmann::json(nlohmann::json::parse(written.dump()).get<Job>()), written);
}

TEST(JobJson, NoMemberOfTheUnusualJobHasItsDefault) {
  const nlohmann::json unusual = unusual_job(), usual = Job{};
  for (const auto& [part, value] : usual.items()) {
    if (!value.is_object()) continue;
    for (const auto& [key, setting] : value.items()) EXPECT_NE(unusual[part][key], setting) << part << '.' << key;
  }
}

ModelSpec pretrained_spec() {
  ModelSpec spec;
  spec.intermediate_size = 10;
  spec.rotary_share = 0.5;
  spec.rotary_base = 500;
  spec.parallel_residual = false;
  spec.tied_embeddings = true;
  spec.norm_eps = 0.1 + 0.2;
  spec.expand = 3;
  spec.conv_width = 2;
  spec.dt_rank = 4;
  spec.vocabulary_multiple = 1;
  return spec;
}

TEST(JobJson, WhatOnlyPretrainedModelsHaveIsWrittenWhereItIsUnusualAndReadBack) {
  const nlohmann::json usual = ModelSpec{}, written = pretrained_spec();
  EXPECT_EQ(usual.size(), 8u);
  EXPECT_EQ(written.size(), usual.size() + 10);
  EXPECT_EQ(nlohmann::json(nlohmann::json::parse(written.dump()).get<ModelSpec>()), written);
  for (const auto& [key, value] : written.items()) {
    if (usual.contains(key)) continue;
    Job job;
    const std::string id = job.id();
    job.model = nlohmann::json{{key, value}}.get<ModelSpec>();
    EXPECT_NE(job.id(), id) << key;
  }
}

TEST(JobJson, DoublesKeepEveryBit) {
  const Job job = nlohmann::json::parse(nlohmann::json(unusual_job()).dump()).get<Job>();
  EXPECT_EQ(job.train.learning_rate, 0.1 + 0.2);
}

TEST(JobJson, MissingMembersKeepTheirDefaults) {
  const Job job = nlohmann::json::parse(R"({"train": {"steps": 5}})").get<Job>();
  EXPECT_EQ(job.train.steps, 5);
  EXPECT_EQ(job.train.batch_size, TrainSpec{}.batch_size);
  EXPECT_EQ(job.model.architecture, Architecture::rope);
}

TEST(JobJson, WrongTypesAndNamesAreErrors) {
  EXPECT_THROW(nlohmann::json::parse(R"({"train": {"steps": "many"}})").get<Job>(), Error);
  EXPECT_THROW(nlohmann::json::parse(R"({"model": {"architecture": "gru"}})").get<Job>(), Error);
}

}  // namespace
}  // namespace recite
