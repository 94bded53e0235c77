// Products against float64 on the CPU, at the layouts that training uses, timed and not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/product/product_counters.h"
#include "kernels/product/product_cuda.h"
#include "kernels/product/skinny_product_cuda.h"
#include "tests/gpu/device_array.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t rows, columns, inner;
  bool a_transposed, b_transposed, bias, addend;
};

// Numbers that bf16 holds, so that the products are exact and only sums are rounded.
std::vector<float> numbers(int64_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> made(static_cast<size_t>(size));
  for (float& x : made) x = static_cast<float>(static_cast<int>(random() % 255) - 127) / 64;
  return made;
}

class Products : public ::testing::TestWithParam<Case> {
 protected:
  // With rows that are 8 elements further apart than they need be.
  static constexpr int64_t gap = 8;

  void SetUp() override {
    const Case c = GetParam();
    shape = {c.rows,
             c.columns,
             c.inner,
             c.a_transposed,
             c.b_transposed,
             (c.a_transposed ? c.rows : c.inner) + gap,
             (c.b_transposed ? c.inner : c.columns) + gap,
             c.columns};
    a = numbers((c.a_transposed ? c.inner : c.rows) * shape.a_stride, 1);
    b = numbers((c.b_transposed ? c.columns : c.inner) * shape.b_stride, 2);
    bias = numbers(c.columns, 3);
    before = numbers(c.rows * c.columns, 4);
    for (size_t i = 0; c.addend && i < before.size(); ++i)
      expected_addend.push_back(before[i] + (c.bias ? bias[i % bias.size()] : 0));
  }

  double product(int64_t i, int64_t j) const {
    const Case c = GetParam();
    double sum = 0;
    for (int64_t k = 0; k < c.inner; ++k)
      sum += static_cast<double>(a[c.a_transposed ? k * shape.a_stride + i : i * shape.a_stride + k]) *
             b[c.b_transposed ? j * shape.b_stride + k : k * shape.b_stride + j];
    return sum;
  }

  void run(DeviceArray<__nv_bfloat16>& c) const {
    const DeviceArray<__nv_bfloat16> on_a(a), on_b(b), on_bias(bias);
    const DeviceArray<__nv_bfloat16> addend(before);
    product_cuda(shape,
                 {on_a.data(), on_b.data(), GetParam().bias ? on_bias.data() : nullptr,
                  GetParam().addend ? addend.data() : nullptr},
                 c.data(), nullptr);
  }
  void run(DeviceArray<float>& c, bool adds) const {
    const DeviceArray<__nv_bfloat16> on_a(a), on_b(b);
    product_cuda(shape, on_a.data(), on_b.data(), c.data(), adds, nullptr);
  }

  // `added`: to the product, for each column or each place. `held`: what the result's memory holds.
  template <class Result, class... Adds>
  void check(const std::vector<float>& held, const std::vector<float>& added, double rounding, Adds... adds) const {
    const auto result = [&] {
      DeviceArray<Result> c(held);
      run(c, adds...);
      return c.numbers();
    };
    const std::vector<double> at_first = result();
    const int64_t columns = GetParam().columns;
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) {
      const int64_t at = static_cast<int64_t>(random() % at_first.size());
      const double wanted = product(at / columns, at % columns) + added[at % static_cast<int64_t>(added.size())];
      EXPECT_LE(std::abs(at_first[at] - wanted), rounding * std::abs(wanted) + 1e-5 * GetParam().inner) << at;
    }
    std::vector<double> timed;
    {
      const ProductTiming timing;
      timed = result();
    }
    EXPECT_EQ(timed, at_first);
    EXPECT_EQ(result(), at_first);
  }

  ProductShape shape{};
  std::vector<float> a, b, bias, before;
  std::vector<float> expected_addend;  // with the bias
};

TEST_P(Products, InBf16AreThoseOfFloat64AndKeepTheirBits) {
  check<__nv_bfloat16>(before,
                       GetParam().addend ? expected_addend
                       : GetParam().bias ? bias
                                         : std::vector<float>{0},
                       1.0 / 256);
}
TEST_P(Products, InFloat32AreThoseOfFloat64AndKeepTheirBits) {
  check<float>(std::vector<float>(before.size(), NAN), {0}, 1e-6, /*adds=*/false);
}
TEST_P(Products, AddedInFloat32AreThoseOfFloat64AndKeepTheirBits) { check<float>(before, before, 1e-6, /*adds=*/true); }

INSTANTIATE_TEST_SUITE_P(
    Shapes, Products,
    ::testing::Values(Case{8, 8, 8, false, true, false, false}, Case{129, 40, 1000, false, true, true, false},
                      Case{1, 1024, 3072, false, true, true, false}, Case{1501, 96, 264, false, false, false, true},
                      Case{220, 2048, 128, false, false, false, true}, Case{65, 40, 72, false, true, true, true},
                      Case{128, 256, 1201, true, false, false, false},
                      Case{1024, 3072, 1760, true, false, false, false},
                      Case{1760, 4096, 1024, false, true, false, false}));

int clears_in(cudaGraph_t graph) {
  size_t count = 0;
  require_cuda(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  require_cuda(cudaGraphGetNodes(graph, nodes.data(), &count));
  return static_cast<int>(std::count_if(nodes.begin(), nodes.end(), [](cudaGraphNode_t node) {
    cudaGraphNodeType type{};
    require_cuda(cudaGraphNodeGetType(node, &type));
    return type == cudaGraphNodeTypeMemset;
  }));
}

bool has_bits(const DeviceArray<__nv_bfloat16>& array, const std::vector<__nv_bfloat16>& expected) {
  return std::memcmp(array.elements().data(), expected.data(), expected.size() * sizeof(expected[0])) == 0;
}

int compute_capability() {
  int device = 0, major = 0;
  require_cuda(cudaGetDevice(&device));
  require_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  return major;
}

// Each product reads what the one before it wrote, so that one that begins too early is seen.
TEST(ProductCounters, AreClearedOnceAtAGraphsBegin) {
  constexpr int64_t rows = 14080, size = 1024;  // for which Hopper's algorithms count
  constexpr int more_than_counters = ProductCounters::count + 4;
  std::vector<float> small = numbers(size * size, 1);
  for (float& x : small) x /= 37;  // so that products of products neither vanish nor grow
  const DeviceArray<__nv_bfloat16> weight(small), begin(numbers(rows * size, 2)), one(rows * size), other(rows * size);
  for (const int products : {1, 2, 7, more_than_counters}) {
    SCOPED_TRACE(products);
    const auto multiply = [&](cudaStream_t stream) {
      const __nv_bfloat16* from = begin.data();
      for (int i = 0; i < products; ++i) {
        __nv_bfloat16* const to = (i % 2 == 0 ? one : other).data();
        product_cuda({rows, size, size, false, true, size, size, size}, {from, weight.data()}, to, stream);
        from = to;
      }
    };
    multiply(nullptr);
    const std::vector<__nv_bfloat16> expected_one = one.elements(), expected_other = other.elements();

    cudaStream_t stream{};
    require_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    require_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
    multiply(stream);
    cudaGraph_t graph{};
    require_cuda(cudaStreamEndCapture(stream, &graph));
    const int clears = clears_in(graph), stay = products == more_than_counters ? 2 * 4 : 0;
    if (compute_capability() == 9) EXPECT_EQ(clears, products);
    clear_product_counters_at_once(graph);
    EXPECT_EQ(clears_in(graph), clears == 0 ? 0 : stay + 1);  // 0: another GPU's algorithms do not count
    cudaGraphExec_t recorded{};
    require_cuda(cudaGraphInstantiate(&recorded, graph, 0));
    for (int again = 0; again < 3; ++again) {
      for (const auto* array : {&one, &other})
        require_cuda(cudaMemsetAsync(array->data(), 0, rows * size * sizeof(__nv_bfloat16), stream));
      require_cuda(cudaGraphLaunch(recorded, stream));
      require_cuda(cudaStreamSynchronize(stream));
      EXPECT_TRUE(has_bits(one, expected_one));
      EXPECT_TRUE(products == 1 || has_bits(other, expected_other));
    }
    require_cuda(cudaGraphExecDestroy(recorded));
    require_cuda(cudaGraphDestroy(graph));
    require_cuda(cudaStreamDestroy(stream));
  }
}

template <class Element>
class SkinnyProducts : public ::testing::Test {};
using Halves = ::testing::Types<__nv_bfloat16, __half>;
TYPED_TEST_SUITE(SkinnyProducts, Halves);

// Rows of x and y lie further apart than they need, and what is between those of y is left as it was.
TYPED_TEST(SkinnyProducts, AreThoseOfFloat64WhateverTheOtherRowsAre) {
  using Element = TypeParam;
  constexpr int64_t gap = 8, before = 77;
  struct SkinnyCase {
    int64_t rows, columns, inner;
    bool bias;
    bool gelu = false;
  };
  for (const auto& [rows, columns, inner, with_bias, with_gelu] :
       {SkinnyCase{1, 1, 8, false}, SkinnyCase{1, 16, 32, true}, SkinnyCase{3, 17, 40, true},
        SkinnyCase{8, 96, 2048, false}, SkinnyCase{5, 2048, 64, true}, SkinnyCase{2, 33, 2560, true},
        SkinnyCase{7, 50, 1000, false, true}, SkinnyCase{8, 2560, 10240, true, true},
        SkinnyCase{4, 9001, 1024, false}}) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << columns << " of " << inner);
    const int64_t x_stride = inner + gap, y_stride = columns + gap;
    const std::vector<float> x = numbers(rows * x_stride, 1), weight = numbers(columns * inner, 2),
                             bias = numbers(columns, 3);
    const DeviceArray<Element> on_x(x), on_weight(weight), on_bias(bias);
    const DeviceArray<float> on_gelu_bias(bias);
    const auto product = [&](int64_t first, int64_t count) {
      DeviceArray<Element> y(std::vector<float>(static_cast<size_t>(count * y_stride), before));
      skinny_products_cuda<Element>({{.shape = {count, columns, inner, x_stride, y_stride},
                                      .x = on_x.data() + first * x_stride,
                                      .weight = on_weight.data(),
                                      .bias = with_bias ? on_bias.data() : nullptr,
                                      .gelu_bias = with_gelu ? on_gelu_bias.data() : nullptr,
                                      .y = y.data()}},
                                    nullptr);
      return y.numbers();
    };
    const std::vector<double> y = product(0, rows);
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) {
      const auto r = static_cast<int64_t>(random() % rows), c = static_cast<int64_t>(random() % columns);
      double wanted = with_bias ? bias[c] : 0;
      for (int64_t k = 0; k < inner; ++k) wanted += static_cast<double>(x[r * x_stride + k]) * weight[c * inner + k];
      // Rounded twice with GELU, whose slope is at most 1.13.
      const double rounding = std::abs(wanted) / 256 * (with_gelu ? 2.13 : 1);
      if (with_gelu) wanted = (wanted + bias[c]) * std::erfc(-(wanted + bias[c]) / std::sqrt(2.0)) / 2;
      EXPECT_LE(std::abs(y[r * y_stride + c] - wanted), rounding + 1e-5 * inner) << r << ", " << c;
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = columns; c < y_stride; ++c) EXPECT_EQ(y[r * y_stride + c], before);
    const int64_t last = rows - 1;
    EXPECT_EQ(product(last, 1), std::vector<double>(y.begin() + last * y_stride, y.end()));
  }
}

// Of sizes for which a block has other numbers of warps, and more or fewer tiles than a GPU has blocks; of other rows,
// which lie further apart than they need.
TYPED_TEST(SkinnyProducts, TwoAtOnceHaveTheBitsOfEach) {
  using Element = TypeParam;
  struct Size {
    int64_t columns, inner;
  };
  constexpr int64_t first_rows = 3, second_rows = 8, gap = 8;
  for (const auto& [first, second] :
       {std::pair{Size{2560, 2560}, Size{2560, 10240}}, std::pair{Size{2560, 10240}, Size{2560, 2560}},
        std::pair{Size{7680, 1024}, Size{9001, 1024}}, std::pair{Size{17, 40}, Size{1, 2048}},
        std::pair{Size{33, 1000}, Size{5000, 8}}}) {
    SCOPED_TRACE(::testing::Message() << first.columns << " of " << first.inner << ", " << second.columns << " of "
                                      << second.inner);
    const DeviceArray<Element> first_x(numbers(first_rows * (first.inner + gap), 1));
    const DeviceArray<Element> second_x(numbers(second_rows * (second.inner + gap), 6));
    const DeviceArray<Element> first_weight(numbers(first.columns * first.inner, 2));
    const DeviceArray<Element> second_weight(numbers(second.columns * second.inner, 3));
    const DeviceArray<Element> bias(numbers(first.columns, 4));
    const DeviceArray<float> gelu_bias(numbers(second.columns, 5));
    const auto products = [&](DeviceArray<Element>& first_y, DeviceArray<Element>& second_y) {
      return std::vector<SkinnyProduct<Element>>{
          {.shape = {first_rows, first.columns, first.inner, first.inner + gap, first.columns + gap},
           .x = first_x.data(),
           .weight = first_weight.data(),
           .bias = bias.data(),
           .y = first_y.data()},
          {.shape = {second_rows, second.columns, second.inner, second.inner + gap, second.columns + gap},
           .x = second_x.data(),
           .weight = second_weight.data(),
           .gelu_bias = gelu_bias.data(),
           .y = second_y.data()}};
    };
    const std::vector<float> first_unset(static_cast<size_t>(first_rows * (first.columns + gap)), 77);
    const std::vector<float> second_unset(static_cast<size_t>(second_rows * (second.columns + gap)), 77);
    DeviceArray<Element> first_alone(first_unset), second_alone(second_unset);
    for (const SkinnyProduct<Element>& alone : products(first_alone, second_alone))
      skinny_products_cuda<Element>({alone}, nullptr);
    DeviceArray<Element> first_y(first_unset), second_y(second_unset);
    skinny_products_cuda(products(first_y, second_y), nullptr);
    EXPECT_EQ(first_y.numbers(), first_alone.numbers());
    EXPECT_EQ(second_y.numbers(), second_alone.numbers());
  }
}

__global__ void write_weight(const __nv_bfloat16* from, int64_t size, __nv_bfloat16* weight) {
  for (int64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) weight[i] = from[i];
}

// It reads the weight before it waits for the kernels before it: for its writer, which does not let it begin, and for
// one after that, which does.
TEST(SkinnyProduct, ReadsAWeightThatWasWrittenJustBefore) {
  constexpr int64_t columns = 2560, inner = 2560, size = columns * inner;
  constexpr int turns = 64;
  const DeviceArray<__nv_bfloat16> written[2] = {DeviceArray<__nv_bfloat16>(numbers(size, 1)),
                                                 DeviceArray<__nv_bfloat16>(numbers(size, 2))};
  const DeviceArray<__nv_bfloat16> x(numbers(inner, 3));
  const DeviceArray<__nv_bfloat16> weight(size), y(turns * columns);
  const auto product = [&](const __nv_bfloat16* of, __nv_bfloat16* to) {
    skinny_products_cuda<__nv_bfloat16>(
        {{.shape = {1, columns, inner, inner, columns}, .x = x.data(), .weight = of, .y = to}}, nullptr);
  };
  for (int turn = 0; turn < turns; ++turn) {
    write_weight<<<512, 256>>>(written[turn % 2].data(), size, weight.data());
    __nv_bfloat16* const to = y.data() + turn * columns;
    if (turn % 4 < 2) product(written[1 - turn % 2].data(), to);
    product(weight.data(), to);
  }
  const std::vector<double> all = y.numbers();
  std::vector<double> expected[2];
  for (int i = 0; i < 2; ++i) {
    const DeviceArray<__nv_bfloat16> alone(columns);
    product(written[i].data(), alone.data());
    expected[i] = alone.numbers();
  }
  ASSERT_NE(expected[0], expected[1]);
  for (int turn = 0; turn < turns; ++turn) {
    const auto begin = all.begin() + turn * columns;
    EXPECT_EQ(std::vector<double>(begin, begin + columns), expected[turn % 2]) << turn;
  }
}

TEST(SkinnyProduct, RefusesWhatItCannotDo) {
  const DeviceArray<__nv_bfloat16> array(std::vector<float>(256));
  EXPECT_TRUE(takes_skinny_product({1, 8, 8, 8, 8}, array.data(), array.data()));
  const auto product = [&](const SkinnyProductShape& shape, int offset = 0) {
    EXPECT_FALSE(takes_skinny_product(shape, array.data() + offset, array.data()));
    skinny_products_cuda<__nv_bfloat16>(
        {{.shape = shape, .x = array.data() + offset, .weight = array.data(), .y = nullptr}}, nullptr);
  };
  EXPECT_THROW(product({0, 8, 8, 8, 8}), std::invalid_argument);
  EXPECT_THROW(product({9, 8, 8, 8, 8}), std::invalid_argument);
  EXPECT_THROW(product({1, 8, 12, 16, 8}), std::invalid_argument);
  EXPECT_THROW(product({1, 8, 8, 12, 8}), std::invalid_argument);
  EXPECT_THROW(product({1, 8, 8, 8, 8}, 1), std::invalid_argument);
  const auto products = [&](size_t count) {
    const SkinnyProduct<__nv_bfloat16> one{
        .shape = {1, 8, 8, 8, 8}, .x = array.data(), .weight = array.data(), .y = nullptr};
    skinny_products_cuda(std::vector(count, one), nullptr);
  };
  EXPECT_THROW(products(0), std::invalid_argument);
  EXPECT_THROW(products(3), std::invalid_argument);
}

TEST(Product, OfAnEmptyMatrixIsRefused) {
  EXPECT_THROW(product_cuda({.rows = 0, .columns = 8, .inner = 8}, nullptr, nullptr, nullptr, true, nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
