#include "models/dropout.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "tests/models/reference.h"

namespace recite {
namespace {

using torch::Tensor;

struct Rows {
  std::vector<int64_t> global_row;
  std::vector<int32_t> first_position;

  ForwardContext context(int64_t step = 4) const {
    std::vector<int64_t> places;
    for (size_t b = 0; b < global_row.size(); ++b)
      places.insert(places.end(), {step, global_row[b], first_position[b]});
    return {.training = true, .seed = 9, .row_places = torch::tensor(places, torch::kInt64).view({-1, 3})};
  }
};

Tensor mask_of(const Rows& rows, int64_t time, int64_t layer = 1, int64_t step = 4) {
  const auto batch = static_cast<int64_t>(rows.global_row.size());
  return dropout_mask(rows.context(step), layer, 0.65, {batch, time, 500}, torch::kFloat32);
}

TEST(DropoutMask, DropsTheShareThatIsAskedForAndScalesTheRest) {
  const Tensor mask = mask_of({{0, 1, 2, 3}, {0, 0, 0, 0}}, 50);
  const Tensor kept = mask != 0;
  EXPECT_NEAR(kept.to(torch::kFloat64).mean().item<double>(), 0.35, 4 * std::sqrt(0.35 * 0.65 / 1e5));
  EXPECT_TRUE(mask.masked_select(kept).eq(static_cast<float>(1 / 0.35)).all().item<bool>());
}

TEST(DropoutMask, IsNamedByRowAndPositionNotByPlaceInTheBatch) {
  const Tensor whole = mask_of({{0, 1, 2, 3}, {0, 0, 0, 0}}, 20);
  EXPECT_TRUE(torch::equal(mask_of({{2, 3}, {0, 0}}, 20), whole.slice(0, 2, 4)));
  EXPECT_TRUE(torch::equal(mask_of({{3, 0}, {0, 0}}, 20), torch::stack({whole[3], whole[0]})));
  EXPECT_TRUE(torch::equal(mask_of({{1}, {7}}, 13)[0], whole[1].slice(0, 7, 20)));
}

TEST(DropoutMask, DiffersByRowPositionLayerAndStep) {
  const Rows rows{{0, 1}, {0, 0}};
  const Tensor mask = mask_of(rows, 2);
  EXPECT_FALSE(torch::equal(mask[0], mask[1]));
  EXPECT_FALSE(torch::equal(mask[0][0], mask[0][1]));
  EXPECT_FALSE(torch::equal(mask, mask_of(rows, 2, 0)));
  EXPECT_FALSE(torch::equal(mask, mask_of(rows, 2, 1, 5)));
}

TEST(DropoutMask, RefusesRowsWithoutAName) {
  EXPECT_THROW(dropout_mask({.training = true}, 0, 0.5, {1, 1, 1}, torch::kFloat32), Error);
}

class LstmDropout : public testing::Test {
 protected:
  void SetUp() override {
    spec_.architecture = Architecture::lstm;
    spec_.hidden_size = 12;
    spec_.layers = 3;
    spec_.dropout = 0.4;
    model_ = reference::random_model(spec_, 6);
    tokens_ = torch::randint(0, 6, {2, 15}, torch::kInt64);
  }

  ModelSpec spec_;
  std::unique_ptr<Model> model_;
  Tensor tokens_;
  Rows rows_{{5, 8}, {0, 30}};
};

TEST_F(LstmDropout, TrainingIsTheFormulaWithTheStreamsMasksBetweenTheLayers) {
  std::vector<Tensor> expected;
  for (int64_t b = 0; b < 2; ++b) {
    std::vector<Tensor> masks;
    for (uint64_t layer = 0; layer < 2; ++layer) {
      const Tensor mask = torch::zeros({15, 12}, torch::kFloat64);
      for (int64_t t = 0; t < 15; ++t) {
        const auto row = static_cast<uint64_t>(rows_.global_row[b]),
                   position = static_cast<uint64_t>(rows_.first_position[b] + t);
        PhiloxStream random(Purpose::dropout_mask, 9, {4, layer, row, position});
        for (int64_t h = 0; h < 12; ++h)
          if (static_cast<double>(random.next()) >= 0.4 * 4294967296.0) mask[t][h] = 1 / 0.6;
      }
      masks.push_back(mask);
    }
    expected.push_back(reference::logits(*model_, tokens_[b], masks));
  }
  EXPECT_LE(reference::difference(model_->forward(tokens_, rows_.context()), torch::stack(expected)), 1e-6);
}

TEST_F(LstmDropout, RowsApartGiveTheRowsOfTheWholeBatch) {
  const Tensor whole = model_->forward(tokens_, rows_.context());
  for (size_t b = 0; b < 2; ++b) {
    const Rows row{{rows_.global_row[b]}, {rows_.first_position[b]}};
    const auto index = static_cast<int64_t>(b);
    EXPECT_LE(reference::difference(model_->forward(tokens_.narrow(0, index, 1), row.context())[0], whole[index]),
              1e-12);
  }
}

TEST_F(LstmDropout, EvaluationHasNone) {
  const Tensor plain = model_->forward(tokens_, {});
  EXPECT_LE(reference::difference(plain[0], reference::logits(*model_, tokens_[0])), 1e-10);
  EXPECT_GT(reference::difference(model_->forward(tokens_, rows_.context()), plain), 1e-3);
}

}  // namespace
}  // namespace recite
