// Gradients of taken rows on a GPU against sums in float64.
#include "kernels/rows/rows_cuda.h"
#include "tests/gpu/device_numbers.h"

namespace recite::kernels {
namespace {

template <class Element>
class RowsOnGpu : public testing::Test {};
using Elements = testing::Types<float, __nv_bfloat16>;
TYPED_TEST_SUITE(RowsOnGpu, Elements);

template <class Number>
std::vector<Number> shuffled(std::vector<Number> numbers, unsigned seed) {
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937(seed));
  return numbers;
}

TYPED_TEST(RowsOnGpu, PutRowsLieWhereTheyBelong) {
  using Element = TypeParam;
  struct Case {
    int64_t rows, width, count;
  };
  for (const auto& [rows, width, count] :
       {Case{1, 1, 1}, Case{7, 5, 3}, Case{300, 1024, 300}, Case{1000, 264, 431}, Case{50, 2056, 1}, Case{9, 16, 0}}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << width << ", " << count);
    std::mt19937 random(7);
    std::vector<int64_t> at(rows);
    std::iota(at.begin(), at.end(), 0);
    at = shuffled(at, 3);
    at.resize(count);
    const Array from = held<Element>(random_array(count * width, -1, 1, random));
    Array expected(rows * width);
    for (int64_t m = 0; m < count; ++m) std::copy_n(from.begin() + m * width, width, expected.begin() + at[m] * width);
    const DeviceArray<Element> rows_from(elements<Element>(from)), to(poison<Element>(rows * width));
    const DeviceArray<int64_t> places(at);
    put_rows_cuda<Element>({rows, width, count}, places.data(), rows_from.data(), to.data(), nullptr);
    EXPECT_EQ(numbers(to), expected);
  }
}

TYPED_TEST(RowsOnGpu, EmbeddingGradientIsTheSumOverItsTokens) {
  using Element = TypeParam;
  for (const EmbeddingShape& shape :
       {EmbeddingShape{1, 1, 1}, EmbeddingShape{129, 30, 5}, EmbeddingShape{3 * 71, 30, 300},
        EmbeddingShape{64 * 220, 30, 1024}, EmbeddingShape{64 * 220, 30, 3072}, EmbeddingShape{12345, 64, 257},
        EmbeddingShape{3000, 64, 260}, EmbeddingShape{127, 2, 2048}}) {
    SCOPED_TRACE(testing::Message() << shape.count << " x " << shape.vocabulary << " x " << shape.width);
    std::mt19937 random(11);
    const Array gradient = held<Element>(random_array(shape.count * shape.width, -1, 1, random));
    std::vector<int64_t> tokens(shape.count);
    for (int64_t& token : tokens) token = static_cast<int64_t>(random() % shape.vocabulary);
    if (shape.count > 100) tokens[7] = -1, tokens[77] = shape.vocabulary;  // not in the vocabulary
    Array expected(shape.vocabulary * shape.width);
    for (int64_t m = 0; m < shape.count; ++m)
      for (int64_t i = 0; i < shape.width && tokens[m] >= 0 && tokens[m] < shape.vocabulary; ++i)
        expected[tokens[m] * shape.width + i] += gradient[m * shape.width + i];
    const DeviceArray<Element> from(elements<Element>(gradient));
    const DeviceArray<int64_t> at(tokens);
    const DeviceArray<float> to(poison<float>(expected.size())), again(poison<float>(expected.size())),
        workspace(poison<float>(embedding_gradient_workspace_bytes(shape) / sizeof(float)));
    for (const auto* sums : {&to, &again})
      embedding_gradient_cuda(shape, at.data(), from.data(), sums->data(), workspace.data(), nullptr);
    EXPECT_LE(relative_error(numbers(to), expected), 1e-6);
    EXPECT_EQ(numbers(to), numbers(again));
  }
}

TEST(RowsOnGpu, ColumnSumsAreThoseOfAllRows) {
  for (const ColumnSumsShape& shape :
       {ColumnSumsShape{1, 8, 8}, ColumnSumsShape{127, 24, 40}, ColumnSumsShape{300, 264, 264},
        ColumnSumsShape{64 * 220, 3072, 3072}, ColumnSumsShape{1000, 2056, 4096}}) {
    SCOPED_TRACE(testing::Message() << shape.rows << " x " << shape.columns << " of " << shape.stride);
    std::mt19937 random(13);
    const Array from = held<__nv_bfloat16>(random_array(shape.rows * shape.stride, -1, 1, random));
    Array expected(shape.columns);
    for (int64_t r = 0; r < shape.rows; ++r)
      for (int64_t c = 0; c < shape.columns; ++c) expected[c] += from[r * shape.stride + c];
    const DeviceArray<__nv_bfloat16> matrix(elements<__nv_bfloat16>(from));
    const DeviceArray<float> to(poison<float>(shape.columns)), again(poison<float>(shape.columns)),
        workspace(poison<float>(column_sums_workspace_bytes(shape) / sizeof(float)));
    for (const auto* sums : {&to, &again})
      column_sums_cuda(shape, matrix.data(), sums->data(), workspace.data(), nullptr);
    EXPECT_LE(relative_error(numbers(to), expected), 1e-6);
    EXPECT_EQ(numbers(to), numbers(again));
  }
}

TEST(RowsOnGpuRefuse, WhatTheyCannotDo) {
  const DeviceArray<float> array(poison<float>(64));
  const DeviceArray<int64_t> tokens(std::vector<int64_t>{0});
  const auto gradient = [&](const EmbeddingShape& shape) {
    embedding_gradient_cuda(shape, tokens.data(), array.data(), array.data(), array.data(), nullptr);
  };
  EXPECT_THROW(gradient({1, 65, 1}), std::invalid_argument);
  EXPECT_THROW(gradient({0, 1, 1}), std::invalid_argument);
  const auto column_sums = [&](const ColumnSumsShape& shape, int offset = 0) {
    column_sums_cuda(shape, reinterpret_cast<const __nv_bfloat16*>(array.data()) + offset, array.data(), array.data(),
                     nullptr);
  };
  EXPECT_THROW(column_sums({1, 4, 8}), std::invalid_argument);
  EXPECT_THROW(column_sums({2, 8, 12}), std::invalid_argument);
  EXPECT_THROW(column_sums({1, 8, 8}, 1), std::invalid_argument);
  EXPECT_THROW(put_rows_cuda<float>({1, 1, -1}, tokens.data(), array.data(), array.data(), nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
