// Random arrays, numerical gradients and instruction sets for the tests of kernels.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <tuple>
#include <type_traits>
#include <vector>

#include "kernels/simd/bf16.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

using Array = std::vector<double>;

inline Array random_array(int64_t size, double low, double high, std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(low, high);
  Array array(size);
  for (double& value : array) value = uniform(random);
  return array;
}

// Rounded to the nearest, to even of two.
inline bf16 to_bf16(double value) {
  const auto number = static_cast<float>(value);
  uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline double to_double(bf16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float number = 0;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}
inline double to_double(double value) { return value; }
inline bool operator==(bf16 a, bf16 b) { return a.bits == b.bits; }

template <class Element>
std::vector<Element> converted(const Array& array) {
  if constexpr (std::is_same_v<Element, bf16>) {
    std::vector<bf16> elements;
    for (const double value : array) elements.push_back(to_bf16(value));
    return elements;
  } else {
    return {array.begin(), array.end()};
  }
}

// What the array's numbers are when they are stored as elements.
template <class Element>
Array as_stored(const Array& array) {
  Array to;
  for (const Element& element : converted<Element>(array)) to.push_back(to_double(element));
  return to;
}

inline double dot(const Array& a, const Array& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// The largest |a - b|, over the largest |b| or 1; infinite where the sizes differ or something is not finite.
template <class Element>
double difference(const std::vector<Element>& a, const Array& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0, scale = 1;
  for (size_t i = 0; i < a.size(); ++i) {
    const double diff = std::abs(to_double(a[i]) - b[i]);
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
