// Times of products of few rows on the GPU, at the shapes of a step of generation.
#include "kernels/product/skinny_product_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

void bench_skinny_product(const Bench& bench, int64_t rows, int64_t columns, int64_t inner) {
  using Element = __nv_bfloat16;
  BenchMemory memory;
  const int64_t size = columns * inner;
  const double weight_bytes = 2.0 * static_cast<double>(size);
  const int64_t turns = turns_of(weight_bytes);
  const Element *weight = memory.random<Element>(turns * size, -1, 1), *x = memory.random<Element>(rows * inner, -1, 1);
  Element* y = memory.unset<Element>(rows * columns);
  const BenchRow row{"product of few rows",
                     {{"M", rows}, {"N", columns}, {"K", inner}},
                     dtype_of<Element>(),
                     "step",
                     weight_bytes + 2.0 * static_cast<double>(rows * (columns + inner))};
  bench.time(row, [&](int i) {
    skinny_products_cuda<Element>(
        {{.shape = {rows, columns, inner, inner, columns}, .x = x, .weight = weight + i % turns * size, .y = y}},
        nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  for (const int64_t rows : {1, 8})
    for (const auto& [columns, inner] : {std::pair{7680, 2560}, std::pair{2560, 2560}, std::pair{10240, 2560},
                                         std::pair{2560, 10240}, std::pair{50304, 2560}, std::pair{96, 2048}})
      bench_skinny_product(bench, rows, columns, inner);
}
