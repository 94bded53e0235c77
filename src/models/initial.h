// Initial values of weights, drawn from named streams: the same on every rank and at every call.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>

#include "base/philox.h"

namespace recite {

// The initial value of element `index` (row-major); what it draws comes from `random`.
using Initial = std::function<double(PhiloxStream& random, int64_t index)>;

Initial constant(double value);
Initial normal(double deviation);
Initial uniform(double bound);  // in [-bound, bound)

// Fills `weight` with the values of the streams (initial_weight, seed, parameter, block): one for each block of 2^16
// elements, so that blocks are filled in parallel.
void fill_initial(const torch::Tensor& weight, const Initial& initial, uint64_t seed, uint64_t parameter);

}  // namespace recite
