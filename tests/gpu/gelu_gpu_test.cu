// GELU on a GPU against float64 on the CPU, whose gradients are checked against differences elsewhere.
#include "kernels/gelu/gelu_cuda.h"
#include "tests/gpu/device_numbers.h"

namespace recite::kernels {
namespace {

struct Results {
  Array y, du, dbias;
  bool operator==(const Results&) const = default;
};

// Numbers that Element holds.
template <class Element>
struct Inputs {
  explicit Inputs(const GeluShape& shape)
      : random(static_cast<unsigned>(shape.rows * 100 + shape.columns)),
        u(held<Element>(random_array(shape.rows * shape.columns, -6, 6, random))),
        dy(held<Element>(random_array(shape.rows * shape.columns, -1, 1, random))),
        bias(held<float>(random_array(shape.columns, -1, 1, random))) {}
  std::mt19937 random;
  Array u, dy, bias;
};

template <class Element>
Results exact_results(const GeluShape& shape, const Inputs<Element>& in) {
  Results to{Array(in.u.size(), NAN), Array(in.u.size(), NAN), Array(shape.columns, NAN)};
  bias_gelu_forward_cpu<double>(shape, in.u.data(), in.bias.data(), to.y.data());
  bias_gelu_backward_cpu<double>(shape, in.u.data(), in.bias.data(), in.dy.data(), to.du.data(), to.dbias.data());
  return to;
}

// With arrays that begin `shift` elements after a multiple of 16 bytes.
template <class Element>
Results run(const GeluShape& shape, const Inputs<Element>& in, int64_t shift) {
  const auto shifted = [&](Array numbers) {
    numbers.insert(numbers.begin(), shift, NAN);
    return elements<Element>(numbers);
  };
  const DeviceArray<Element> u(shifted(in.u)), dy(shifted(in.dy));
  const DeviceArray<Element> y(poison<Element>(in.u.size() + shift)), du(poison<Element>(in.u.size() + shift));
  const DeviceArray<float> bias(elements<float>(in.bias)), dbias(poison<float>(shape.columns));
  const DeviceArray<float> workspace(poison<float>(bias_gelu_backward_workspace_bytes(shape) / 4));
  bias_gelu_forward_cuda<Element>(shape, u.data() + shift, bias.data(), y.data() + shift, nullptr);
  bias_gelu_backward_cuda<Element>(shape, u.data() + shift, bias.data(), dy.data() + shift, du.data() + shift,
                                   dbias.data(), workspace.data(), nullptr);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  const auto values = [&](const DeviceArray<Element>& array) {
    const Array all = numbers(array);
    return Array(all.begin() + shift, all.end());
  };
  return {values(y), values(du), numbers(dbias)};
}

template <class Element>
void check(const GeluShape& shape, double tolerance, double tolerance_of_sums) {
  const Inputs<Element> in(shape);
  const Results exact = exact_results(shape, in);
  for (const int64_t shift : {0, 1}) {
    const Results got = run(shape, in, shift), again = run(shape, in, shift);
    EXPECT_TRUE(relative_error(got.y, exact.y) <= tolerance) << relative_error(got.y, exact.y);
    EXPECT_TRUE(relative_error(got.du, exact.du) <= tolerance) << relative_error(got.du, exact.du);
    EXPECT_TRUE(relative_error(got.dbias, exact.dbias) <= tolerance_of_sums) << relative_error(got.dbias, exact.dbias);
    EXPECT_TRUE(got == again) << "two runs differ";
  }
}

class GeluGpu : public testing::TestWithParam<GeluShape> {};
TEST_P(GeluGpu, Float32IsFloat64OfTheCpu) { check<float>(GetParam(), 1e-5, 1e-5); }
TEST_P(GeluGpu, Bfloat16IsFloat64OfTheCpu) { check<__nv_bfloat16>(GetParam(), 5e-3, 2e-4); }

INSTANTIATE_TEST_SUITE_P(Cases, GeluGpu,
                         testing::Values(GeluShape{1, 1}, GeluShape{3, 7}, GeluShape{2, 16}, GeluShape{65, 33},
                                         GeluShape{700, 101}, GeluShape{1134, 512}, GeluShape{333, 4096},
                                         GeluShape{70001, 8}, GeluShape{5003, 1028}));

template <class Element>
Array each_number() {
  Array u;
  for (double x = -12; x <= 12; x += 0x1p-7) u.push_back(x);
  return held<Element>(u);
}

// Each number alone, so that the sizes of the others hide nothing. `least`: what is not to be told from 0.
template <class Element>
void check_each(double tolerance, double tolerance_of_tails, double least) {
  const Array u = each_number<Element>();
  const GeluShape shape{1, static_cast<int64_t>(u.size())};
  const DeviceArray<Element> device_u(elements<Element>(u)), y(poison<Element>(u.size()));
  const DeviceArray<float> bias(elements<float>(Array(u.size())));
  bias_gelu_forward_cuda<Element>(shape, device_u.data(), bias.data(), y.data(), nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  const Array got = numbers(y);
  for (size_t i = 0; i < u.size(); ++i) {
    const double exact = u[i] * 0.5 * std::erfc(-u[i] * std::sqrt(0.5));
    const double allowed = u[i] > -3 ? tolerance : tolerance_of_tails;
    EXPECT_TRUE(std::abs(got[i] - exact) <= allowed * std::abs(exact) + least) << u[i] << ": " << got[i];
  }
}

template <class Element>
void check_each_slope(double tolerance, double least, double least_of_positive) {
  const Array u = each_number<Element>();
  const GeluShape shape{1, static_cast<int64_t>(u.size())};
  const DeviceArray<Element> device_u(elements<Element>(u)), dy(elements<Element>(Array(u.size(), 1.0))),
      du(poison<Element>(u.size()));
  const DeviceArray<float> bias(elements<float>(Array(u.size()))), dbias(poison<float>(u.size()));
  const DeviceArray<float> workspace(poison<float>(bias_gelu_backward_workspace_bytes(shape) / 4));
  bias_gelu_backward_cuda<Element>(shape, device_u.data(), bias.data(), dy.data(), du.data(), dbias.data(),
                                   workspace.data(), nullptr);
  ASSERT_CUDA(cudaDeviceSynchronize());
  const Array got = numbers(du);
  for (size_t i = 0; i < u.size(); ++i) {
    const double exact =
        0.5 * std::erfc(-u[i] * std::sqrt(0.5)) + u[i] * std::exp(-u[i] * u[i] / 2) * 0.3989422804014327;
    const double allowed = tolerance * std::abs(exact) + (u[i] > 0 ? least_of_positive : least);
    EXPECT_TRUE(std::abs(got[i] - exact) <= allowed) << u[i] << ": " << got[i] << ", not " << exact;
  }
}
TEST(GeluGpuTails, EachSlopeIsNear) { check_each_slope<float>(1e-5, 2e-7, 2e-7); }
TEST(GeluGpuTails, EachSlopeIsNearInBfloat16) { check_each_slope<__nv_bfloat16>(0x1p-8 + 1.3e-4, 2e-7, 6e-5); }

TEST(GeluGpuTails, EachNumberIsNear) { check_each<float>(1e-5, 1e-5, 1e-30); }
TEST(GeluGpuTails, EachNumberIsNearInBfloat16) { check_each<__nv_bfloat16>(0x1p-8 + 2e-4, 0x1p-8 + 4e-3, 1e-17); }

TEST(GeluGpu, RefusesWhatItCannotDo) {
  EXPECT_THROW(bias_gelu_forward_cuda<float>({0, 8}, nullptr, nullptr, nullptr, nullptr), std::invalid_argument);
  EXPECT_THROW(bias_gelu_backward_workspace_bytes({1, 0}), std::invalid_argument);
  EXPECT_THROW(bias_gelu_backward_workspace_bytes({1, (1 << 24) + 1}), std::invalid_argument);
}

}  // namespace
}  // namespace recite::kernels
