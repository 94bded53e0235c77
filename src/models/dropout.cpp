#include "models/dropout.h"

#include <cmath>

#include "base/error.h"
#include "base/philox.h"
#include "models/parallel.h"
#include "ops/gpu.h"

namespace recite {

torch::Tensor dropout_mask(const ForwardContext& context, int64_t layer, double p, torch::IntArrayRef shape,
                           torch::TensorOptions options) {
  if (!context.row_places.defined()) throw Error("Dropout needs the rows' places in the global batch.");
  const int64_t time = shape[1], width = shape[2];
  const auto dropped_below = static_cast<uint32_t>(std::llround(std::ldexp(p, 32)));
  const auto kept = static_cast<float>(1 / (1 - p));
  if constexpr (gpu::built) {
    const auto element = options.dtype() == torch::kFloat64 ? options.dtype(torch::kFloat32) : options;
    if (options.device().is_cuda()) {
      const uint64_t key = PhiloxStream(Purpose::dropout_mask, context.seed, {}).key();
      return gpu::dropout_mask(context.row_places, time, width, {key, layer, dropped_below, kept}, element).to(options);
    }
  }
  const torch::Tensor mask = torch::empty(shape, torch::kFloat32);
  float* values = mask.data_ptr<float>();
  const auto* places = context.row_places.const_data_ptr<int64_t>();
  parallel_for(shape[0] * time, [&](int64_t i) {
    const int64_t *place = places + i / time * 3, step = place[0], row = place[1], position = place[2] + i % time;
    PhiloxStream random(Purpose::dropout_mask, context.seed,
                        {static_cast<uint64_t>(step), static_cast<uint64_t>(layer), static_cast<uint64_t>(row),
                         static_cast<uint64_t>(position)});
    for (int64_t h = 0; h < width; ++h) values[i * width + h] = random.next() < dropped_below ? 0.f : kept;
  });
  return mask.to(options);
}

}  // namespace recite
