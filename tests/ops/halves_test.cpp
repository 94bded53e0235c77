#include "ops/halves.h"

#include <gtest/gtest.h>

namespace recite {
namespace {

using torch::Tensor;

Tensor second_half(const Tensor& rows) { return rows.narrow(2, rows.size(2) / 2, rows.size(2) / 2); }

TEST(Halves, OfRowsLieSideBySideWithoutACopy) {
  const Tensor of = second_half(torch::rand({2, 3, 8}));
  const Tensor half = half_like(of);
  EXPECT_EQ(half.strides(), of.strides());
  half.fill_(5);
  const void* const at = half.data_ptr();
  const Tensor both = with_first_half(half);
  EXPECT_EQ(both.sizes(), (std::vector<int64_t>{2, 3, 8}));
  EXPECT_TRUE(both.is_contiguous());
  EXPECT_EQ(second_half(both).data_ptr(), at);
  EXPECT_TRUE(second_half(both).eq(5).all().item<bool>());
}

// Nothing that another tensor sees may be written.
TEST(Halves, AreCopiedWhereTheRoomIsNotTheirs) {
  const Tensor rows = torch::rand({2, 3, 8}), before = rows.clone();
  for (const Tensor& half : {second_half(rows), rows.narrow(2, 0, 4), torch::rand({2, 3, 4}), rows.narrow(2, 2, 4)}) {
    const Tensor both = with_first_half(half);
    EXPECT_TRUE(torch::equal(second_half(both), half));
    both.narrow(2, 0, 4).fill_(9);
    EXPECT_TRUE(torch::equal(rows, before));
  }
  Tensor half = half_like(second_half(rows));
  const Tensor wide = half.as_strided({2, 3, 8}, {24, 8, 1}, 0);
  wide.fill_(1);
  with_first_half(half).fill_(2);
  EXPECT_TRUE(wide.eq(1).all().item<bool>());
  EXPECT_TRUE(half_like(torch::rand({2, 3, 4})).is_contiguous());
}

}  // namespace
}  // namespace recite
