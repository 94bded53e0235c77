#include "jobs/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "jobs/job.h"

namespace recite {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Grid, NoAxesIsOnePoint) { EXPECT_THAT(grid_points({}), ElementsAre(IsEmpty())); }

TEST(Grid, LastAxisIsFastest) {
  const std::vector<GridPoint> points = grid_points({{"a", {"1", "2"}}, {"b", {"x", "y", "z"}}});
  ASSERT_EQ(points.size(), 6u);
  EXPECT_EQ(points[0], (GridPoint{{"a", "1"}, {"b", "x"}}));
  EXPECT_EQ(points[1], (GridPoint{{"a", "1"}, {"b", "y"}}));
  EXPECT_EQ(points[5], (GridPoint{{"a", "2"}, {"b", "z"}}));
}

TEST(EvalPoints, EveryTaskKeyAndLengthInOrder) {
  Job job;
  job.eval.tasks = {TaskKind::suffix_ngram, TaskKind::copy};
  job.eval.n_grams = {1, 2};
  job.eval.lengths = {10, 20};
  EXPECT_THAT(eval_points(job),
              ElementsAre(EvalPoint{TaskKind::suffix_ngram, 1, 10}, EvalPoint{TaskKind::suffix_ngram, 1, 20},
                          EvalPoint{TaskKind::suffix_ngram, 2, 10}, EvalPoint{TaskKind::suffix_ngram, 2, 20},
                          EvalPoint{TaskKind::copy, 0, 10}, EvalPoint{TaskKind::copy, 0, 20}));
}

TEST(EvalPoints, FallBackOnTheTrainingTaskAndKey) {
  Job job;
  job.task.kind = TaskKind::prefix_ngram;
  job.task.n_gram = 3;
  job.eval.lengths = {7, 7};
  EXPECT_THAT(eval_points(job), ElementsAre(EvalPoint{TaskKind::prefix_ngram, 3, 7}));
}

}  // namespace
}  // namespace recite
