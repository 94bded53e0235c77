#include "tests/kernels/simd_functions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

template <class Real>
struct Values {
  explicit Values(std::vector<Real> of) : x(std::move(of)) {
    x.resize((x.size() + 15) / 16 * 16);
    for (auto* array : {&exp, &exp2_of_negative, &sigmoid, &softplus, &density, &distribution, &sum})
      array->resize(x.size());
    const SimdFunctions<Real> to{exp.data(),     exp2_of_negative.data(), sigmoid.data(), softplus.data(),
                                 density.data(), distribution.data(),     sum.data()};
    RECITE_SIMD(simd_functions<Real>)(x.data(), static_cast<int64_t>(x.size()), to);
  }
  std::vector<Real> x, exp, exp2_of_negative, sigmoid, softplus, density, distribution, sum;
};

template <class Real>
std::vector<Real> range(double low, double high, double step) {
  std::vector<Real> x;
  for (double value = low; value < high; value += step) x.push_back(static_cast<Real>(value));
  return x;
}

// In units in the last place.
template <class Real>
double error(Real value, long double exact) {
  return static_cast<double>(std::abs((value - exact) / (exact * std::numeric_limits<Real>::epsilon())));
}

class Simd : public testing::TestWithParam<Isa> {
 protected:
  template <class Real>
  void functions_are_exact(double lowest) const {
    const Values<Real> values(range<Real>(lowest, -lowest, 0.00137));
    for (size_t i = 0; i < values.x.size(); ++i) {
      const long double x = values.x[i], e = std::exp(x);
      ASSERT_LE(error<Real>(values.exp[i], e), 3) << values.x[i];
      if (x <= 0) {
        ASSERT_LE(error<Real>(values.exp2_of_negative[i], std::exp2(x)), 3) << values.x[i];
      }
      ASSERT_LE(error<Real>(values.sigmoid[i], 1 / (1 + 1 / e)), 4) << values.x[i];
      ASSERT_LE(error<Real>(values.softplus[i], x > 0 ? x + std::log1p(1 / e) : std::log1p(e)), 5) << values.x[i];
    }
  }

 private:
  const IsaScope isa_{GetParam()};
};

TEST_P(Simd, FunctionsAreExactToAFewUnitsInTheLastPlace) {
  functions_are_exact<float>(-86);
  functions_are_exact<double>(-700);
}

// The left tail too, relative to its own size: what GELU is for negative numbers.
TEST_P(Simd, NormalDistributionIsExactToAFewUnitsInTheLastPlace) {
  const auto check = [](const auto& values, double units) {
    for (size_t i = 0; i < values.x.size(); ++i) {
      const long double x = values.x[i], density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0L));
      // The density's error is that of x * x, which the exponential takes.
      ASSERT_LE(error(values.density[i], density), units + x * x) << values.x[i];
      ASSERT_LE(error(values.distribution[i], std::erfc(-x / std::sqrt(2.0L)) / 2), units + x * x) << values.x[i];
    }
  };
  check(Values<float>(range<float>(-12, 12, 0.00137)), 5);
  check(Values<double>(range<double>(-30, 30, 0.00137)), 5);
}

TEST_P(Simd, Bf16IsRoundedToTheNearestAndReadExactly) {
  std::vector<float> x = {0.f, -0.f, 1.f, 1.00390625f, 1.01171875f, -1.00390625f, 3.4e38f, 1e-40f, INFINITY, NAN};
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-100, 100);
  while (x.size() < 61) x.push_back(uniform(random));
  std::vector<bf16> stored(x.size());
  std::vector<float> loaded(x.size());
  RECITE_SIMD(simd_bf16)(x.data(), static_cast<int64_t>(x.size()), stored.data(), loaded.data());
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(loaded[i]));
      continue;
    }
    const bool subnormal = std::fpclassify(x[i]) == FP_SUBNORMAL;  // the instruction for bf16 makes it 0
    if (!subnormal || stored[i].bits != 0) {
      EXPECT_EQ(stored[i].bits, to_bf16(x[i]).bits) << x[i];
    }
    EXPECT_EQ(loaded[i], to_double(stored[i])) << x[i];
  }
}

TEST_P(Simd, FunctionsHoldAtTheEnds) {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const Values<float> values({0.f, -1000.f, 1000.f, -inf, inf});
  EXPECT_EQ(values.exp[0], 1.f);
  EXPECT_EQ(values.exp2_of_negative[0], 1.f);
  EXPECT_EQ(values.exp2_of_negative[1], 0.f);
  EXPECT_EQ(values.exp2_of_negative[3], 0.f);
  for (const int low : {1, 3}) {
    EXPECT_LE(values.exp[low], 1e-37f);
    EXPECT_LE(values.sigmoid[low], 1e-37f);
    EXPECT_LE(values.softplus[low], 1e-37f);
  }
  for (const int high : {2, 4}) {
    EXPECT_GE(values.exp[high], 1e38f);
    EXPECT_EQ(values.sigmoid[high], 1.f);
    EXPECT_EQ(values.softplus[high], values.x[high]);
  }
}

TEST_P(Simd, NotANumberStaysSo) {
  const Values<float> values({NAN});
  for (const auto* array : {&values.exp, &values.exp2_of_negative, &values.sigmoid, &values.softplus, &values.density,
                            &values.distribution, &values.sum})
    EXPECT_TRUE(std::isnan((*array)[0]));
}

TEST_P(Simd, SumIsOfEveryLane) {
  const Values<float> values(range<float>(1, 17, 1));
  const int lanes = GetParam() >= Isa::avx512 ? 16 : GetParam() == Isa::avx2 ? 8 : 4;
  EXPECT_EQ(values.sum[0], lanes * (lanes + 1) / 2);
}

INSTANTIATE_TEST_SUITE_P(Isas, Simd, testing::ValuesIn(available_isas()),
                         [](const auto& isa) { return name_of(isa.param); });

TEST(Isa, IsChosenByNameOrTheHighest) {
  EXPECT_EQ(isa_for(nullptr), available_isas().back());
  EXPECT_EQ(isa_for(""), available_isas().back());
  for (const Isa isa : available_isas()) EXPECT_EQ(isa_for(name_of(isa)), isa);
  EXPECT_THROW(isa_for("sse9"), UsageError);
}

TEST(Isa, ScopeGivesBackTheSetThatWas) {
  const Isa before = current_isa();
  {
    const IsaScope scope(Isa::baseline);
    EXPECT_EQ(current_isa(), Isa::baseline);
  }
  EXPECT_EQ(current_isa(), before);
}

}  // namespace
}  // namespace recite::kernels
