#include "models/parallel.h"

namespace recite {

void parallel_for(int64_t count, const std::function<void(int64_t)>& body) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace recite
