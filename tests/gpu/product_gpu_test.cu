// Products against float64 on the CPU, at the layouts that training uses, timed and not.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/product/product_cuda.h"
#include "tests/gpu/device_array.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t rows, columns, inner;
  bool a_transposed, b_transposed, bias, adds;
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
  }

  double expected(int64_t i, int64_t j) const {
    const Case c = GetParam();
    double sum = c.bias ? bias[j] : 0;
    if (c.adds) sum += before[i * c.columns + j];
    for (int64_t k = 0; k < c.inner; ++k)
      sum += static_cast<double>(a[c.a_transposed ? k * shape.a_stride + i : i * shape.a_stride + k]) *
             b[c.b_transposed ? j * shape.b_stride + k : k * shape.b_stride + j];
    return sum;
  }

  template <class Result>
  std::vector<double> run() const {
    const DeviceArray<__nv_bfloat16> on_a(a), on_b(b), on_bias(bias);
    DeviceArray<Result> c(before);
    product_cuda(shape, {on_a.data(), on_b.data(), GetParam().bias ? on_bias.data() : nullptr}, c.data(),
                 GetParam().adds, nullptr);
    return c.numbers();
  }

  template <class Result>
  void check(double rounding) const {
    const std::vector<double> at_first = run<Result>();
    const int64_t columns = GetParam().columns;
    std::mt19937 random(5);
    for (int i = 0; i < 2000; ++i) {
      const int64_t at = static_cast<int64_t>(random() % at_first.size());
      const double wanted = expected(at / columns, at % columns);
      EXPECT_LE(std::abs(at_first[at] - wanted), rounding * std::abs(wanted) + 1e-5 * GetParam().inner) << at;
    }
    std::vector<double> timed;
    {
      const ProductTiming timing;
      timed = run<Result>();
    }
    EXPECT_EQ(timed, at_first);
    EXPECT_EQ(run<Result>(), at_first);
  }

  ProductShape shape{};
  std::vector<float> a, b, bias, before;
};

TEST_P(Products, OfBf16AreThoseOfFloat64AndKeepTheirBits) { check<__nv_bfloat16>(1.0 / 256); }
TEST_P(Products, InFloat32AreThoseOfFloat64AndKeepTheirBits) { check<float>(1e-6); }

INSTANTIATE_TEST_SUITE_P(
    Shapes, Products,
    ::testing::Values(Case{8, 8, 8, false, true, false, false}, Case{129, 40, 1000, false, true, true, false},
                      Case{1, 1024, 3072, false, true, true, false}, Case{1501, 96, 264, false, false, false, false},
                      Case{128, 256, 1201, true, false, false, true}, Case{1024, 3072, 1760, true, false, false, true},
                      Case{1760, 4096, 1024, false, true, false, false}));

TEST(Product, OfAnEmptyMatrixIsRefused) {
  EXPECT_THROW(product_cuda({.rows = 0, .columns = 8, .inner = 8}, {}, static_cast<float*>(nullptr), false, nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
