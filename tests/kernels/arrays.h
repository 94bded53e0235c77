// Random arrays, numerical gradients and instruction sets for the tests of kernels.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <tuple>
#include <vector>

#include "kernels/simd/isa.h"

namespace recite::kernels {

using Array = std::vector<double>;

inline Array random_array(int64_t size, double low, double high, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(low, high);
  Array array(size);
  for (double& value : array) value = uniform(random);
  return array;
}

template <class Real>
std::vector<Real> converted(const Array& array) {
  return {array.begin(), array.end()};
}

inline double dot(const Array& a, const Array& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The largest |a - b|, over the largest |b| or 1; infinite where the sizes differ or something is not finite.
template <class Real>
double difference(const std::vector<Real>& a, const Array& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0, scale = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const double diff = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(diff <= worst)) worst = std::isfinite(diff) ? diff : INFINITY;
    scale = std::max(scale, std::abs(b[i]));
  }
  return worst / scale;
}

// Central differences of `loss` in each element of `at`, which is restored.
inline Array numerical_gradient(Array& at, const std::function<double()>& loss) {
  constexpr double step = 1e-5;
  Array gradient(at.size());
  for (size_t i = 0; i < at.size(); ++i) {
    const double value = at[i];
    at[i] = value + step;
    const double above = loss();
    at[i] = value - step;
    const double below = loss();
    at[i] = value;
    gradient[i] = (above - below) / (2 * step);
  }
  return gradient;
}

// A test of each case with each instruction set that the CPU has.
template <class Case>
class OnEachIsa : public testing::TestWithParam<std::tuple<Isa, Case>> {
 protected:
  const Case& test_case() const { return std::get<1>(this->GetParam()); }

 private:
  const IsaScope isa_{std::get<0>(this->GetParam())};
};

template <class Case>
auto on_each_isa(std::vector<Case> cases) {
  return testing::Combine(testing::ValuesIn(available_isas()), testing::ValuesIn(std::move(cases)));
}

}  // namespace recite::kernels
