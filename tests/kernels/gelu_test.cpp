#include "kernels/gelu/gelu.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <string>

#include "tests/kernels/arrays.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t rows, columns;
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<Isa, Case>>& info) {
  const auto& [isa, c] = info.param;
  return name_of(isa) + std::string("_R") + std::to_string(c.rows) + "_C" + std::to_string(c.columns);
}

struct Inputs {
  explicit Inputs(const Case& c) {
    std::mt19937 random(static_cast<unsigned>(c.rows * 100 + c.columns));
    u = random_array(c.rows * c.columns, -4, 4, random);
    bias = random_array(c.columns, -1, 1, random);
    dy = random_array(u.size(), -1, 1, random);
  }
  Array u, bias, dy;
};

Array naive_gelu(const Case& c, const Inputs& in) {
  Array y(in.u.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const double x = in.u[i] + in.bias[i % c.columns];
    y[i] = x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
  }
  return y;
}

template <class Element>
std::vector<Element> forward(const Case& c, const Inputs& in) {
  const auto u = converted<Element>(in.u);
  const auto bias = converted<Sums<Element>>(in.bias);
  std::vector<Element> y(u.size());
  bias_gelu_forward_cpu<Element>({c.rows, c.columns}, u.data(), bias.data(), y.data());
  return y;
}

template <class Element>
struct Gradients {
  std::vector<Element> u;
  std::vector<Sums<Element>> bias;
  bool operator==(const Gradients&) const = default;
};
template <class Element>
Gradients<Element> backward(const Case& c, const Inputs& in) {
  const auto u = converted<Element>(in.u), dy = converted<Element>(in.dy);
  const auto bias = converted<Sums<Element>>(in.bias);
  Gradients<Element> d{converted<Element>(Array(u.size(), 77)), std::vector<Sums<Element>>(bias.size(), 77)};
  bias_gelu_backward_cpu<Element>({c.rows, c.columns}, u.data(), bias.data(), dy.data(), d.u.data(), d.bias.data());
  return d;
}

class Gelu : public OnEachIsa<Case> {};

TEST_P(Gelu, ForwardIsTheFormula) {
  Inputs in(test_case());
  EXPECT_LE(difference(forward<double>(test_case(), in), naive_gelu(test_case(), in)), 1e-14);
  EXPECT_LE(difference(forward<float>(test_case(), in), naive_gelu(test_case(), in)), 3e-7);
  in.u = as_stored<bf16>(in.u);
  EXPECT_LE(difference(forward<bf16>(test_case(), in), naive_gelu(test_case(), in)), 0x1p-8);
}

TEST_P(Gelu, BackwardIsTheSlopeOfTheFormulaInEveryInput) {
  const Case& c = test_case();
  Inputs in(c);
  const auto loss = [&] { return dot(naive_gelu(c, in), in.dy); };
  const Gradients<double> d = backward<double>(c, in);
  EXPECT_LE(difference(d.u, numerical_gradient(in.u, loss)), 1e-8);
  EXPECT_LE(difference(d.bias, numerical_gradient(in.bias, loss)), 1e-8);
  const Gradients<float> single = backward<float>(c, in);
  EXPECT_LE(difference(single.u, d.u), 1e-6);
  EXPECT_LE(difference(single.bias, d.bias), 2e-6);
  in.u = as_stored<bf16>(in.u);
  in.dy = as_stored<bf16>(in.dy);
  const Gradients<double> exact = backward<double>(c, in);
  const Gradients<bf16> half = backward<bf16>(c, in);
  EXPECT_LE(difference(half.u, exact.u), 0x1p-8);
  EXPECT_LE(difference(half.bias, exact.bias), 2e-6);  // summed before it is rounded
}

INSTANTIATE_TEST_SUITE_P(Shapes, Gelu, on_each_isa<Case>({{1, 1}, {3, 7}, {2, 16}, {65, 33}, {130, 24}}), name_of_case);

TEST(GeluThreads, SameBitsOnAnyNumberOfThreads) {
  const Case c{700, 101};
  const Inputs in(c);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(3);
  const Gradients<float> many = backward<float>(c, in);
  omp_set_num_threads(1);
  const Gradients<float> alone = backward<float>(c, in);
  omp_set_num_threads(threads);
  EXPECT_EQ(many, alone);
}

}  // namespace
}  // namespace recite::kernels
