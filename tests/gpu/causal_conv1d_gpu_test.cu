// The causal convolution on a GPU against float64 on the CPU, whose gradients are checked against differences
// elsewhere.
#include "kernels/causal_conv1d/causal_conv1d_cuda.h"
#include "tests/gpu/device_rows.h"

namespace recite::kernels {
namespace {

struct Case {
  int64_t batch, time, channels, width;
  bool bias = true, initial = false;
  Layout layout = Layout::contiguous;

  ConvShape shape() const { return {batch, time, channels, width}; }
};

void PrintTo(const Case& c, std::ostream* to) {
  *to << "B" << c.batch << " T" << c.time << " D" << c.channels << " W" << c.width << (c.bias ? " bias" : "")
      << (c.initial ? " initial" : "") << " layout " << static_cast<int>(c.layout);
}

// Inputs as numbers that Element holds, and on the GPU.
template <class Element>
struct Inputs {
  explicit Inputs(const Case& c)
      : random(static_cast<unsigned>(c.time * 1000 + c.channels * 10 + c.width)),
        x(rounded<Element>(random_array(c.batch * c.time * c.channels, -2, 2, random))),
        dy(rounded<Element>(random_array(c.batch * c.time * c.channels, -1, 1, random))),
        initial(rounded<Element>(random_array(c.initial ? c.batch * (c.width - 1) * c.channels : 0, -2, 2, random))),
        weight(rounded<float>(random_array(c.channels * c.width, -1, 1, random))),
        bias(c.bias ? rounded<float>(random_array(c.channels, -1, 1, random)) : Array(c.channels)),
        device_x(x, c.batch * c.time, c.channels, c.layout),
        device_dy(dy, c.batch * c.time, c.channels, c.layout),
        device_initial(elements(initial)),
        device_weight(converted<float>(weight)),
        device_bias(converted<float>(c.bias ? bias : Array())) {}

  static std::vector<Element> elements(const Array& numbers) {
    std::vector<Element> elements;
    for (const double number : numbers) elements.push_back(element_of<Element>(number));
    return elements;
  }

  std::mt19937 random;
  Array x, dy, initial, weight, bias;
  const DeviceRowsArray<Element> device_x, device_dy;
  const DeviceArray<Element> device_initial;
  const DeviceArray<float> device_weight, device_bias;
};

Array numbers(const DeviceArray<float>& array) {
  const std::vector<float> values = array.values();
  return {values.begin(), values.end()};
}

template <class Element>
void check_forward(const Case& c, double tolerance) {
  const Inputs<Element> in(c);
  Array expected(c.batch * c.time * c.channels, NAN);
  causal_conv1d_forward_cpu<double>(c.shape(), in.x.data(), in.weight.data(), in.bias.data(),
                                    c.initial ? in.initial.data() : nullptr, expected.data());
  const DeviceRowsArray<Element> y(Array(expected.size(), NAN), c.batch * c.time, c.channels, c.layout);
  causal_conv1d_forward_cuda<Element>(c.shape(), in.device_x.inputs(), in.device_weight.data(), in.device_bias.data(),
                                      in.device_initial.data(), y.rows(), nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_TRUE(relative_error(y.numbers(), expected) <= tolerance) << relative_error(y.numbers(), expected);
  EXPECT_TRUE(y.gaps_are_kept());
}

struct Gradients {
  Array dx, dweight, dbias;
};

template <class Element>
Gradients run_backward(const Case& c, const Inputs<Element>& in) {
  const DeviceRowsArray<Element> dx(Array(in.x.size(), NAN), c.batch * c.time, c.channels, c.layout);
  const DeviceArray<float> dweight(poison<float>(c.channels * c.width)), dbias(poison<float>(c.channels));
  const DeviceArray<float> workspace(poison<float>(causal_conv1d_backward_workspace_bytes(c.shape()) / 4));
  causal_conv1d_backward_cuda<Element>(c.shape(), in.device_x.inputs(), in.device_weight.data(), in.device_bias.data(),
                                       in.device_dy.inputs(), dx.rows(), dweight.data(), dbias.data(), workspace.data(),
                                       nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_TRUE(dx.gaps_are_kept());
  return {dx.numbers(), numbers(dweight), numbers(dbias)};
}

template <class Element>
void check_backward(const Case& c, double tolerance) {
  const Inputs<Element> in(c);
  Gradients expected{Array(in.x.size(), NAN), Array(c.channels * c.width, NAN), Array(c.channels, NAN)};
  causal_conv1d_backward_cpu<double>(c.shape(), in.x.data(), in.weight.data(), in.bias.data(), in.dy.data(),
                                     expected.dx.data(), expected.dweight.data(), expected.dbias.data());
  const Gradients first = run_backward(c, in), second = run_backward(c, in);
  EXPECT_TRUE(relative_error(first.dx, expected.dx) <= tolerance) << relative_error(first.dx, expected.dx);
  EXPECT_TRUE(relative_error(first.dweight, expected.dweight) <= 1e-5)
      << relative_error(first.dweight, expected.dweight);
  EXPECT_TRUE(relative_error(first.dbias, expected.dbias) <= 1e-5) << relative_error(first.dbias, expected.dbias);
  EXPECT_TRUE(first.dx == second.dx && first.dweight == second.dweight && first.dbias == second.dbias);
}

class CausalConv1dGpu : public testing::TestWithParam<Case> {};
TEST_P(CausalConv1dGpu, Float32IsFloat64OfTheCpu) {
  check_forward<float>(GetParam(), 1e-5);
  check_backward<float>(GetParam(), 1e-5);
}
TEST_P(CausalConv1dGpu, Bfloat16IsFloat64OfTheCpu) {
  check_forward<__nv_bfloat16>(GetParam(), 5e-3);
  check_backward<__nv_bfloat16>(GetParam(), 5e-3);
}

constexpr auto part = Layout::aligned_part, odd = Layout::odd_part;
INSTANTIATE_TEST_SUITE_P(Cases, CausalConv1dGpu,
                         testing::Values(Case{1, 1, 1, 1}, Case{1, 1, 3, 4}, Case{2, 2, 8, 4, true, true},
                                         Case{2, 33, 40, 4}, Case{3, 129, 37, 4, false, true},
                                         Case{2, 70, 130, 3, true, true}, Case{2, 220, 264, 4, true, true, part},
                                         Case{2, 31, 41, 2, true, true, odd}, Case{1, 1134, 20, 4, true, false, part},
                                         Case{5, 257, 12, 1, false}, Case{70, 9, 130, 4}));

template <class Element>
void check_step(const Case& c, double tolerance) {
  const Inputs<Element> in(c);
  Array window = in.initial, expected(c.batch * c.channels, NAN);
  causal_conv1d_step_cpu<double>(c.shape(), in.x.data(), in.weight.data(), in.bias.data(), window.data(),
                                 expected.data());
  const DeviceRowsArray<Element> y(Array(expected.size(), NAN), c.batch, c.channels, c.layout);
  causal_conv1d_step_cuda<Element>(c.shape(), in.device_x.inputs(), in.device_weight.data(), in.device_bias.data(),
                                   in.device_initial.data(), y.rows(), nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_TRUE(relative_error(y.numbers(), expected) <= tolerance);
  Array moved;
  for (const Element element : in.device_initial.values()) moved.push_back(number_of(element));
  EXPECT_EQ(moved, window);
}

TEST(CausalConv1dGpuStep, IsTheForwardOfOneStep) {
  for (const int64_t width : {1, 2, 3, 4}) {
    const Case c{3, 1, 37, width, width % 2 == 0, true, width > 2 ? odd : Layout::contiguous};
    SCOPED_TRACE(testing::PrintToString(c));
    check_step<float>(c, 1e-5);
    check_step<__nv_bfloat16>(c, 5e-3);
  }
}

TEST(CausalConv1dGpu, RefusesWhatItCannotDo) {
  const auto forward = [](const ConvShape& shape) {
    causal_conv1d_forward_cuda<float>(shape, {}, nullptr, nullptr, nullptr, {}, nullptr);
  };
  EXPECT_THROW(forward({1, 1, 1, 5}), std::invalid_argument);
  EXPECT_THROW(forward({1, 1, 0, 4}), std::invalid_argument);
  EXPECT_THROW(forward({65536, 1, 1, 4}), std::invalid_argument);
  EXPECT_THROW(causal_conv1d_step_cuda<float>({1, 2, 1, 4}, {}, nullptr, nullptr, nullptr, {}, nullptr),
               std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
