#include <algorithm>
#include <cmath>

#include "eval/evaluate.h"

namespace recite {

// Wilson, "Probable inference, the law of succession, and statistical inference", 1927, equation 5.
Interval wilson_interval(double right, double n) {
  if (!(n > 0)) return {0, 1};
  constexpr double z = 1.959963984540054;  // of the normal distribution's 97.5 %
  const double p = right / n;
  const double scale = 1 / (1 + z * z / n);
  const double centre = scale * (p + z * z / (2 * n));
  const double half = scale * z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  // p lies within, and at 0 and 1 it is a bound: rounding must not move it.
  return {std::clamp(centre - half, 0.0, p), std::clamp(centre + half, p, 1.0)};
}

double population_deviation(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double mean = sum / count;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / count);
}

}  // namespace recite
