#include "models/dropout.h"

#include <cmath>

#include "base/error.h"
#include "base/philox.h"
#include "models/parallel.h"

namespace recite {

torch::Tensor dropout_mask(const ForwardContext& context, int64_t layer, double p, torch::IntArrayRef shape,
                           torch::TensorOptions options) {
  if (!context.global_row || !context.first_position)
    throw Error("Dropout needs the rows' places in the global batch.");
  const int64_t time = shape[1], width = shape[2];
  const auto dropped_below = static_cast<uint64_t>(std::llround(std::ldexp(p, 32)));
  const auto kept = static_cast<float>(1 / (1 - p));
  const torch::Tensor mask = torch::empty(shape, torch::kFloat32);
  float* values = mask.data_ptr<float>();
  parallel_for(shape[0] * time, [&](int64_t i) {
    const int64_t b = i / time, position = context.first_position[b] + i % time;
    PhiloxStream random(Purpose::dropout_mask, context.seed,
                        {static_cast<uint64_t>(context.step), static_cast<uint64_t>(layer),
                         static_cast<uint64_t>(context.global_row[b]), static_cast<uint64_t>(position)});
    for (int64_t h = 0; h < width; ++h) values[i * width + h] = random.next() < dropped_below ? 0.f : kept;
  });
  return mask.to(options);
}

}  // namespace recite
