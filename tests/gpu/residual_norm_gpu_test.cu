// The residual norm on a GPU against float64 on the CPU, whose gradients are checked against differences elsewhere.
#include "kernels/residual_norm/residual_norm_cuda.h"
#include "tests/gpu/device_numbers.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t rows, columns;
  int norms = 2, branches = 2;
  bool centred = true, bias = true, dsum = true;
  bool shifted = false;  // arrays that begin between multiples of 16 bytes

  ResidualNormShape shape() const { return {rows, columns, norms, centred, 1e-5}; }
};

void PrintTo(const Case& c, std::ostream* to) {
  *to << "R" << c.rows << " C" << c.columns << " norms " << c.norms << " branches " << c.branches
      << (c.centred ? " layer" : " rms") << (c.bias ? " bias" : "") << (c.dsum ? " dsum" : "")
      << (c.shifted ? " shifted" : "");
}

// Numbers that Element holds; absent arrays are empty.
struct Inputs {
  template <class Element>
  static Inputs of(const Case& c) {
    std::mt19937 random(static_cast<unsigned>(c.rows * 100 + c.columns));
    const int64_t size = c.rows * c.columns;
    Inputs in;
    in.x = held<float>(random_array(size, -2, 3, random));
    for (int b = 0; b < c.branches; ++b) in.branches[b] = held<Element>(random_array(size, -1, 1, random));
    if (c.bias) in.bias = held<float>(random_array(c.columns, -1, 1, random));
    for (int n = 0; n < c.norms; ++n) {
      in.weight[n] = held<float>(random_array(c.columns, 0.5, 1.5, random));
      if (c.centred) in.offset[n] = held<float>(random_array(c.columns, -1, 1, random));
      in.dy[n] = held<Element>(random_array(size, -1, 1, random));
    }
    if (c.dsum) in.dsum = held<float>(random_array(size, -1, 1, random));
    return in;
  }
  Array x, branches[2], bias, weight[2], offset[2], dsum, dy[2];
};

struct Results {
  Array sum, y[2], mean, rstd;                       // forward
  Array dx, dbranch, dbias, dweight[2], doffset[2];  // backward
  bool operator==(const Results&) const = default;
};

const double* pointer(const Array& array) { return array.empty() ? nullptr : array.data(); }
double* pointer(Array& array) { return array.empty() ? nullptr : array.data(); }

// NaN of the sizes of what is wanted.
Results empty_results(const Case& c) {
  Results to;
  const int64_t size = c.rows * c.columns;
  for (Array* array : {&to.sum, &to.y[0], &to.dx}) array->assign(size, NAN);
  for (Array* array : {&to.mean, &to.rstd}) array->assign(c.rows, NAN);
  if (c.branches > 0) to.dbranch.assign(size, NAN);
  if (c.bias) to.dbias.assign(c.columns, NAN);
  to.y[1].assign(c.norms > 1 ? size : 0, NAN);
  for (int n = 0; n < c.norms; ++n) {
    to.dweight[n].assign(c.columns, NAN);
    if (c.centred) to.doffset[n].assign(c.columns, NAN);
  }
  return to;
}

Results exact_results(const Case& c, const Inputs& in) {
  Results to = empty_results(c);
  const ResidualNormInputs<double> inputs{in.x.data(),
                                          {pointer(in.branches[0]), pointer(in.branches[1])},
                                          pointer(in.bias),
                                          {pointer(in.weight[0]), pointer(in.weight[1])},
                                          {pointer(in.offset[0]), pointer(in.offset[1])}};
  const ResidualNormOutputs<double> outputs{
      to.sum.data(), {pointer(to.y[0]), pointer(to.y[1])}, to.mean.data(), to.rstd.data()};
  residual_norm_forward_cpu(c.shape(), inputs, outputs);
  const double* const dy[2] = {pointer(in.dy[0]), pointer(in.dy[1])};
  residual_norm_backward_cpu<double>(c.shape(), inputs, outputs, pointer(in.dsum), dy,
                                     {pointer(to.dx),
                                      pointer(to.dbranch),
                                      pointer(to.dbias),
                                      {pointer(to.dweight[0]), pointer(to.dweight[1])},
                                      {pointer(to.doffset[0]), pointer(to.doffset[1])}});
  return to;
}

// An array on the GPU, if it is not empty, `shift` elements after a multiple of 16 bytes.
template <class Element>
class Shifted {
 public:
  Shifted(const Array& numbers, bool shift)
      : shift_(numbers.empty() ? 0 : shift), array_(elements<Element>(with_gap(numbers, shift_))) {}
  Element* data() const { return array_.data() ? array_.data() + shift_ : nullptr; }
  Array values() const {
    const Array all = numbers(array_);
    return {all.begin() + shift_, all.end()};
  }

 private:
  static Array with_gap(Array numbers, int64_t gap) {
    numbers.insert(numbers.begin(), gap, NAN);
    return numbers;
  }
  const int64_t shift_;
  const DeviceArray<Element> array_;
};

template <class Element>
Results run(const Case& c, const Inputs& in) {
  using Floats = Shifted<float>;
  using Elements = Shifted<Element>;
  const bool shift = c.shifted;
  const Floats x(in.x, shift), bias(in.bias, shift), dsum(in.dsum, shift);
  const Elements branches[2] = {{in.branches[0], shift}, {in.branches[1], shift}};
  const Elements dy[2] = {{in.dy[0], shift}, {in.dy[1], shift}};
  const Floats weight[2] = {{in.weight[0], shift}, {in.weight[1], shift}};
  const Floats offset[2] = {{in.offset[0], shift}, {in.offset[1], shift}};
  Results to = empty_results(c);
  const Floats sum(to.sum, shift), mean(to.mean, shift), rstd(to.rstd, shift), dx(to.dx, shift), dbias(to.dbias, shift);
  const Elements y[2] = {{to.y[0], shift}, {to.y[1], shift}}, dbranch(to.dbranch, shift);
  const Floats dweight[2] = {{to.dweight[0], shift}, {to.dweight[1], shift}};
  const Floats doffset[2] = {{to.doffset[0], shift}, {to.doffset[1], shift}};
  const DeviceArray<float> workspace(poison<float>(residual_norm_backward_workspace_bytes(c.shape()) / 4));

  const ResidualNormInputs<Element> inputs{x.data(),
                                           {branches[0].data(), branches[1].data()},
                                           bias.data(),
                                           {weight[0].data(), weight[1].data()},
                                           {offset[0].data(), offset[1].data()}};
  const ResidualNormOutputs<Element> outputs{sum.data(), {y[0].data(), y[1].data()}, mean.data(), rstd.data()};
  residual_norm_forward_cuda<Element>(c.shape(), inputs, outputs, nullptr);
  const Element* const of_y[2] = {dy[0].data(), dy[1].data()};
  residual_norm_backward_cuda<Element>(c.shape(), inputs, outputs, dsum.data(), of_y,
                                       {dx.data(),
                                        dbranch.data(),
                                        dbias.data(),
                                        {dweight[0].data(), dweight[1].data()},
                                        {doffset[0].data(), doffset[1].data()}},
                                       workspace.data(), nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  return {sum.values(),
          {y[0].values(), y[1].values()},
          mean.values(),
          rstd.values(),
          dx.values(),
          dbranch.values(),
          dbias.values(),
          {dweight[0].values(), dweight[1].values()},
          {doffset[0].values(), doffset[1].values()}};
}

void expect_near(const Array& got, const Array& exact, double tolerance, const char* what) {
  EXPECT_TRUE(relative_error(got, exact) <= tolerance) << what << ": " << relative_error(got, exact);
}

// Elements may be rounded to `tolerance`; float32 may not.
template <class Element>
void check(const Case& c, double tolerance) {
  const Inputs in = Inputs::of<Element>(c);
  const Results exact = exact_results(c, in), got = run<Element>(c, in), again = run<Element>(c, in);
  constexpr double single = 1e-5;
  expect_near(got.sum, exact.sum, 1e-6, "sum");
  expect_near(got.mean, exact.mean, single, "mean");
  expect_near(got.rstd, exact.rstd, single, "rstd");
  expect_near(got.dx, exact.dx, single, "dx");
  expect_near(got.dbranch, exact.dbranch, tolerance, "dbranch");
  expect_near(got.dbias, exact.dbias, single, "dbias");
  for (int n = 0; n < 2; ++n) {
    expect_near(got.y[n], exact.y[n], tolerance, "y");
    expect_near(got.dweight[n], exact.dweight[n], single, "dweight");
    expect_near(got.doffset[n], exact.doffset[n], single, "doffset");
  }
  EXPECT_TRUE(got == again) << "two runs differ";
}

class ResidualNormGpu : public testing::TestWithParam<Case> {};
TEST_P(ResidualNormGpu, Float32IsFloat64OfTheCpu) { check<float>(GetParam(), 1e-5); }
TEST_P(ResidualNormGpu, Bfloat16IsFloat64OfTheCpu) { check<__nv_bfloat16>(GetParam(), 5e-3); }

INSTANTIATE_TEST_SUITE_P(
    Cases, ResidualNormGpu,
    testing::Values(Case{1, 1, 1, 0, true, false, false}, Case{3, 7}, Case{65, 33, 1, 1, false, false, true},
                    Case{1000, 128}, Case{131, 128, 1, 2, true, true, false, true}, Case{5000, 20, 1, 0, false, false},
                    Case{77, 256, 1, 1, false, true}, Case{900, 260}, Case{40, 516, 2, 0, true, false, true},
                    Case{700, 768, 1, 2, false, false}, Case{1134, 1024}, Case{650, 1024, 1, 1, true, false, false},
                    Case{300, 1022}, Case{210, 2048, 2, 2, true, true, true, true}, Case{150, 1536}, Case{280, 2048},
                    Case{150, 2560, 1, 1, false, false}, Case{140, 4096}, Case{9, 5000}, Case{150, 8192},
                    Case{30, 8190, 1, 2, false}, Case{20, 12001}, Case{140, 16384}));

TEST(ResidualNormGpuInPlace, TheSumMayReplaceTheStream) {
  const Case c{37, 132, 1, 1};
  const Inputs in = Inputs::of<float>(c);
  const Results exact = exact_results(c, in);
  const DeviceArray<float> x(elements<float>(in.x)), branch(elements<float>(in.branches[0]));
  const DeviceArray<float> bias(elements<float>(in.bias)), weight(elements<float>(in.weight[0])),
      offset(elements<float>(in.offset[0]));
  const DeviceArray<float> y(poison<float>(exact.sum.size())), mean(poison<float>(c.rows)), rstd(poison<float>(c.rows));
  residual_norm_forward_cuda<float>(
      c.shape(), {x.data(), {branch.data(), nullptr}, bias.data(), {weight.data(), nullptr}, {offset.data(), nullptr}},
      {x.data(), {y.data(), nullptr}, mean.data(), rstd.data()}, nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  expect_near(numbers(x), exact.sum, 1e-6, "sum");
  expect_near(numbers(y), exact.y[0], 1e-5, "y");
}

TEST(ResidualNormGpu, RefusesWhatItCannotDo) {
  const auto forward = [](const ResidualNormShape& shape) {
    residual_norm_forward_cuda<float>(shape, {}, {}, nullptr);
  };
  EXPECT_THROW(forward({0, 8, 1, true, 1e-5}), std::invalid_argument);
  EXPECT_THROW(forward({1, 0, 1, true, 1e-5}), std::invalid_argument);
  EXPECT_THROW(forward({1, 16385, 1, true, 1e-5}), std::invalid_argument);
  EXPECT_THROW(forward({1, 8, 3, true, 1e-5}), std::invalid_argument);
  EXPECT_THROW(residual_norm_backward_workspace_bytes({1, 8, 0, true, 1e-5}), std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
