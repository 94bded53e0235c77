// The causal convolution's time on a GPU, with the layout of a Mamba block: x is half of a projection.
#include "kernels/causal_conv1d/causal_conv1d_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

template <class Element>
void bench_conv(const Bench& bench, const ConvShape& shape) {
  BenchMemory memory;
  const int64_t rows = shape.batch * shape.time, D = shape.channels;
  const auto bytes = static_cast<double>(rows * D * static_cast<int64_t>(sizeof(Element)));
  const int64_t turns = turns_of(2 * bytes);
  const float *weight = memory.random<float>(D * shape.width, -1, 1), *bias = memory.random<float>(D, -1, 1);
  Element *x = memory.random<Element>(turns * rows * 2 * D, -2, 2),
          *dy = memory.random<Element>(turns * rows * D, -1, 1);
  Element *y = memory.unset<Element>(turns * rows * D), *dx = memory.unset<Element>(turns * rows * 2 * D);
  float *dweight = memory.unset<float>(D * shape.width), *dbias = memory.unset<float>(D);
  void* workspace = memory.unset<char>(causal_conv1d_backward_workspace_bytes(shape));
  BenchRow row{"causal convolution",
               {{"B", shape.batch}, {"T", shape.time}, {"D", D}, {"W", shape.width}},
               dtype_of<Element>(),
               "forward",
               2 * bytes};
  bench.time(row, [&](int i) {
    const int64_t turn = i % turns * rows * D;
    causal_conv1d_forward_cuda<Element>(shape, {x + 2 * turn, 2 * D}, weight, bias, nullptr, {y + turn, D}, nullptr);
  });
  row.direction = "backward";
  row.bytes = 3 * bytes;
  bench.time(row, [&](int i) {
    const int64_t turn = i % turns * rows * D;
    causal_conv1d_backward_cuda<Element>(shape, {x + 2 * turn, 2 * D}, weight, bias, {dy + turn, D},
                                         {dx + 2 * turn, 2 * D}, dweight, dbias, workspace, nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  bench_conv<__nv_bfloat16>(bench, {64, 220, 2048, 4});
  bench_conv<__nv_bfloat16>(bench, {8, 2048, 2048, 4});
  bench_conv<__nv_bfloat16>(bench, {1, 8192, 5120, 4});
  bench_conv<float>(bench, {64, 220, 2048, 4});
}
