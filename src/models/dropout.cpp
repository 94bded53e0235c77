#include "models/dropout.h"

#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "models/parallel.h"
#include "ops/gpu.h"

namespace recite {

torch::Tensor dropout_mask(const ForwardContext& context, int64_t layer, double p, torch::IntArrayRef shape,
                           torch::TensorOptions options) {
  if (!context.global_row || !context.first_position)
    throw Error("Dropout needs the rows' places in the global batch.");
  const int64_t time = shape[1], width = shape[2];
  const auto dropped_below = static_cast<uint32_t>(std::llround(std::ldexp(p, 32)));
  const auto kept = static_cast<float>(1 / (1 - p));
  const auto stream = [&](int64_t i) {
    const int64_t b = i / time, position = context.first_position[b] + i % time;
    return PhiloxStream(Purpose::dropout_mask, context.seed,
                        {static_cast<uint64_t>(context.step), static_cast<uint64_t>(layer),
                         static_cast<uint64_t>(context.global_row[b]), static_cast<uint64_t>(position)});
  };
  const int64_t rows = shape[0] * time;
  if constexpr (gpu::built) {
    const auto element = options.dtype() == torch::kFloat64 ? options.dtype(torch::kFloat32) : options;
    if (options.device().is_cuda()) {
      std::vector<uint64_t> names(static_cast<size_t>(rows));
      parallel_for(rows, [&](int64_t i) { names[static_cast<size_t>(i)] = stream(i).name(); });
      return gpu::dropout_mask(stream(0).key(), names, width, dropped_below, kept, element).view(shape).to(options);
    }
  }
  const torch::Tensor mask = torch::empty(shape, torch::kFloat32);
  float* values = mask.data_ptr<float>();
  parallel_for(rows, [&](int64_t i) {
    PhiloxStream random = stream(i);
    for (int64_t h = 0; h < width; ++h) values[i * width + h] = random.next() < dropped_below ? 0.f : kept;
  });
  return mask.to(options);
}

}  // namespace recite
