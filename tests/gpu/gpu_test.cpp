// On a machine with a GPU, on any number of ranks: every model on the GPU against float64 on the CPU, and training over
// NCCL against one rank.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cuda_runtime_api.h>

#include <filesystem>
#include <numeric>

#include "comm/nccl_collective.h"
#include "eval/evaluate.h"
#include "models/dropout.h"
#include "support/rank_main.h"
#include "train/compare_ranks.h"
#include "train/flat_parameters.h"
#include "train/gradient_reducer.h"
#include "train/passes.h"
#include "train/tiny_job.h"
#include "train/trainer.h"

namespace recite {
namespace {

constexpr Architecture architectures[] = {Architecture::rope,       Architecture::nope,  Architecture::alibi,
                                          Architecture::hard_alibi, Architecture::mamba, Architecture::lstm};

std::unique_ptr<FormedGroup> group_of_all_workers(const std::string& name) {
  std::vector<int> ranks(mpi_test::transport().size());
  std::iota(ranks.begin(), ranks.end(), 0);
  return mpi_test::transport().form_group({ranks, name, true, 60, nullptr});
}

class OnGpu : public ::testing::TestWithParam<Architecture> {};

// Logits and every gradient against those of float64 on the CPU, relative to their norms.
void expect_near_float64(const Job& job, Precision precision, double tolerance) {
  const int64_t small = vocabulary_size(job.task), large = small_vocabulary + 1;
  for (const auto& [time, vocabulary] : {std::pair{1, small}, {2, small}, {17, small}, {129, small}, {129, large}}) {
    const auto gpu = make_model(job.model, vocabulary, precision, torch::kCUDA, 3);
    const auto cpu = make_model(job.model, vocabulary, Precision::float64, torch::kCPU, 3);
    torch::manual_seed(1);
    const torch::Tensor tokens = torch::randint(vocabulary, {3, time}, torch::kInt64);
    const torch::Tensor on_gpu = gpu->forward(tokens.to(torch::kCUDA), {}), on_cpu = cpu->forward(tokens, {});
    const torch::Tensor weights = torch::randn(on_cpu.sizes(), torch::kFloat64);
    (on_gpu * weights.to(on_gpu.options())).sum().backward();
    (on_cpu * weights).sum().backward();
    EXPECT_LT(relative_difference({on_gpu.detach().cpu()}, {on_cpu.detach()}), tolerance) << "T " << time;
    for (size_t i = 0; i < cpu->parameters().size(); ++i) {
      const torch::Tensor expected = cpu->parameters()[i].tensor.grad(), got = gpu->parameters()[i].tensor.grad();
      ASSERT_EQ(expected.defined(), got.defined()) << cpu->parameters()[i].name;
      const double far = (got.cpu().to(torch::kFloat64) - expected).norm().item<double>();
      EXPECT_LE(far, tolerance * expected.norm().item<double>() + 1e-6) << cpu->parameters()[i].name << ", T " << time;
    }
  }
}

TEST_P(OnGpu, LogitsAndGradientsAreThoseOfFloat64OnTheCpu) {
  expect_near_float64(tiny_job(GetParam(), Precision::float32), Precision::float32, 1e-4);
}

// Wide enough for the kernels that use tensor cores, and for those that take vectors.
Job wide_job(Architecture architecture, Precision precision) {
  Job job = tiny_job(architecture, precision);
  job.model.hidden_size = 128;
  job.model.heads = 2;
  job.model.num_masked_heads = 1;
  job.model.state_dim = 16;
  return job;
}

TEST_P(OnGpu, Bf16IsNearFloat64OnTheCpu) {
  expect_near_float64(wide_job(GetParam(), Precision::bf16), Precision::bf16, 0.06);
}

TEST_P(OnGpu, TrainingStepsHaveTheSameBitsAgain) {
  const Job job = wide_job(GetParam(), Precision::bf16);
  SoloCollective alone;
  Trainer first(job, torch::kCUDA, {alone, alone}), second(job, torch::kCUDA, {alone, alone});
  for (int step = 0; step < 5; ++step) EXPECT_EQ(first.step().loss, second.step().loss) << step;
  for (size_t i = 0; i < first.model().parameters().size(); ++i)
    EXPECT_TRUE(torch::equal(first.model().parameters()[i].tensor, second.model().parameters()[i].tensor))
        << first.model().parameters()[i].name;
}

// Gradients that a step's first pass writes and three others add to, in the memory that the weights' copies have for
// them, of passes as they are and of recorded ones.
TEST_P(OnGpu, Bf16GradientsOfSeveralPassesAreNearFloat64OnTheCpu) {
  Job job = wide_job(GetParam(), Precision::bf16);
  job.train.micro_batch_size = 2;
  job.train.learning_rate = 0;  // each step is one of the first weights
  Job exact = job;
  exact.train.precision = Precision::float64;
  SoloCollective alone;
  Trainer on_gpu(job, torch::kCUDA, {alone, alone}), on_cpu(exact, torch::kCPU, {alone, alone});
  for (int step = 0; step < 6; ++step) {
    const StepReport got = on_gpu.step(), expected = on_cpu.step();
    EXPECT_NEAR(got.loss, expected.loss, 0.06 * expected.loss) << step;
    EXPECT_NEAR(got.grad_norm, expected.grad_norm, 0.06 * expected.grad_norm) << step;
  }
  EXPECT_GT(on_gpu.captured_passes(), 0U);
}

// Gradients of six steps of two micro batches, summed over the ranks in the backward pass of the second: of passes as
// they are, and of passes of which the third step's are recorded and the later ones repeat those.
TEST_P(OnGpu, RecordedPassesHaveTheBitsOfOthers) {
  constexpr int64_t steps = 6;
  constexpr int rows = 4;
  const auto formed = group_of_all_workers("passes-" + std::to_string(static_cast<int>(GetParam())));
  const Group group = formed->group();
  for (const Precision precision : {Precision::float32, Precision::bf16}) {
    const Job job = wide_job(GetParam(), precision);
    std::vector<torch::Tensor> gradients[2];
    int sums[2] = {};
    for (const bool recorded : {false, true}) {
      const auto model = make_model(job.model, vocabulary_size(job.task), precision, torch::kCUDA, 3);
      FlatParameters parameters(*model, group.size(), /*bucket_bytes=*/1 << 16);
      GradientReducer reducer(parameters.layout(), parameters.gradients(), group.device);
      const auto passes = make_passes(torch::Device(torch::kCUDA, 0), recorded);
      const auto complete = [&](const torch::Tensor& from) {
        const torch::Tensor& gradient = parameters.gradient_of(from);
        if (!reducer.begins_from(gradient)) return;
        parameters.gather_gradients();
        passes->between([&, gradient] {
          reducer.complete_from(gradient);
          ++sums[recorded];
        });
      };
      for (int64_t step = 0; step < steps; ++step) {
        for (const bool last : {false, true}) {
          const int64_t first_row = (2 * group.rank() + last) * rows;
          const Batch batch = training_batch(Task(job.task), job.train, step, first_row, rows);
          passes->run(training_inputs(batch, step, torch::kCUDA), last, [&](const TrainingInputs& inputs) {
            ForwardContext context{
                .wanted = inputs.answers.places, .training = true, .seed = 7, .row_places = inputs.row_places};
            if (last) context.gradients_complete = complete;
            const torch::Tensor logits = model->forward(inputs.tokens, context);
            const torch::Tensor sum = answer_loss_sum(logits, inputs.answers.tokens, model->vocabulary());
            parameters.accumulate_gradients(/*first=*/!last, [&] { sum.backward(); });
          });
        }
        reducer.complete();
        reducer.finish();
        gradients[recorded].push_back(parameters.gradients().narrow(0, 0, parameters.layout().common).clone());
        gradients[recorded].push_back(reducer.shares().clone());
      }
      EXPECT_EQ(passes->recorded(), recorded ? 2U : 0U);
    }
    EXPECT_EQ(sums[0], sums[1]);
    EXPECT_EQ(sums[1] >= steps, group.size() > 1) << sums[1];
    for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i])) << i;
  }
}

TEST_P(OnGpu, ResumedTrainingHasTheBitsOfTrainingNeverStopped) {
  const Job job = wide_job(GetParam(), Precision::bf16);
  const std::string folder = testing::TempDir() + "/recite-gpu-resume-" + std::string(name_of(GetParam())) + "-" +
                             std::to_string(mpi_test::transport().rank());
  SoloCollective alone;
  Trainer whole(job, torch::kCUDA, {alone, alone});
  std::vector<double> losses;
  for (int step = 0; step < 10; ++step) losses.push_back(whole.step().loss);
  {
    Trainer first(job, torch::kCUDA, {alone, alone});
    for (int step = 0; step < 5; ++step) first.start_step();
    EXPECT_THROW(first.save(folder), Error);  // before the reports are taken
    EXPECT_EQ(first.take_reports().size(), 5U);
    first.save(folder);
  }
  Trainer second(job, torch::kCUDA, {alone, alone});
  EXPECT_NE(second.load(folder), "");
  for (int step = 5; step < 10; ++step) EXPECT_EQ(second.step().loss, losses[static_cast<size_t>(step)]) << step;
  std::filesystem::remove_all(folder);
}

TEST_P(OnGpu, ReportsTakenLaterAreTheSame) {
  const Job job = wide_job(GetParam(), Precision::bf16);
  SoloCollective alone;
  Trainer at_once(job, torch::kCUDA, {alone, alone}), later(job, torch::kCUDA, {alone, alone});
  std::vector<StepReport> reports;
  for (int step = 0; step < 8; ++step) {
    later.start_step();
    for (const StepReport& report : later.take_reports(2)) reports.push_back(report);
  }
  EXPECT_EQ(reports.size(), 6U);
  for (const StepReport& report : later.take_reports()) reports.push_back(report);
  for (const StepReport& report : reports) {
    const StepReport expected = at_once.step();
    EXPECT_EQ(report.step, expected.step);
    EXPECT_EQ(report.loss, expected.loss);
    EXPECT_EQ(report.grad_norm, expected.grad_norm);
  }
  EXPECT_GT(later.captured_passes(), 0U);
}

TEST_P(OnGpu, Bf16FollowsTheCurveOfFloat32) {
  constexpr int steps = 300, window = 20;
  std::vector<double> curves[2];
  for (const Precision precision : {Precision::float32, Precision::bf16}) {
    Job job = wide_job(GetParam(), precision);
    job.train.steps = steps;
    job.train.batch_size = 32;
    job.train.learning_rate = 1e-3;
    SoloCollective alone;
    Trainer trainer(job, torch::kCUDA, {alone, alone});
    double sum = 0;
    for (int step = 1; step <= steps; ++step) {
      sum += trainer.step().loss;
      if (step % window != 0) continue;
      curves[precision == Precision::bf16].push_back(sum / window);
      sum = 0;
    }
  }
  EXPECT_LT(curves[0].back(), 0.9 * curves[0].front());  // it learns something
  // Where it falls fast, a curve may be a window of steps ahead of the other or behind it; and of a task that is solved
  // they may differ by a ten-thousandth of where they began.
  const double solved = 1e-4 * curves[0].front();
  for (size_t i = 0; i < curves[0].size(); ++i) {
    const auto around =
        std::minmax_element(curves[0].begin() + static_cast<ptrdiff_t>(i > 0 ? i - 1 : 0),
                            curves[0].begin() + static_cast<ptrdiff_t>(std::min(i + 2, curves[0].size())));
    EXPECT_GT(curves[1][i], 0.98 * *around.first - solved) << i;
    EXPECT_LT(curves[1][i], 1.02 * *around.second + solved) << i;
  }
}

TEST_P(OnGpu, RanksTrainAsOneDoes) {
  const auto formed = group_of_all_workers("train-" + std::to_string(static_cast<int>(GetParam())));
  for (const auto& [precision, tolerance] :
       {std::pair{Precision::float32, 1e-4}, std::pair{Precision::float64, 1e-10}}) {
    Job job = tiny_job(GetParam(), precision);
    for (const int micro_batch_size : {0, 2}) {
      job.train.micro_batch_size = micro_batch_size;
      const RankDifference difference = compare_with_one_rank(job, formed->group(), torch::kCUDA);
      EXPECT_TRUE(difference.losses <= tolerance) << difference.losses;
      EXPECT_TRUE(difference.weights <= tolerance) << difference.weights;
      EXPECT_TRUE(difference.counts_equal);
      if (mpi_test::transport().rank() == 0)
        std::printf("%d ranks, %s, %s, micro batch size %d: losses %.1e, weights %.1e\n", formed->group().size(),
                    std::string(name_of(GetParam())).c_str(), std::string(name_of(precision)).c_str(), micro_batch_size,
                    difference.losses, difference.weights);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, OnGpu, ::testing::ValuesIn(architectures),
                         [](const auto& parameter) { return std::string(name_of(parameter.param)); });

// By a call, in the thread of the backward pass, or by itself; while it is recorded, or while it repeats what was.
TEST(Passes, GoOnAfterOneThatFailed) {
  enum { as_it_is, lost, broken } fate = as_it_is;
  const Job job = tiny_job(Architecture::rope, Precision::float32);
  const TrainingInputs inputs = training_inputs(training_batch(Task(job.task), job.train, 0, 0, 2), 0, torch::kCUDA);
  const torch::Tensor weight = torch::ones({1000}, torch::kCUDA).requires_grad_(true);
  weight.mutable_grad() = torch::zeros_like(weight);
  const auto passes = make_passes(torch::Device(torch::kCUDA, 0), true);
  const auto work = [&](const TrainingInputs&) {
    const torch::Tensor twice = 2 * weight;
    twice.register_hook([&](const torch::Tensor&) {
      passes->between([&] {
        if (fate == lost) throw PeerLost("in a test");
      });
    });
    twice.sum().backward();
    if (fate == broken) throw Error("in a test");
  };
  const auto run = [&] { passes->run(inputs, /*kind=*/0, work); };
  run();
  run();
  fate = lost;
  EXPECT_THROW(run(), PeerLost);
  fate = broken;
  EXPECT_THROW(run(), Error);
  EXPECT_EQ(passes->recorded(), 0U);
  fate = as_it_is;
  run();
  EXPECT_EQ(passes->recorded(), 1U);
  fate = lost;
  EXPECT_THROW(run(), PeerLost);
  fate = as_it_is;
  weight.grad().zero_();
  run();
  EXPECT_TRUE((weight.grad() == 2).all().item<bool>());
}

TEST(DropoutMask, HasTheBitsOfTheCpu) {
  const torch::Tensor places = torch::tensor({int64_t{4}, int64_t{3}, int64_t{0}, int64_t{4}, int64_t{900}, int64_t{7},
                                              int64_t{4}, int64_t{1} << 40, int64_t{1000}})
                                   .view({3, 3});
  const ForwardContext on_cpu{.training = true, .seed = 9, .row_places = places};
  const ForwardContext on_gpu{.training = true, .seed = 9, .row_places = places.to(torch::kCUDA)};
  for (const auto type : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
    const auto options = torch::TensorOptions().dtype(type);
    for (const int64_t width : {1, 4, 1023}) {
      const torch::Tensor expected = dropout_mask(on_cpu, 1, 0.65, {3, 5, width}, options);
      const torch::Tensor actual = dropout_mask(on_gpu, 1, 0.65, {3, 5, width}, options.device(torch::kCUDA));
      EXPECT_TRUE(torch::equal(actual.cpu(), expected)) << width;
    }
  }
}

// Notes when the first sum could begin, and when the default stream had done what came before the wait for all of them.
// Without `overlaps`, no sum begins before the backward pass is queued.
class TimedCollective final : public Collective {
 public:
  explicit TimedCollective(Collective& nccl, bool overlaps = true)
      : nccl_(dynamic_cast<NcclCollective&>(nccl)), overlaps_(overlaps) {
    for (cudaEvent_t* event : {&ready_, &begun_, &computed_}) cudaEventCreate(event);
  }
  ~TimedCollective() override {
    for (cudaEvent_t event : {ready_, begun_, computed_}) cudaEventDestroy(event);
  }
  int rank() const override { return nccl_.rank(); }
  int size() const override { return nccl_.size(); }
  void all_reduce_sum(void* data, size_t count, ElementType type) override { nccl_.all_reduce_sum(data, count, type); }
  void broadcast(void* data, size_t count, ElementType type, int root) override {
    nccl_.broadcast(data, count, type, root);
  }
  bool overlaps() const override { return overlaps_; }
  void start_all_reduce_sum(void* data, size_t count, ElementType type) override {
    nccl_.start_all_reduce_sum(data, count, type);
  }
  void start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) override {
    if (sums++ == 0) {
      cudaEventRecord(ready_, nullptr);
      cudaStreamWaitEvent(nccl_.stream(), ready_);
      cudaEventRecord(begun_, nccl_.stream());
    }
    nccl_.start_reduce_scatter_sum(data, part, count, type);
  }
  void start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) override {
    nccl_.start_all_gather(of, count, type);
  }
  void join() override {
    if (joins++ == 0) cudaEventRecord(computed_, nullptr);  // that for the gradients' sums
    nccl_.join();
  }
  void finish() override { nccl_.finish(); }
  void wait(const std::function<bool()>& done, const char* what) override { nccl_.wait(done, what); }

  // Milliseconds that the backward pass went on after the first sum began.
  float overlapped() const {
    float milliseconds = 0;
    EXPECT_EQ(cudaEventSynchronize(computed_), cudaSuccess);
    EXPECT_EQ(cudaEventElapsedTime(&milliseconds, begun_, computed_), cudaSuccess);
    return milliseconds;
  }
  int sums = 0, joins = 0;  // of a step

 private:
  NcclCollective& nccl_;
  bool overlaps_;
  cudaEvent_t ready_{}, begun_{}, computed_{};
};

TEST(GradientReducer, SumsBesideTheBackwardPass) {
  if (mpi_test::transport().size() == 1) GTEST_SKIP() << "one rank has nothing to sum: start it on two or more";
  const auto formed = group_of_all_workers("overlap");
  for (const Architecture architecture : architectures) {
    Job job = tiny_job(architecture, Precision::bf16);
    job.model.hidden_size = 1024;
    job.model.heads = 16;
    job.model.layers = architecture == Architecture::mamba ? 8 : 4;
    job.train.context_length = 220;
    TimedCollective device(formed->group().device), afterwards(formed->group().device, /*overlaps=*/false);
    Trainer trainer(job, torch::kCUDA, {formed->group().host, device});
    Trainer other(job, torch::kCUDA, {formed->group().host, afterwards});
    for (int step = 0; step < 5; ++step) {
      device.sums = device.joins = 0;
      EXPECT_EQ(trainer.step().loss, other.step().loss) << step;
    }
    EXPECT_EQ(trainer.captured_passes(), 1U);
    EXPECT_GE(device.sums, 2);
    EXPECT_GT(device.overlapped(), 0);
    if (device.rank() == 0)
      std::printf("%s: %d sums; the first began %.2f ms before the backward pass ended\n",
                  std::string(name_of(architecture)).c_str(), device.sums, device.overlapped());
  }
}

TEST(NcclCollective, SumsAndGathersPartsExactly) {
  const auto formed = group_of_all_workers("parts");
  Collective& device = formed->group().device;
  const int ranks = device.size();
  for (const int64_t count : {1, 129, 100003}) {
    const torch::Tensor base = torch::arange(ranks * count, torch::kCUDA).remainder(17).to(torch::kFloat32);
    const torch::Tensor data = base * (device.rank() + 1), sum = base * (ranks * (ranks + 1) / 2);
    torch::Tensor part = ranks == 1 ? data : torch::zeros({count}, data.options());
    device.start_reduce_scatter_sum(data.data_ptr(), part.data_ptr(), count, ElementType::float32);
    device.join();
    EXPECT_TRUE(torch::equal(part, sum.narrow(0, device.rank() * count, count))) << count;
    torch::Tensor all = torch::zeros_like(base), twice = torch::zeros_like(base);
    const torch::Tensor doubled = 2 * part;
    device.start_all_gather({{part.data_ptr(), all.data_ptr()}, {doubled.data_ptr(), twice.data_ptr()}},
                            count * part.element_size(), ElementType::bytes);
    device.finish();
    EXPECT_TRUE(torch::equal(all, sum)) << count;
    EXPECT_TRUE(torch::equal(twice, 2 * sum)) << count;
  }
}

TEST(NcclCollective, SumsExactly) {
  const auto formed = group_of_all_workers("sums");
  Collective& device = formed->group().device;
  const int ranks = device.size();
  for (const int64_t count : {1, 129, 100003}) {
    const torch::Tensor base = torch::arange(count, torch::kCUDA).remainder(17);
    torch::Tensor data = (base * (device.rank() + 1)).to(torch::kFloat32);
    device.all_reduce_sum(data.data_ptr(), count, ElementType::float32);
    EXPECT_TRUE(torch::equal(data, (base * (ranks * (ranks + 1) / 2)).to(torch::kFloat32))) << count;
  }
  torch::Tensor mine = torch::full({1000}, static_cast<double>(device.rank()), torch::kCUDA);
  device.broadcast(mine.data_ptr(), 1000 * mine.element_size(), ElementType::bytes, ranks - 1);
  EXPECT_TRUE((mine == ranks - 1).all().item<bool>());
}

}  // namespace
}  // namespace recite
