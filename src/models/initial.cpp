#include "models/initial.h"

#include <algorithm>

#include "models/parallel.h"

namespace recite {

namespace {

constexpr int64_t block_size = 1 << 16;

template <class Real>
void fill_block(Real* values, int64_t begin, int64_t end, const Initial& initial, PhiloxStream random) {
  for (int64_t i = begin; i < end; ++i) values[i] = static_cast<Real>(initial(random, i));
}

}  // namespace

Initial constant(double value) {
  return [value](PhiloxStream&, int64_t) { return value; };
}

Initial normal(double deviation) {
  return [deviation](PhiloxStream& random, int64_t) { return deviation * random.normal(); };
}

Initial uniform(double bound) {
  return [bound](PhiloxStream& random, int64_t) { return bound * (2 * random.uniform() - 1); };
}

void fill_initial(const torch::Tensor& weight, const Initial& initial, uint64_t seed, uint64_t parameter) {
  torch::NoGradGuard no_grad;
  const auto drawn_in = weight.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  torch::Tensor values = torch::empty(weight.sizes(), drawn_in);
  const int64_t count = values.numel();
  AT_DISPATCH_FLOATING_TYPES(values.scalar_type(), "fill_initial", [&] {
    auto* data = values.data_ptr<scalar_t>();
    parallel_for((count + block_size - 1) / block_size, [&](int64_t block) {
      const PhiloxStream random(Purpose::initial_weight, seed, {parameter, static_cast<uint64_t>(block)});
      fill_block(data, block * block_size, std::min(count, (block + 1) * block_size), initial, random);
    });
  });
  weight.copy_(values);
}

}  // namespace recite
