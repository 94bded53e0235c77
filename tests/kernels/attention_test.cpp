#include "kernels/attention/attention.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <string>

#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

enum class Kind { plain, rotary, alibi, windows, twice };

struct Case {
  int64_t batch, time, heads, head;
  Kind kind = Kind::plain;
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<Isa, Case>>& info) {
  const auto& [isa, c] = info.param;
  constexpr const char* kinds[] = {"plain", "rotary", "alibi", "windows", "twice"};
  return name_of(isa) + std::string("_B") + std::to_string(c.batch) + "_T" + std::to_string(c.time) + "_H" +
         std::to_string(c.heads) + "_d" + std::to_string(c.head) + "_" + kinds[static_cast<int>(c.kind)];
}

struct Inputs {
  explicit Inputs(const Case& c) {
    std::mt19937 random(static_cast<unsigned>(c.time * 100 + c.head));
    qkv = random_array(c.batch * c.time * c.heads * 3 * c.head, -2, 2, random);
    dout = random_array(c.batch * c.time * c.heads * c.head, -1, 1, random);
    if (c.kind == Kind::rotary) rotary = std::max<int64_t>(2, c.head / 4 / 2 * 2);
    for (int64_t t = 0; t < c.time; ++t)
      for (int64_t i = 0; i < rotary / 2; ++i) {
        const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * static_cast<double>(i) / rotary);
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
    for (int64_t h = 0; h < c.heads; ++h) {
      if (c.kind == Kind::alibi) slope.push_back(std::exp2(-8.0 * static_cast<double>(h + 1) / c.heads));
      if (c.kind == Kind::windows) window.push_back(h + 1 < c.heads ? h * h : INT64_MAX);
    }
    if (c.kind == Kind::twice) twice_from = c.head / 4;
  }
  Array qkv, dout, cos, sin, slope;
  std::vector<int64_t> window;
  int64_t rotary = 0, twice_from = INT64_MAX;
};

// The formula of the header, one number at a time. `part`: 0 query, 1 key, 2 value.
class Naive {
 public:
  Naive(const Case& of, const Inputs& inputs) : c(of), in(inputs) {}

  Array out() const {
    Array y(c.batch * c.time * c.heads * c.head);
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t i = 0; i < c.time; ++i) {
          const Array p = probabilities(b, h, i);
          for (int64_t j = 0; j <= i; ++j)
            for (int64_t k = 0; k < c.head; ++k)
              y[((b * c.time + i) * c.heads + h) * c.head + k] += p[j] * value(b, j, h, 2, k);
        }
    return y;
  }

 private:
  double value(int64_t b, int64_t t, int64_t h, int part, int64_t k) const {
    return in.qkv[(((b * c.time + t) * c.heads + h) * 3 + part) * c.head + k];
  }
  double rotated(int64_t b, int64_t t, int64_t h, int part, int64_t k) const {
    const int64_t half = in.rotary / 2;
    if (k >= in.rotary) return value(b, t, h, part, k);
    const double cos = in.cos[t * half + k % half], sin = in.sin[t * half + k % half];
    const double other = value(b, t, h, part, (k + half) % in.rotary);
    return value(b, t, h, part, k) * cos + (k < half ? -other : other) * sin;
  }
  Array probabilities(int64_t b, int64_t h, int64_t i) const {
    Array p(i + 1);
    double total = 0;
    for (int64_t j = 0; j <= i; ++j) {
      double s = 0;
      for (int64_t k = 0; k < c.head; ++k)
        s += rotated(b, i, h, 0, k) * rotated(b, j, h, 1, k) * (k >= in.twice_from ? 2 : 1);
      s /= std::sqrt(static_cast<double>(c.head));
      if (!in.slope.empty()) s -= in.slope[h] * static_cast<double>(i - j);
      const bool seen = in.window.empty() || i - j <= in.window[h];
      total += p[j] = seen ? std::exp(s) : 0;
    }
    for (double& value : p) value /= total;
    return p;
  }

  const Case& c;
  const Inputs& in;
};

template <class Element>
struct Kernel {
  using Real = Sums<Element>;
  Kernel(const Case& c, const Inputs& in)
      : shape{c.batch, c.time, c.heads, c.head},
        qkv(converted<Element>(in.qkv)),
        dout(converted<Element>(in.dout)),
        cos(converted<Real>(in.cos)),
        sin(converted<Real>(in.sin)),
        slope(converted<Real>(in.slope)),
        position{in.rotary,
                 cos.data(),
                 sin.data(),
                 slope.empty() ? nullptr : slope.data(),
                 in.window.empty() ? nullptr : in.window.data(),
                 in.twice_from},
        out(converted<Element>(Array(dout.size(), 77))),
        log_sum(c.batch * c.time * c.heads),
        dqkv(converted<Element>(Array(qkv.size(), 77))) {
    attention_forward_cpu(shape, position, qkv.data(), out.data(), log_sum.data());
    attention_backward_cpu(shape, position, qkv.data(), out.data(), log_sum.data(), dout.data(), dqkv.data());
  }

  const AttentionShape shape;
  const std::vector<Element> qkv, dout;
  const std::vector<Real> cos, sin, slope;
  const AttentionPosition<Real> position;
  std::vector<Element> out;
  std::vector<Real> log_sum;
  std::vector<Element> dqkv;
};

class Attention : public OnEachIsa<Case> {};

TEST_P(Attention, ForwardIsTheFormula) {
  const Inputs in(test_case());
  const Array expected = Naive(test_case(), in).out();
  EXPECT_LE(difference(Kernel<double>(test_case(), in).out, expected), 1e-13);
  EXPECT_LE(difference(Kernel<float>(test_case(), in).out, expected), 1e-5);
}

TEST_P(Attention, Bf16IsTheFormulaOfRoundedInputs) {
  Inputs in(test_case());
  in.qkv = as_stored<bf16>(in.qkv);
  in.dout = as_stored<bf16>(in.dout);
  const Kernel<double> exact(test_case(), in);
  const Kernel<bf16> half(test_case(), in);
  // Scaled queries, probabilities and their gradients are rounded, too, where the products are of bf16.
  EXPECT_LE(difference(half.out, exact.out), 0x1p-7);
  EXPECT_LE(difference(half.dqkv, exact.dqkv), 0x1p-7);
}

TEST_P(Attention, KeptSumsAreOptional) {
  const Inputs in(test_case());
  const Kernel<float> kernel(test_case(), in);
  std::vector<float> out(kernel.out.size());
  attention_forward_cpu<float>(kernel.shape, kernel.position, kernel.qkv.data(), out.data(), nullptr);
  EXPECT_EQ(out, kernel.out);
}

TEST_P(Attention, BackwardInFloat32IsNearFloat64) {
  const Inputs in(test_case());
  EXPECT_LE(difference(Kernel<float>(test_case(), in).dqkv, Array(Kernel<double>(test_case(), in).dqkv)), 2e-5);
}

TEST_P(Attention, SameBitsOnAnyNumberOfThreads) {
  const Inputs in(test_case());
  const int threads = omp_get_max_threads();
  std::vector<Kernel<float>> runs;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    runs.emplace_back(test_case(), in);
  }
  omp_set_num_threads(threads);
  for (const auto& run : runs) {
    EXPECT_EQ(run.out, runs[0].out);
    EXPECT_EQ(run.dqkv, runs[0].dqkv);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         on_each_isa<Case>({{1, 1, 1, 1},
                                            {2, 1, 3, 8, Kind::rotary},
                                            {1, 2, 2, 5, Kind::alibi},
                                            {2, 17, 3, 32, Kind::rotary},
                                            {1, 23, 5, 16, Kind::windows},
                                            {1, 25, 1, 64, Kind::twice},
                                            {1, 49, 2, 128, Kind::rotary},
                                            {1, 129, 3, 20, Kind::alibi},
                                            {1, 193, 5, 8, Kind::windows},
                                            {2, 220, 2, 64},
                                            {1, 401, 12, 16, Kind::windows},
                                            {1, 577, 1, 33, Kind::rotary},
                                            {1, 577, 1, 24, Kind::alibi}}),
                         name_of_case);

// Decodes the tokens of each row one after the other; row b begins `lag` steps after the one before, so that rows stand
// at different places. out as of the forward.
template <class Element>
std::vector<Element> decoded(const Case& c, const Inputs& in, int64_t lag, int64_t spare) {
  using Real = Sums<Element>;
  const auto qkv = converted<Element>(in.qkv);
  const auto cos = converted<Real>(in.cos), sin = converted<Real>(in.sin), slope = converted<Real>(in.slope);
  const AttentionPosition<Real> position{in.rotary,
                                         cos.data(),
                                         sin.data(),
                                         slope.empty() ? nullptr : slope.data(),
                                         in.window.empty() ? nullptr : in.window.data(),
                                         in.twice_from};
  const AttentionDecodeShape shape{c.batch, c.heads, c.head, c.time + spare};
  const int64_t of_token = c.heads * c.head;
  // What was never written must not count.
  auto keys = converted<Element>(Array(c.batch * of_token * shape.max_tokens, NAN)), values = keys;
  auto all = converted<Element>(Array(c.batch * c.time * of_token, 77));
  for (int64_t step = 0; step < c.time + lag * (c.batch - 1); ++step) {
    std::vector<int32_t> length;
    std::vector<Element> token, out(c.batch * of_token);
    for (int64_t b = 0; b < c.batch; ++b) {
      length.push_back(static_cast<int32_t>(std::clamp<int64_t>(step - lag * b, 0, c.time - 1)));
      const auto at = qkv.begin() + (b * c.time + length[b]) * 3 * of_token;
      token.insert(token.end(), at, at + 3 * of_token);
    }
    attention_decode_cpu(shape, position, token.data(), length.data(), keys.data(), values.data(), out.data());
    for (int64_t b = 0; b < c.batch; ++b)
      std::copy_n(out.begin() + b * of_token, of_token, all.begin() + (b * c.time + length[b]) * of_token);
  }
  return all;
}

class AttentionDecode : public OnEachIsa<Case> {};

TEST_P(AttentionDecode, IsTheFormula) {
  const Inputs in(test_case());
  const Array expected = Naive(test_case(), in).out();
  for (const int64_t spare : {0, 11}) {
    EXPECT_LE(difference(decoded<double>(test_case(), in, 5, spare), expected), 1e-13);
    EXPECT_LE(difference(decoded<float>(test_case(), in, 5, spare), expected), 1e-5);
  }
}

TEST_P(AttentionDecode, Bf16IsTheFormulaOfRoundedInputs) {
  Inputs in(test_case());
  in.qkv = as_stored<bf16>(in.qkv);
  // Keys are rounded again when they have been rotated.
  EXPECT_LE(difference(decoded<bf16>(test_case(), in, 5, 3), Naive(test_case(), in).out()), 0x1p-7);
}

TEST_P(AttentionDecode, ARowHasTheBitsOfItAlone) {
  const Inputs in(test_case());
  const std::vector<float> together = decoded<float>(test_case(), in, 7, 0);
  Case alone = test_case();
  alone.batch = 1;
  const int64_t row = alone.time * alone.heads * alone.head;
  for (int64_t b = 0; b < test_case().batch; ++b) {
    Inputs own = in;
    own.qkv.assign(in.qkv.begin() + b * 3 * row, in.qkv.begin() + (b + 1) * 3 * row);
    EXPECT_EQ(decoded<float>(alone, own, 0, 20),
              std::vector(together.begin() + b * row, together.begin() + (b + 1) * row));
  }
}

TEST_P(AttentionDecode, SameBitsOnAnyNumberOfThreads) {
  const Inputs in(test_case());
  const int threads = omp_get_max_threads();
  std::vector<std::vector<float>> runs;
  for (const int count : {1, 2, 3}) {
    omp_set_num_threads(count);
    runs.push_back(decoded<float>(test_case(), in, 3, 0));
  }
  omp_set_num_threads(threads);
  for (const auto& run : runs) EXPECT_EQ(run, runs[0]);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionDecode,
                         on_each_isa<Case>({{1, 1, 1, 1},
                                            {3, 1, 3, 8, Kind::rotary},
                                            {2, 2, 2, 5, Kind::alibi},
                                            {3, 17, 3, 32, Kind::rotary},
                                            {2, 23, 5, 16, Kind::windows},
                                            {2, 25, 1, 64, Kind::twice},
                                            {1, 49, 2, 128, Kind::rotary},
                                            {2, 67, 3, 20, Kind::alibi},
                                            {1, 50, 2, 256, Kind::rotary},
                                            {2, 130, 12, 7, Kind::windows},
                                            {5, 75, 9, 33, Kind::twice}}),
                         name_of_case);

class AttentionGradient : public OnEachIsa<Case> {};

TEST_P(AttentionGradient, IsTheSlopeOfTheFormula) {
  Inputs in(test_case());
  const Kernel<double> kernel(test_case(), in);
  const Naive naive(test_case(), in);
  const Array expected = numerical_gradient(in.qkv, [&] { return dot(naive.out(), in.dout); });
  EXPECT_LE(difference(kernel.dqkv, expected), 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionGradient,
                         on_each_isa<Case>({{1, 1, 1, 1},
                                            {1, 7, 2, 3},
                                            {2, 9, 2, 8, Kind::rotary},
                                            {1, 9, 3, 5, Kind::alibi},
                                            {1, 26, 4, 3, Kind::windows},
                                            {1, 9, 2, 8, Kind::twice}}),
                         name_of_case);

// Keys of a window reach back over the edge of a block.
TEST_P(AttentionGradient, OfOneValueFarAwayIsItsProbability) {
  const Case c{1, 390, 3, 4, Kind::windows};
  Inputs in(c);
  const Kernel<double> kernel(c, in);
  const Naive naive(c, in);
  for (const int64_t t : {188, 191, 192, 193, 383, 384, 389})
    for (int64_t at = t * 36; at < (t + 1) * 36; at += 5) {
      Inputs moved = in;
      moved.qkv[at] += 1e-5;
      const double above = dot(Naive(c, moved).out(), in.dout);
      moved.qkv[at] -= 2e-5;
      EXPECT_NEAR(kernel.dqkv[at], (above - dot(Naive(c, moved).out(), in.dout)) / 2e-5, 1e-7);
    }
}

}  // namespace
}  // namespace recite::kernels
