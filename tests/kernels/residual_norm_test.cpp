#include "kernels/residual_norm/residual_norm.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <string>

#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t rows, columns;
  int norms, branches;
  bool centred, bias, dsum;
  ResidualNormShape shape() const { return {rows, columns, norms, centred, 1e-5}; }
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<Isa, Case>>& info) {
  const auto& [isa, c] = info.param;
  return name_of(isa) + std::string("_R") + std::to_string(c.rows) + "_C" + std::to_string(c.columns) + "_norms" +
         std::to_string(c.norms) + "_branches" + std::to_string(c.branches) + (c.centred ? "_layer" : "_rms") +
         (c.bias ? "_bias" : "") + (c.dsum ? "_dsum" : "");
}

struct Inputs {
  explicit Inputs(const Case& c) {
    std::mt19937 random(static_cast<unsigned>(c.rows * 100 + c.columns));
    const int64_t size = c.rows * c.columns;
    x = random_array(size, -2, 2, random);
    for (int b = 0; b < c.branches; ++b) branches[b] = random_array(size, -1, 1, random);
    if (c.bias) bias = random_array(c.columns, -1, 1, random);
    for (int i = 0; i < c.norms; ++i) {
      weight[i] = random_array(c.columns, 0.5, 1.5, random);
      if (c.centred) offset[i] = random_array(c.columns, -1, 1, random);
      dy[i] = random_array(size, -1, 1, random);
    }
    if (c.dsum) dsum = random_array(size, -1, 1, random);
  }
  Array x, branches[2], bias, weight[2], offset[2], dsum, dy[2];
};

struct Outputs {
  Array sum, y[2];
};

// The formula of the header, one row at a time.
Outputs naive_norm(const Case& c, const Inputs& in) {
  Outputs out{in.x, {Array(c.norms > 0 ? in.x.size() : 0), Array(c.norms > 1 ? in.x.size() : 0)}};
  for (int64_t r = 0; r < c.rows; ++r) {
    double mean = 0, variance = 0;
    double* sum = &out.sum[r * c.columns];
    for (int64_t d = 0; d < c.columns; ++d) {
      for (int b = 0; b < c.branches; ++b) sum[d] += in.branches[b][r * c.columns + d];
      if (c.bias) sum[d] += in.bias[d];
      if (c.centred) mean += sum[d] / static_cast<double>(c.columns);
    }
    for (int64_t d = 0; d < c.columns; ++d)
      variance += (sum[d] - mean) * (sum[d] - mean) / static_cast<double>(c.columns);
    for (int i = 0; i < c.norms; ++i)
      for (int64_t d = 0; d < c.columns; ++d)
        out.y[i][r * c.columns + d] =
            (sum[d] - mean) / std::sqrt(variance + 1e-5) * in.weight[i][d] + (c.centred ? in.offset[i][d] : 0);
  }
  return out;
}

template <class Element>
const Element* pointer(const std::vector<Element>& of) {
  return of.empty() ? nullptr : of.data();
}

// The inputs and outputs of a kernel, as its elements.
template <class Element>
struct Kernel {
  using Real = Sums<Element>;
  Kernel(const Case& of, const Inputs& inputs) : c(of), given(inputs), sum(given.x.size()) {
    for (int i = 0; i < c.norms; ++i) y[i].resize(sum.size());
    mean.resize(c.rows);
    rstd.resize(c.rows);
  }

  ResidualNormInputs<Element> in() const {
    return {pointer(x),
            {pointer(branches[0]), pointer(branches[1])},
            pointer(bias),
            {pointer(weight[0]), pointer(weight[1])},
            {pointer(offset[0]), pointer(offset[1])}};
  }
  ResidualNormOutputs<Element> out() { return {sum.data(), {y[0].data(), y[1].data()}, mean.data(), rstd.data()}; }
  void forward() { residual_norm_forward_cpu(c.shape(), in(), out()); }

  struct Gradients {
    std::vector<Real> x, bias, weight[2], offset[2];
    std::vector<Element> branch;
    bool operator==(const Gradients&) const = default;
  };
  Gradients backward() {
    forward();
    Gradients d;
    d.x.assign(sum.size(), 77);
    d.branch = converted<Element>(Array(c.branches > 0 ? sum.size() : 0, 77));
    d.bias.assign(bias.size(), 77);
    for (int i = 0; i < c.norms; ++i) {
      d.weight[i].assign(weight[i].size(), 77);
      d.offset[i].assign(offset[i].size(), 77);
    }
    const auto to = [](auto& array) { return array.empty() ? nullptr : array.data(); };
    const Element* const of_y[2] = {pointer(dy[0]), pointer(dy[1])};
    residual_norm_backward_cpu<Element>(
        c.shape(), in(), out(), pointer(dsum), of_y,
        {to(d.x), to(d.branch), to(d.bias), {to(d.weight[0]), to(d.weight[1])}, {to(d.offset[0]), to(d.offset[1])}});
    return d;
  }

  const Case c;
  const Inputs& given;
  std::vector<Real> x = converted<Real>(given.x), bias = converted<Real>(given.bias),
                    dsum = converted<Real>(given.dsum);
  std::vector<Element> branches[2] = {converted<Element>(given.branches[0]), converted<Element>(given.branches[1])},
                       dy[2] = {converted<Element>(given.dy[0]), converted<Element>(given.dy[1])};
  std::vector<Real> weight[2] = {converted<Real>(given.weight[0]), converted<Real>(given.weight[1])},
                    offset[2] = {converted<Real>(given.offset[0]), converted<Real>(given.offset[1])};
  std::vector<Real> sum, mean, rstd;
  std::vector<Element> y[2];
};

class ResidualNorm : public OnEachIsa<Case> {
 protected:
  template <class Element>
  void forward_is_the_formula(const Inputs& in, double stream_error, double norm_error) const {
    const Outputs exact = naive_norm(test_case(), in);
    Kernel<Element> kernel(test_case(), in);
    kernel.forward();
    EXPECT_LE(difference(kernel.sum, exact.sum), stream_error);
    for (int i = 0; i < test_case().norms; ++i) EXPECT_LE(difference(kernel.y[i], exact.y[i]), norm_error);
  }

  template <class Element>
  void backward_is(typename Kernel<double>::Gradients exact, const Inputs& in, double stream_error,
                   double branch_error) const {
    const auto d = Kernel<Element>(test_case(), in).backward();
    EXPECT_LE(difference(d.x, exact.x), stream_error);
    EXPECT_LE(difference(d.branch, exact.branch), branch_error);
    EXPECT_LE(difference(d.bias, exact.bias), stream_error);
    for (int i = 0; i < test_case().norms; ++i) {
      EXPECT_LE(difference(d.weight[i], exact.weight[i]), stream_error);
      EXPECT_LE(difference(d.offset[i], exact.offset[i]), stream_error);
    }
  }
};

void round_elements(Inputs& in) {
  for (Array* array : {&in.branches[0], &in.branches[1], &in.dy[0], &in.dy[1]}) *array = as_stored<bf16>(*array);
}

TEST_P(ResidualNorm, ForwardIsTheFormula) {
  Inputs in(test_case());
  forward_is_the_formula<double>(in, 1e-15, 1e-12);
  forward_is_the_formula<float>(in, 1e-6, 1e-5);
  round_elements(in);
  forward_is_the_formula<bf16>(in, 1e-6, 0x1p-8);
}

TEST_P(ResidualNorm, BackwardIsTheSlopeOfTheFormulaInEveryInput) {
  const Case& c = test_case();
  Inputs in(c);
  const auto loss = [&] {
    const Outputs out = naive_norm(c, in);
    double sum = c.dsum ? dot(out.sum, in.dsum) : 0;
    for (int i = 0; i < c.norms; ++i) sum += dot(out.y[i], in.dy[i]);
    return sum;
  };
  const auto d = Kernel<double>(c, in).backward();
  EXPECT_LE(difference(d.x, numerical_gradient(in.x, loss)), 1e-7);
  if (c.branches > 0) {
    EXPECT_LE(difference(d.branch, numerical_gradient(in.branches[c.branches - 1], loss)), 1e-7);
  }
  EXPECT_LE(difference(d.bias, numerical_gradient(in.bias, loss)), 1e-7);
  for (int i = 0; i < c.norms; ++i) {
    EXPECT_LE(difference(d.weight[i], numerical_gradient(in.weight[i], loss)), 1e-7);
    EXPECT_LE(difference(d.offset[i], numerical_gradient(in.offset[i], loss)), 1e-7);
  }
  backward_is<float>(d, in, 1e-5, 1e-5);
  round_elements(in);
  backward_is<bf16>(Kernel<double>(c, in).backward(), in, 1e-5, 0x1p-8);
}

INSTANTIATE_TEST_SUITE_P(Shapes, ResidualNorm,
                         on_each_isa<Case>({{1, 2, 1, 0, true, false, false},
                                            {3, 7, 2, 2, true, true, true},
                                            {2, 16, 2, 2, true, true, false},
                                            {65, 33, 1, 1, false, false, true},
                                            {1, 48, 1, 2, true, true, true},
                                            {66, 5, 1, 1, false, false, false},
                                            {4, 40, 2, 0, true, false, true}}),
                         name_of_case);

TEST(ResidualNormThreads, SameBitsOnAnyNumberOfThreads) {
  const Case c{700, 101, 2, 2, true, true, true};
  const Inputs in(c);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(3);
  const auto many = Kernel<float>(c, in).backward();
  omp_set_num_threads(1);
  const auto alone = Kernel<float>(c, in).backward();
  omp_set_num_threads(threads);
  EXPECT_EQ(many, alone);
}

}  // namespace
}  // namespace recite::kernels
