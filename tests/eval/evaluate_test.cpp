#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tasks/batch.h"
#include "train/thread_group.h"
#include "train/tiny_job.h"
#include "train/trainer.h"

namespace recite {
namespace {

// A copier with known mistakes: the letter of an answer at `wrong_place` of every string whose first letter is below
// `wrong_below` is read as the next letter. It looks only at the tokens it is given, as a real model does.
class ScriptedModel final : public Model {
 public:
  ScriptedModel(const Alphabet& alphabet, int wrong_place, int wrong_below)
      : Model({}, alphabet.size(), Precision::float32, torch::kCPU, ModelUse::inference),
        alphabet_(alphabet),
        wrong_place_(wrong_place),
        wrong_below_(wrong_below) {
    add_parameter("nothing", {1}, {});
  }

  torch::Tensor forward(const torch::Tensor& tokens, const ForwardContext& context) override {
    torch::Tensor logits = torch::zeros({tokens.size(0), tokens.size(1), alphabet_.size() + 3});
    logits.narrow(2, alphabet_.size(), 3).fill_(9);  // padding of the vocabulary never wins
    for (int64_t b = 0; b < tokens.size(0); ++b) {
      for (int64_t t = 0; t < tokens.size(1); ++t) logits[b][t][next_letter(tokens[b], t)] = 1;
    }
    return context.wanted.defined() ? logits.flatten(0, 1).index_select(0, context.wanted) : logits;
  }

  std::unique_ptr<ModelCache> new_cache(int64_t, int64_t) override { return std::make_unique<Read>(); }

  torch::Tensor prefill(const torch::Tensor& tokens, const torch::Tensor& lengths, ModelCache& cache) override {
    auto& read = static_cast<Read&>(cache);
    for (int64_t b = 0; b < tokens.size(0); ++b)
      read.rows.push_back(tokens[b].narrow(0, 0, lengths[b].item<int64_t>()));
    return last_logits(read);
  }

  torch::Tensor step(const torch::Tensor& tokens, ModelCache& cache) override {
    auto& read = static_cast<Read&>(cache);
    for (size_t b = 0; b < read.rows.size(); ++b) read.rows[b] = torch::cat({read.rows[b], tokens.narrow(0, b, 1)});
    return last_logits(read);
  }

 private:
  struct Read : ModelCache {
    std::vector<torch::Tensor> rows;  // (T)

    void keep(const torch::Tensor& kept) override {
      std::vector<torch::Tensor> before = std::exchange(rows, {});
      for (int64_t i = 0; i < kept.size(0); ++i) rows.push_back(before[kept[i].item<int64_t>()]);
    }
  };

  torch::Tensor last_logits(const Read& read) {
    std::vector<torch::Tensor> logits;
    for (const torch::Tensor& row : read.rows) logits.push_back(forward(row.unsqueeze(0), {})[0][-1]);
    return torch::stack(logits);
  }

  int64_t next_letter(const torch::Tensor& row, int64_t t) const {
    const auto tokens = row.accessor<int64_t, 1>();
    int64_t separator = 0;
    while (separator <= t && tokens[separator] != alphabet_.separator()) ++separator;
    if (separator > t) return 0;
    const int64_t place = t - separator;
    if (1 + place >= separator) return alphabet_.end();
    const int64_t letter = tokens[1 + place];
    const bool wrong = place == wrong_place_ && tokens[1] < wrong_below_;
    return wrong ? (letter + 1) % alphabet_.letters() : letter;
  }

  Alphabet alphabet_;
  int wrong_place_;
  int wrong_below_;
};

Job copy_job() {
  Job job;
  job.task.vocab_size = 5;
  job.eval.batch_size = 9;
  job.eval.num_batches = 4;
  job.eval.seed = 21;
  return job;
}

const EvalPoint copy_of_7{TaskKind::copy, 0, 7};

EvaluationRow evaluate_alone(Model& model, const Job& job, const EvalPoint& point) {
  SoloCollective solo;
  return evaluate(model, job, point, {solo, solo});
}

// Strings of each batch that begin with a letter below 2: those the scripted model gets wrong.
std::vector<double> wrong_strings(const Job& job) {
  std::vector<double> wrong;
  for (int i = 0; i < job.eval.num_batches; ++i) {
    const EvalBatch batch =
        evaluation_batch(Task(job.task), job.eval.seed, 7, i * job.eval.batch_size, job.eval.batch_size);
    wrong.push_back(0);
    for (int b = 0; b < batch.rows; ++b) wrong.back() += batch.tokens[b * batch.time + 1] < 2 ? 1 : 0;
  }
  return wrong;
}

class EvaluateModes : public testing::TestWithParam<EvalMode> {};

TEST_P(EvaluateModes, CountsStringsAndLetters) {
  Job job = copy_job();
  job.eval.mode = GetParam();
  ScriptedModel model(Alphabet(5), 3, 2);
  const EvaluationRow row = evaluate_alone(model, job, copy_of_7);

  const std::vector<double> wrong = wrong_strings(job);
  double all_wrong = 0, squares = 0;
  for (const double count : wrong) all_wrong += count;
  ASSERT_GT(all_wrong, 0);
  ASSERT_LT(all_wrong, 36);
  for (const double count : wrong) squares += std::pow((count - all_wrong / 4) / 9, 2);
  EXPECT_EQ(row.task, "copy");
  EXPECT_EQ(row.length, 7);
  EXPECT_EQ(row.mode, name_of(GetParam()));
  EXPECT_EQ(row.n, 36);
  EXPECT_DOUBLE_EQ(row.string_accuracy, 1 - all_wrong / 36);
  EXPECT_DOUBLE_EQ(row.char_accuracy, 1 - all_wrong / (36 * 7));
  EXPECT_NEAR(row.string_accuracy_std, std::sqrt(squares / 4), 1e-15);
  EXPECT_LT(row.string_accuracy_low, row.string_accuracy);
  EXPECT_GT(row.string_accuracy_high, row.string_accuracy);
  EXPECT_TRUE(std::isnan(row.exact_match));
  EXPECT_TRUE(std::isnan(row.f1));
}

TEST_P(EvaluateModes, EveryNumberOfRanksGivesTheSameRow) {
  Job job = copy_job();
  job.eval.mode = GetParam();
  ScriptedModel model(Alphabet(5), 3, 2);
  const std::string alone = nlohmann::json(evaluate_alone(model, job, copy_of_7)).dump();
  for (const int ranks : {2, 3, 6}) {
    ThreadGroup::run(ranks, [&](Group group) {
      ScriptedModel own(Alphabet(5), 3, 2);
      EXPECT_EQ(nlohmann::json(evaluate(own, job, copy_of_7, group)).dump(), alone) << ranks;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Both, EvaluateModes, testing::Values(EvalMode::teacher_forced, EvalMode::greedy),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST(Evaluate, AFaultlessCopierIsRightUpToThePoint) {
  ScriptedModel model(Alphabet(5), -1, 0);
  const EvaluationRow row = evaluate_alone(model, copy_job(), copy_of_7);
  EXPECT_EQ(row.string_accuracy, 1);
  EXPECT_EQ(row.string_accuracy_std, 0);
  EXPECT_EQ(row.char_accuracy, 1);
  EXPECT_EQ(row.string_accuracy_high, 1);
}

class TrainedModel : public testing::Test {
 protected:
  // Long enough to be right sometimes, and far from always.
  TrainedModel() {
    job_.model.hidden_size = 32;
    job_.train.steps = 150;
    job_.train.batch_size = 16;
    job_.train.learning_rate = 3e-3;
    job_.train.max_length = 3;
    job_.eval.batch_size = 40;
    job_.eval.num_batches = 3;
  }

  Job job_ = tiny_job(Architecture::rope, Precision::float32);
  SoloCollective solo_;
};

TEST_F(TrainedModel, GreedyAndTeacherForcedAgreeOnWholeStrings) {
  Trainer trainer(job_, torch::kCPU, {solo_, solo_});
  while (!trainer.finished()) trainer.step();
  double right = 0;
  for (const EvalPoint& point : {EvalPoint{TaskKind::copy, 0, 1}, EvalPoint{TaskKind::copy, 0, 2},
                                 EvalPoint{TaskKind::copy, 0, 3}, EvalPoint{TaskKind::duplicate_ngram, 1, 4},
                                 EvalPoint{TaskKind::prefix_ngram, 1, 4}, EvalPoint{TaskKind::suffix_ngram, 1, 4}}) {
    job_.eval.mode = EvalMode::teacher_forced;
    const EvaluationRow forced = evaluate_alone(trainer.model(), job_, point);
    job_.eval.mode = EvalMode::greedy;
    const EvaluationRow greedy = evaluate_alone(trainer.model(), job_, point);
    EXPECT_EQ(forced.string_accuracy, greedy.string_accuracy) << forced.task << " " << point.length;
    EXPECT_EQ(forced.task, name_of(point.task));
    EXPECT_EQ(forced.n_gram, point.n_gram);
    right += forced.string_accuracy;
  }
  EXPECT_GT(right, 0.1);
  EXPECT_LT(right, 5.9);
}

TEST(WilsonInterval, IsTheRootOfItsEquation) {
  constexpr double z = 1.959963984540054;
  for (const auto& [right, n] : {std::pair{0.0, 10.0}, {1.0, 10.0}, {5.0, 10.0}, {10.0, 10.0}, {1279.0, 1280.0}}) {
    const auto [low, high] = wilson_interval(right, n);
    const double p = right / n;
    for (const double bound : {low, high}) {
      EXPECT_NEAR((p - bound) * (p - bound), z * z * bound * (1 - bound) / n, 1e-12) << right << " of " << n;
    }
    EXPECT_LE(low, p);
    EXPECT_GE(high, p);
    EXPECT_LT(low, high);
  }
}

// Known values for 10 of 20 and 0 of 10.
TEST(WilsonInterval, HasTheValuesOfTheTables) {
  EXPECT_NEAR(wilson_interval(10, 20).low, 0.299298, 1e-6);
  EXPECT_NEAR(wilson_interval(10, 20).high, 0.700702, 1e-6);
  EXPECT_EQ(wilson_interval(0, 10).low, 0);
  EXPECT_NEAR(wilson_interval(0, 10).high, 0.277533, 1e-6);
  EXPECT_EQ(wilson_interval(0, 0).low, 0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1);
}

}  // namespace
}  // namespace recite
