// On a machine with a GPU: caches and generation against float64 on the CPU, a step's graph against the step, and rows
// of a batch against each alone.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "generate/generate.h"
#include "ops/attention.h"
#include "train/compare_ranks.h"
#include "train/tiny_job.h"

namespace recite {
namespace {

using torch::Tensor;
using Texts = std::vector<std::vector<int32_t>>;

constexpr int64_t vocabulary = 9;

struct Numbers {
  Precision precision;
  double tolerance;  // of logits, beside float64
  double near;       // of the two best logits, where rounding may decide between them
  size_t least;      // of the 86 tokens of a batch, that must be beyond doubt for the comparison to mean anything
};
constexpr Numbers all_numbers[] = {
    {Precision::float64, 1e-10, 1e-8, 80}, {Precision::float32, 1e-4, 1e-3, 30}, {Precision::bf16, 0.06, 0.1, 3}};

class GenerateOnGpu : public testing::TestWithParam<Architecture> {
 protected:
  // Wide enough for the kernels that take vectors; weights large enough that texts are not one token for ever.
  static std::unique_ptr<Model> model(Precision precision, torch::Device device) {
    ModelSpec spec = tiny_job(GetParam(), precision).model;
    spec.hidden_size = 128;
    spec.heads = 2;
    spec.state_dim = 16;
    auto made = make_model(spec, vocabulary, precision, device, 3);
    torch::manual_seed(4);
    torch::NoGradGuard no_grad;
    // From 0.5 on a recurrence of this width is chaotic: rounding decides where it is after 100 tokens.
    const double deviation = GetParam() == Architecture::lstm ? 0.25 : 0.1;
    for (const Parameter& parameter : made->parameters())
      parameter.tensor.add_(deviation * torch::randn(parameter.tensor.sizes(), torch::kFloat64).to(device));
    return made;
  }

  static Texts prompts() {
    Texts prompts;
    torch::manual_seed(5);
    for (const int64_t length : {33, 1, 2, 150, 7}) {
      const Tensor tokens = torch::randint(vocabulary, {length}, torch::kInt32);
      prompts.emplace_back(tokens.data_ptr<int32_t>(), tokens.data_ptr<int32_t>() + length);
    }
    return prompts;
  }
};

TEST_P(GenerateOnGpu, LogitsOverACacheAreThoseOfFloat64OnTheCpu) {
  const auto cpu = model(Precision::float64, torch::kCPU);
  const Tensor lengths = torch::tensor({33, 1, 2, 150, 7}),
               tokens = torch::randint(vocabulary, {5, 170}, torch::kInt64);
  const Tensor expected = cpu->forward(tokens, {}).detach();
  for (const auto& [precision, tolerance, near, least] : all_numbers) {
    const auto gpu = model(precision, torch::kCUDA);
    const auto cache = gpu->new_cache(5, 170);
    Tensor length = lengths.clone();
    Tensor logits = gpu->prefill(tokens.narrow(1, 0, 150).to(torch::kCUDA), length, *cache);
    const auto check = [&](int step) {
      const Tensor places = (length - 1).view({5, 1, 1}).expand({5, 1, expected.size(2)});
      EXPECT_LT(relative_difference({logits.cpu()}, {expected.gather(1, places).squeeze(1)}), tolerance)
          << name_of(precision) << ", step " << step;
    };
    check(0);
    for (int step = 1; step <= 20; ++step) {
      logits = gpu->step(tokens.gather(1, length.unsqueeze(1)).squeeze(1).to(torch::kCUDA), *cache);
      length = length + 1;
      check(step);
    }
  }
}

// As many tokens of every row, so that the batch stays as it is.
TEST_P(GenerateOnGpu, TheGraphOfAStepDoesWhatTheStepDoes) {
  for (const auto& [precision, tolerance, near, least] : all_numbers) {
    const auto gpu = model(precision, torch::kCUDA);
    constexpr int64_t count = 40;
    const Texts read = prompts();
    const Tensor tokens = torch::zeros({5, 150}, torch::kInt64);
    std::vector<int64_t> lengths;
    for (size_t row = 0; row < read.size(); ++row) {
      std::copy(read[row].begin(), read[row].end(), tokens[static_cast<int64_t>(row)].data_ptr<int64_t>());
      lengths.push_back(static_cast<int64_t>(read[row].size()));
    }
    const auto cache = gpu->new_cache(5, 150 + count - 1);
    Tensor logits = gpu->prefill(tokens.to(torch::kCUDA), torch::tensor(lengths), *cache);
    std::vector<Tensor> expected;
    for (;;) {
      expected.push_back(logits.narrow(1, 0, vocabulary).argmax(1));
      if (expected.size() == count) break;
      logits = gpu->step(expected.back(), *cache);
    }
    const Tensor by_rows = torch::stack(expected, 1).cpu().to(torch::kInt32);
    for (int again = 0; again < 2; ++again) {
      const Texts texts = generate(*gpu, read, std::vector<int64_t>(5, count), {});
      for (int64_t row = 0; row < 5; ++row)
        EXPECT_TRUE(torch::equal(torch::tensor(texts[static_cast<size_t>(row)], torch::kInt32), by_rows[row]))
            << name_of(precision) << ", row " << row;
    }
  }
}

// How many tokens of a text are beyond doubt: up to the first whose logit is within `near` of the second best.
size_t certain(Model& model, const std::vector<int32_t>& prompt, const std::vector<int32_t>& text, double near) {
  std::vector<int64_t> all(prompt.begin(), prompt.end());
  for (size_t i = 0; i < text.size(); ++i) {
    const Tensor row = torch::tensor(all).unsqueeze(0).to(model.device());
    const Tensor best = std::get<0>(model.forward(row, {})[0][-1].narrow(0, 0, vocabulary).topk(2));
    if (!((best[0] - best[1]).item<double>() > near)) return i;
    all.push_back(text[i]);
  }
  return text.size();
}

// Rows leave at several times, and the graph is made again.
TEST_P(GenerateOnGpu, ABatchGivesTheTextOfEachAloneAndOfTheCpu) {
  const auto cpu = model(Precision::float32, torch::kCPU);
  const std::vector<int64_t> counts{20, 31, 1, 9, 25};
  const Texts read = prompts();
  for (const auto& [precision, tolerance, near, least] : all_numbers) {
    const auto gpu = model(precision, torch::kCUDA);
    const Texts texts = generate(*gpu, read, counts, {});
    size_t compared = 0;
    for (size_t row = 0; row < read.size(); ++row) {
      ASSERT_EQ(texts[row].size(), counts[row]);
      const auto same = static_cast<int64_t>(certain(*gpu, read[row], texts[row], near));
      const std::vector<int32_t> alone = generate(*gpu, {read[row]}, {counts[row]}, {})[0];
      EXPECT_TRUE(std::equal(alone.begin(), alone.begin() + same, texts[row].begin()))
          << name_of(precision) << ", row " << row;
      if (precision != Precision::bf16) {
        const std::vector<int32_t> on_cpu = generate(*cpu, {read[row]}, {counts[row]}, {})[0];
        EXPECT_TRUE(std::equal(on_cpu.begin(), on_cpu.begin() + same, texts[row].begin()))
            << name_of(precision) << ", row " << row;
      }
      compared += static_cast<size_t>(same);
    }
    EXPECT_GE(compared, least) << name_of(precision) << ": hardly anything was beyond doubt";
  }
}

INSTANTIATE_TEST_SUITE_P(Architectures, GenerateOnGpu,
                         testing::Values(Architecture::rope, Architecture::nope, Architecture::alibi,
                                         Architecture::hard_alibi, Architecture::mamba, Architecture::lstm),
                         [](const auto& parameter) { return std::string(name_of(parameter.param)); });

TEST(AttentionOnGpu, StepsOfEveryTypeAreThoseOfTheComposedOneInFloat64) {
  torch::manual_seed(6);
  constexpr int64_t rows = 3, time = 40, heads = 2, head = 64;
  const Tensor angle = torch::outer(torch::arange(time, torch::kFloat64), torch::tensor({1.0, 0.1}, torch::kFloat64));
  const AttentionPlaces exact_places{angle.cos(), angle.sin(), torch::tensor({0.5, 0.25}, torch::kFloat64),
                                     torch::tensor({int64_t{5}, INT64_MAX}), 8};
  for (const auto& [type, tolerance] : {std::pair{torch::kFloat32, 1e-5},
                                        {torch::kBFloat16, 2e-2},
                                        {torch::kFloat16, 2e-3},
                                        {torch::kFloat64, 1e-12}}) {
    const auto sums = type == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
    const Tensor qkv = torch::randn({rows, time, heads, 3, head}).to(type);
    const Tensor expected = composed_causal_attention(qkv.to(torch::kFloat64), exact_places);
    const auto moved = [&](const Tensor& numbers) { return numbers.to(torch::kCUDA, sums); };
    const AttentionPlaces places{moved(exact_places.cos), moved(exact_places.sin), moved(exact_places.slope),
                                 exact_places.window.to(torch::kCUDA), exact_places.twice_from};
    const Tensor on_gpu = qkv.to(torch::kCUDA);
    EXPECT_LT(relative_difference({causal_attention(on_gpu, places).cpu()}, {expected}), tolerance) << type;

    AttentionPlaces of_prompt = places;
    of_prompt.cos = places.cos.narrow(0, 0, 9), of_prompt.sin = places.sin.narrow(0, 0, 9);
    const AttentionCache cache = AttentionCache::make(rows, heads, time, head, on_gpu.options());
    keep_prompts(on_gpu.narrow(1, 0, 9), of_prompt, cache);
    Tensor place = torch::tensor({9, 1, 4});
    for (int step = 0; step < 30; ++step) {
      const Tensor at = place.view({rows, 1, 1, 1, 1}).expand({rows, 1, heads, 3, head});
      const Tensor out = attention_step(qkv.gather(1, at).squeeze(1).to(torch::kCUDA), places,
                                        place.to(torch::kCUDA, torch::kInt32), cache);
      const Tensor wanted = expected.gather(1, place.view({rows, 1, 1}).expand({rows, 1, heads * head})).squeeze(1);
      EXPECT_LT(relative_difference({out.cpu()}, {wanted}), tolerance) << type << ", step " << step;
      place = place + 1;
    }
  }
}

}  // namespace
}  // namespace recite
