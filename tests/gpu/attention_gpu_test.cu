// Attention on the GPU against float64 on the CPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <thread>

#include "kernels/attention/attention_cuda.h"
#include "tests/gpu/device_array.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t batch, time, heads, head;
  int64_t rotary = 0;
  bool alibi = false, windows = false, twice = false;
};

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  std::string name = "B" + std::to_string(c.batch) + "_T" + std::to_string(c.time) + "_H" + std::to_string(c.heads) +
                     "_d" + std::to_string(c.head);
  if (c.rotary) name += "_rotary" + std::to_string(c.rotary);
  if (c.alibi) name += "_alibi";
  if (c.windows) name += "_windows";
  if (c.twice) name += "_twice";
  return name;
}

using Array = std::vector<double>;

Array random_array(int64_t size, double low, double high, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(low, high);
  Array array(size);
  for (double& x : array) x = uniform(random);
  return array;
}

struct Inputs {
  template <class Element>
  static Inputs draw(const Case& c) {
    Inputs in;
    std::mt19937 random(static_cast<unsigned>(c.time * 1000 + c.head));
    in.qkv = rounded<Element>(random_array(c.batch * c.time * c.heads * 3 * c.head, -2, 2, random));
    in.dout = rounded<Element>(random_array(c.batch * c.time * c.heads * c.head, -1, 1, random));
    for (int64_t t = 0; t < c.time; ++t)
      for (int64_t i = 0; i < c.rotary / 2; ++i) {
        const double angle = static_cast<double>(t) * std::pow(10000.0, -2.0 * static_cast<double>(i) / c.rotary);
        in.cos.push_back(static_cast<float>(std::cos(angle)));
        in.sin.push_back(static_cast<float>(std::sin(angle)));
      }
    for (int64_t h = 0; h < c.heads; ++h) {
      if (c.alibi) in.slope.push_back(static_cast<float>(std::exp2(-8.0 * static_cast<double>(h + 1) / c.heads)));
      if (c.windows) in.window.push_back(h + 1 < c.heads || c.heads == 1 ? h * h * 5 : INT64_MAX);
    }
    if (c.twice) in.twice_from = std::max(c.rotary, c.head / 4);
    return in;
  }
  Array qkv, dout, cos, sin, slope;
  std::vector<int64_t> window;
  int64_t twice_from = INT64_MAX;
};

struct Reference {
  Reference(const Case& c, const Inputs& in)
      : out(in.dout.size()), log_sum(c.batch * c.heads * c.time), dqkv(in.qkv.size()) {
    const AttentionShape shape{c.batch, c.time, c.heads, c.head};
    const AttentionPosition<double> position{c.rotary,
                                             in.cos.data(),
                                             in.sin.data(),
                                             in.slope.empty() ? nullptr : in.slope.data(),
                                             in.window.empty() ? nullptr : in.window.data(),
                                             in.twice_from};
    attention_forward_cpu(shape, position, in.qkv.data(), out.data(), log_sum.data());
    attention_backward_cpu(shape, position, in.qkv.data(), out.data(), log_sum.data(), in.dout.data(), dqkv.data());
  }
  Array out, log_sum, dqkv;
};

template <class Element>
struct Kernel {
  Kernel(const Case& c, const Inputs& in)
      : shape{c.batch, c.time, c.heads, c.head},
        qkv(in.qkv),
        dout(in.dout),
        cos(in.cos),
        sin(in.sin),
        slope(in.slope),
        window(in.window),
        position{c.rotary,     cos.data_or_null(), sin.data_or_null(), slope.data_or_null(), window.data_or_null(),
                 in.twice_from},
        out(dout.size()),
        dqkv(qkv.size()),
        log_sum(c.batch * c.heads * c.time),
        delta(log_sum.size()),
        gives_sums(gives_attention_gradient_sums<Element>(shape)),
        sums(gives_sums ? c.heads * 3 * c.head : 0),
        items_taken(std::vector<unsigned>{0}) {
    attention_forward_cuda(shape, position, qkv.data(), out.data(), log_sum.data(), items_taken.data(), nullptr);
    const DeviceArray<float> workspace(gives_sums ? attention_gradient_sums_workspace(shape) : 0);
    attention_backward_cuda(shape, position, qkv.data(), out.data(), log_sum.data(), dout.data(), dqkv.data(),
                            delta.data(), {sums.data_or_null(), workspace.data_or_null()}, items_taken.data(), nullptr);
    require_cuda(cudaDeviceSynchronize());
    EXPECT_EQ(items_taken.elements(), std::vector<unsigned>{0});
  }

  AttentionShape shape;
  DeviceArray<Element> qkv, dout;
  DeviceArray<float> cos, sin, slope;
  DeviceArray<int64_t> window;
  AttentionPosition<float> position;
  DeviceArray<Element> out, dqkv;
  DeviceArray<float> log_sum, delta;
  bool gives_sums;
  DeviceArray<float> sums;
  DeviceArray<unsigned> items_taken;
};

// The gradients of queries (0), keys (1) or values (2).
Array part_of(const Array& qkv, int64_t head, int part) {
  Array numbers;
  for (size_t at = part * head; at < qkv.size(); at += 3 * head)
    numbers.insert(numbers.end(), qkv.begin() + at, qkv.begin() + at + head);
  return numbers;
}

// Sums of a token's `width` numbers over all tokens, with room for the rounding of as large ones.
void expect_sums_over_tokens(const Array& sums, const Array& qkv, int64_t width) {
  Array expected(width), sizes(width);
  for (size_t i = 0; i < qkv.size(); ++i) {
    expected[i % width] += qkv[i];
    sizes[i % width] += std::abs(qkv[i]);
  }
  for (int64_t c = 0; c < width; ++c) EXPECT_LE(std::abs(sums[c] - expected[c]), 2e-6 * sizes[c]) << "column " << c;
}

template <class Element>
void expect_near_float64(const Case& c, double tolerance) {
  const Inputs in = Inputs::draw<Element>(c);
  const Reference expected(c, in);
  const Kernel<Element> kernel(c, in);
  EXPECT_LE(relative_error(kernel.out.numbers(), expected.out), tolerance);
  EXPECT_LE(relative_error(kernel.log_sum.numbers(), expected.log_sum), tolerance);
  const Array dqkv = kernel.dqkv.numbers();
  for (int part = 0; part < 3; ++part) {
    const Array reference = part_of(expected.dqkv, c.head, part), got = part_of(dqkv, c.head, part);
    const double cancelled = c.time < 4 ? 2 : 1;  // of few keys, gradients of scores are differences of near numbers
    if (c.time > 1 || part == 2)
      EXPECT_LE(relative_error(got, reference), cancelled * tolerance) << "gradient of part " << part;
    else  // of a query with one key: zero, but for rounding
      for (const double x : got) EXPECT_LE(std::abs(x), tolerance * static_cast<double>(c.head));
  }
  if (kernel.gives_sums) expect_sums_over_tokens(kernel.sums.numbers(), dqkv, c.heads * 3 * c.head);
}

template <class Element>
bool same_bits(const DeviceArray<Element>& a, const DeviceArray<Element>& b) {
  return std::memcmp(a.elements().data(), b.elements().data(), a.size() * sizeof(Element)) == 0;
}

template <class Element>
void expect_same_bits_twice(const Case& c) {
  const Inputs in = Inputs::draw<Element>(c);
  const Kernel<Element> first(c, in), second(c, in);
  EXPECT_TRUE(same_bits(first.out, second.out));
  EXPECT_TRUE(same_bits(first.log_sum, second.log_sum));
  EXPECT_TRUE(same_bits(first.dqkv, second.dqkv));
  EXPECT_TRUE(same_bits(first.sums, second.sums));
}

class AttentionOnGpu : public testing::TestWithParam<Case> {};

TEST_P(AttentionOnGpu, Bfloat16IsNearFloat64) { expect_near_float64<__nv_bfloat16>(GetParam(), 1e-2); }
TEST_P(AttentionOnGpu, HalfIsNearFloat64) { expect_near_float64<__half>(GetParam(), 1.5e-3); }
TEST_P(AttentionOnGpu, FloatIsNearFloat64) { expect_near_float64<float>(GetParam(), 1e-5); }
TEST_P(AttentionOnGpu, SameBitsTwice) {
  expect_same_bits_twice<__nv_bfloat16>(GetParam());
  expect_same_bits_twice<float>(GetParam());
}
TEST_P(AttentionOnGpu, KeptSumsAreOptional) {
  const Inputs in = Inputs::draw<__nv_bfloat16>(GetParam());
  const Kernel<__nv_bfloat16> kernel(GetParam(), in);
  const DeviceArray<__nv_bfloat16> out(kernel.out.size());
  attention_forward_cuda<__nv_bfloat16>(kernel.shape, kernel.position, kernel.qkv.data(), out.data(), nullptr,
                                        kernel.items_taken.data(), nullptr);
  EXPECT_TRUE(same_bits(out, kernel.out));
}

INSTANTIATE_TEST_SUITE_P(
    TensorHeads, AttentionOnGpu,
    testing::Values(Case{1, 1, 1, 64}, Case{3, 2, 2, 32, 8}, Case{2, 17, 3, 80, 20}, Case{1, 63, 5, 128, 32},
                    Case{2, 64, 3, 64, 64}, Case{1, 65, 2, 64, 16, true}, Case{2, 129, 5, 64, 0, false, true},
                    Case{1, 151, 3, 32, 32, true, true}, Case{2, 220, 4, 64, 16}, Case{2, 220, 4, 64, 0, true},
                    Case{1, 193, 2, 128, 0, true, false, true}, Case{1, 321, 7, 80, 32, false, true, true},
                    Case{1, 257, 3, 64, 16, false, false, true}, Case{1, 577, 12, 64, 0, true, true},
                    Case{1, 1134, 2, 128, 128, true}, Case{1, 1134, 3, 32}, Case{2, 150, 3, 80, 80},
                    Case{1, 150, 2, 64, 24}, Case{1, 150, 2, 128, 64}),
    name_of_case);

INSTANTIATE_TEST_SUITE_P(OtherHeads, AttentionOnGpu,
                         testing::Values(Case{1, 1, 1, 1}, Case{2, 2, 3, 8, 4}, Case{2, 33, 2, 5, 2, true},
                                         Case{1, 129, 4, 20, 0, false, true},
                                         Case{1, 151, 3, 256, 64, true, false, true}, Case{2, 220, 2, 96, 24},
                                         Case{1, 577, 7, 24, 6, true, true},
                                         Case{1, 97, 3, 131, 30, false, true, true}),
                         name_of_case);

TEST(AttentionOnGpuLong, IsNearFloat64) {
  expect_near_float64<__nv_bfloat16>({1, 8191, 1, 64, 16}, 1e-2);
  expect_near_float64<__nv_bfloat16>({1, 16384, 2, 32, 8, false, true}, 1e-2);
}

// More items than multiprocessors: blocks do several, one after the other, of rows and windows of all lengths.
TEST(AttentionOnGpuMany, IsNearFloat64) {
  for (const Case& c : {Case{24, 220, 16, 64, 16}, Case{24, 220, 16, 64, 0, false, true}, Case{12, 300, 12, 80, 20},
                        Case{16, 220, 12, 128, 32, true}, Case{4, 1000, 16, 64, 64}}) {
    SCOPED_TRACE(name_of_case({c, 0}));
    expect_near_float64<__nv_bfloat16>(c, 1e-2);
    expect_same_bits_twice<__nv_bfloat16>(c);
  }
}

// A row's numbers do not depend on which block does which of its parts, and after what.
TEST(AttentionOnGpuMany, RowsHaveTheBitsOfOneAlone) {
  for (const Case& c : {Case{1, 70, 5, 64, 16, false, true}, Case{1, 220, 5, 64}, Case{1, 220, 5, 80, 20},
                        Case{1, 220, 5, 128, 32, true}, Case{1, 1134, 5, 64, 16, false, true}}) {
    SCOPED_TRACE(name_of_case({c, 0}));
    const int64_t rows = 60;
    const Inputs in = Inputs::draw<__nv_bfloat16>(c);
    const Kernel<__nv_bfloat16> one(c, in);
    Inputs repeated = in;
    for (int64_t row = 1; row < rows; ++row) {
      repeated.qkv.insert(repeated.qkv.end(), in.qkv.begin(), in.qkv.end());
      repeated.dout.insert(repeated.dout.end(), in.dout.begin(), in.dout.end());
    }
    Case many = c;
    many.batch = rows;
    const Kernel<__nv_bfloat16> all(many, repeated);
    const auto expect_repeated = [rows](const auto& array, const auto& first) {
      const auto elements = array.elements(), expected = first.elements();
      for (int64_t row = 0; row < rows; ++row)
        EXPECT_EQ(std::memcmp(elements.data() + row * expected.size(), expected.data(),
                              expected.size() * sizeof(expected[0])),
                  0)
            << "row " << row;
    };
    expect_repeated(all.out, one.out);
    expect_repeated(all.log_sum, one.log_sum);
    expect_repeated(all.delta, one.delta);
    expect_repeated(all.dqkv, one.dqkv);
  }
}

// As of autograd's thread, when a backward pass begins with attention.
TEST(AttentionOnGpuThread, MayBeTheFirstCallOfItsThread) {
  const Case c{1, 65, 2, 64, 16};
  const Inputs in = Inputs::draw<__nv_bfloat16>(c);
  const Kernel<__nv_bfloat16> kernel(c, in);
  const DeviceArray<__nv_bfloat16> dqkv(kernel.dqkv.size());
  std::thread([&] {
    attention_backward_cuda(kernel.shape, kernel.position, kernel.qkv.data(), kernel.out.data(), kernel.log_sum.data(),
                            kernel.dout.data(), dqkv.data(), kernel.delta.data(), {}, kernel.items_taken.data(),
                            nullptr);
  }).join();
  require_cuda(cudaDeviceSynchronize());
  EXPECT_TRUE(same_bits(dqkv, kernel.dqkv));
}

// Tokens of rows one after the other, each row begun `lag` steps after the one before: out of each against the
// forward's.
template <class Element>
void expect_decoded_as_forward(const Case& c, int64_t max_tokens, double tolerance) {
  constexpr int64_t lag = 5;
  const Inputs in = Inputs::draw<Element>(c);
  const Reference expected(c, in);
  const Inputs angles = Inputs::draw<Element>({1, max_tokens, 1, c.head, c.rotary});  // for every place of the cache
  const DeviceArray<float> cos(angles.cos), sin(angles.sin), slope(in.slope);
  const DeviceArray<int64_t> window(in.window);
  const AttentionPosition<float> position{
      c.rotary, cos.data_or_null(), sin.data_or_null(), slope.data_or_null(), window.data_or_null(), in.twice_from};
  const AttentionDecodeShape shape{c.batch, c.heads, c.head, max_tokens};
  const DeviceArray<Element> keys(c.batch * c.heads * max_tokens * c.head), values(keys.size());
  const DeviceArray<float> workspace(attention_decode_workspace(shape));
  const int64_t of_token = c.heads * c.head;
  Array all(expected.out.size());
  for (int64_t step = 0; step < c.time + lag * (c.batch - 1); ++step) {
    std::vector<int32_t> length;
    Array token;
    for (int64_t b = 0; b < c.batch; ++b) {
      length.push_back(static_cast<int32_t>(std::clamp<int64_t>(step - lag * b, 0, c.time - 1)));
      const auto at = in.qkv.begin() + (b * c.time + length[b]) * 3 * of_token;
      token.insert(token.end(), at, at + 3 * of_token);
    }
    const DeviceArray<Element> qkv(token), out(c.batch * of_token), second(c.batch * of_token);
    const DeviceArray<int32_t> lengths(length);
    for (const auto* to : {&out, &second})
      attention_decode_cuda(shape, position, qkv.data(), lengths.data(), keys.data(), values.data(), to->data(),
                            workspace.data(), nullptr);
    EXPECT_TRUE(same_bits(out, second)) << "step " << step;
    const Array numbers = out.numbers();
    for (int64_t b = 0; b < c.batch; ++b)
      std::copy_n(numbers.begin() + b * of_token, of_token, all.begin() + (b * c.time + length[b]) * of_token);
  }
  EXPECT_LE(relative_error(all, expected.out), tolerance);
}

class AttentionDecodeOnGpu : public testing::TestWithParam<Case> {};

TEST_P(AttentionDecodeOnGpu, IsTheForward) {
  for (const int64_t max_tokens : {GetParam().time, int64_t{1000}}) {
    expect_decoded_as_forward<__nv_bfloat16>(GetParam(), max_tokens, 1e-2);
    expect_decoded_as_forward<__half>(GetParam(), max_tokens, 1.5e-3);
    expect_decoded_as_forward<float>(GetParam(), max_tokens, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionDecodeOnGpu,
                         testing::Values(Case{1, 1, 1, 64}, Case{3, 61, 2, 64, 16}, Case{2, 150, 2, 80, 20, true},
                                         Case{2, 100, 3, 5, 2, false, true},
                                         Case{1, 290, 2, 128, 32, false, true, true},
                                         Case{2, 70, 2, 256, 64, true, true}, Case{2, 70, 3, 32, 8},
                                         Case{5, 40, 64, 64, 16, true, true}),  // many heads: smaller blocks
                         name_of_case);

TEST(AttentionOnGpuRefuses, WhatItCannotDo) {
  const DeviceArray<float> array(64);
  const auto forward = [&](const AttentionShape& shape, const AttentionPosition<float>& position, int offset = 0) {
    attention_forward_cuda<float>(shape, position, array.data() + offset, array.data(), nullptr, nullptr, nullptr);
  };
  EXPECT_THROW(forward({1, 1, 1, 257}, {}), std::invalid_argument);
  EXPECT_THROW(forward({1, 16385, 1, 1}, {}), std::invalid_argument);
  EXPECT_THROW(forward({0, 1, 1, 8}, {}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 1, 8}, {3, array.data(), array.data()}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 1, 8}, {10, array.data(), array.data()}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 1, 8}, {4}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 1, 8}, {4, array.data(), array.data(), nullptr, nullptr, 2}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 1, 8}, {}, 1), std::invalid_argument);
  EXPECT_FALSE(gives_attention_gradient_sums<float>({1, 1, 1, 64}));
  EXPECT_THROW(
      attention_backward_cuda<float>({1, 1, 1, 64}, {}, array.data(), array.data(), array.data(), array.data(),
                                     array.data(), array.data(), {array.data(), array.data()}, nullptr, nullptr),
      std::invalid_argument);
  EXPECT_THROW(attention_decode_cuda<float>({1, 1, 257, 4}, {}, array.data(), nullptr, array.data(), array.data(),
                                            array.data(), nullptr, nullptr),
               std::invalid_argument);
  EXPECT_THROW(attention_decode_cuda<float>({1, 1, 8, 0}, {}, array.data(), nullptr, array.data(), array.data(),
                                            array.data(), nullptr, nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
