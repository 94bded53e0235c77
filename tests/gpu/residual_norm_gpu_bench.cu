// The residual norm's time on a GPU.
#include "kernels/residual_norm/residual_norm_cuda.h"
#include "tests/gpu/bench.h"

namespace recite::kernels {
namespace {

// Two norms: both branches of a parallel residual, and biases; one: an RMSNorm after one branch.
template <class Element>
void bench_norm(const Bench& bench, int64_t rows, int64_t D, int norms) {
  BenchMemory memory;
  const ResidualNormShape shape{rows, D, norms, norms == 2, 1e-5};
  const int64_t size = rows * D;
  constexpr auto element = static_cast<double>(sizeof(Element));
  const double forward_bytes = static_cast<double>(size) * (8 + 2 * norms * element);
  const double backward_bytes = static_cast<double>(size) * (12 + (norms + 1) * element);
  const int64_t turns = turns_of(forward_bytes);
  const auto floats = [&](int64_t count) { return memory.random<float>(count, -1, 1); };
  const auto elements = [&](int64_t count) { return memory.random<Element>(count, -1, 1); };
  const bool second = norms == 2;
  const float *x = floats(turns * size), *dsum = floats(turns * size);
  const Element* branches[2] = {elements(turns * size), second ? elements(turns * size) : nullptr};
  const Element* dy[2] = {elements(turns * size), second ? elements(turns * size) : nullptr};
  const float* bias = second ? floats(D) : nullptr;
  const float *weight[2] = {floats(D), floats(D)}, *offset[2] = {second ? floats(D) : nullptr, floats(D)};
  float *sum = memory.unset<float>(turns * size), *mean = memory.unset<float>(rows), *rstd = memory.unset<float>(rows);
  Element* y[2] = {memory.unset<Element>(turns * size), memory.unset<Element>(turns * size)};
  float *dx = memory.unset<float>(turns * size), *dparameters = memory.unset<float>(5 * D);
  Element* dbranch = memory.unset<Element>(turns * size);
  void* workspace = memory.unset<char>(residual_norm_backward_workspace_bytes(shape));
  const auto after = [](auto* array, int64_t begin) { return array ? array + begin : nullptr; };
  const auto inputs = [&](int64_t begin) {
    return ResidualNormInputs<Element>{x + begin,
                                       {branches[0] + begin, after(branches[1], begin)},
                                       bias,
                                       {weight[0], weight[1]},
                                       {offset[0], offset[1]}};
  };
  const auto outputs = [&](int64_t begin) {
    return ResidualNormOutputs<Element>{sum + begin, {y[0] + begin, y[1] + begin}, mean, rstd};
  };
  BenchRow row{
      "residual norm", {{"R", rows}, {"C", D}, {"norms", norms}}, dtype_of<Element>(), "forward", forward_bytes};
  bench.time(row, [&](int i) {
    const int64_t begin = i % turns * size;
    residual_norm_forward_cuda<Element>(shape, inputs(begin), outputs(begin), nullptr);
  });
  row.direction = "backward";
  row.bytes = backward_bytes;
  bench.time(row, [&](int i) {
    const int64_t begin = i % turns * size;
    const Element* const of_y[2] = {dy[0] + begin, after(dy[1], begin)};
    const ResidualNormGradients<Element> gradients{dx + begin,
                                                   dbranch + begin,
                                                   second ? dparameters : nullptr,
                                                   {dparameters + D, dparameters + 2 * D},
                                                   {second ? dparameters + 3 * D : nullptr, dparameters + 4 * D}};
    residual_norm_backward_cuda<Element>(shape, inputs(begin), outputs(begin), dsum + begin, of_y, gradients, workspace,
                                         nullptr);
  });
}

}  // namespace
}  // namespace recite::kernels

int main(int argc, char** argv) {
  using namespace recite::kernels;
  const Bench bench(argc, argv);
  bench_norm<__nv_bfloat16>(bench, 14080, 1024, 2);
  bench_norm<__nv_bfloat16>(bench, 14080, 1024, 1);
  bench_norm<float>(bench, 14080, 1024, 2);
  bench_norm<__nv_bfloat16>(bench, 4096, 128, 2);
  bench_norm<__nv_bfloat16>(bench, 131072, 128, 2);
  bench_norm<__nv_bfloat16>(bench, 16384, 768, 1);
  bench_norm<__nv_bfloat16>(bench, 16384, 2048, 2);
  bench_norm<__nv_bfloat16>(bench, 8192, 2560, 1);
  bench_norm<__nv_bfloat16>(bench, 8192, 4096, 2);
  bench_norm<__nv_bfloat16>(bench, 8192, 8192, 2);
  bench_norm<__nv_bfloat16>(bench, 14080, 1022, 2);
}
