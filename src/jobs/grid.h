// The grid of a sweep: the product of its axes, less what is excluded.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace recite {

// An option that was given several values: full name ("train.learning_rate", "sweep.model") and the texts as written.
struct Axis {
  std::string option;
  std::vector<std::string> values;
};

// One choice for each axis, in the order of the axes.
using GridPoint = std::vector<std::pair<std::string, std::string>>;

// The product, last axis fastest. No axes: one empty point.
std::vector<GridPoint> grid_points(const std::vector<Axis>& axes);

}  // namespace recite
