#include "jobs/grid.h"

namespace recite {

std::vector<GridPoint> grid_points(const std::vector<Axis>& axes) {
  std::vector<GridPoint> points = {{}};
  for (const Axis& axis : axes) {
    std::vector<GridPoint> longer;
    longer.reserve(points.size() * axis.values.size());
    for (const GridPoint& point : points) {
      for (const std::string& value : axis.values) {
        longer.push_back(point);
        longer.back().emplace_back(axis.option, value);
      }
    }
    points = std::move(longer);
  }
  return points;
}

}  // namespace recite
