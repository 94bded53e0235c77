#include "pretrained/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "support/temporary_folder.h"
#include "train/thread_group.h"
#include "weights/durable_file.h"

namespace recite {
namespace {

using nlohmann::json;

Sample sample(int64_t index) {
  return {index, "Zürich\n\"0\"", {"a", "b"}, std::string("x\0y", 3), 1, index % 2 == 0 ? NAN : 0.1 * index};
}

const EvalPoint point{TaskKind::phone_book, 0, 20};

TEST(Samples, GatherByIndexOnEveryRank) {
  // Rank 1 has none; rank 2's do not follow each other.
  const std::vector<std::vector<Sample>> own = {{sample(1), sample(2)}, {}, {sample(0), sample(4), sample(3)}};
  ThreadGroup::run(3, [&](Group group) {
    const std::vector<Sample> all = gather_samples(own[static_cast<size_t>(group.rank())], group);
    ASSERT_EQ(all.size(), 5u);
    for (int64_t i = 0; i < 5; ++i) {
      const Sample& got = all[static_cast<size_t>(i)];
      EXPECT_EQ(json(got).dump(), json(sample(i)).dump());
      EXPECT_EQ(std::isnan(got.f1), i % 2 == 0) << "not null";
    }
  });
  SoloCollective solo;
  EXPECT_TRUE(gather_samples({}, {solo, solo}).empty());
}

TEST(Samples, AreWrittenAsALineEach) {
  const TemporaryFolder folder;
  const std::string path = folder / "new/job/samples-phone_book-20.jsonl";
  write_samples(folder / "new/job", point, {sample(0), sample(1)});
  EXPECT_EQ(
      read_text(path),
      R"({"exact_match":1.0,"f1":null,"gold":["a","b"],"index":0,"prediction":"x\u0000y","prompt":"Zürich\n\"0\""})"
      "\n"
      R"({"exact_match":1.0,"f1":0.1,"gold":["a","b"],"index":1,"prediction":"x\u0000y","prompt":"Zürich\n\"0\""})"
      "\n");
  write_samples(folder / "new/job", point, {});
  EXPECT_EQ(read_text(path), "") << "another try replaces them";
}

TEST(Samples, FolderThatCannotBeMadeIsNamed) {
  const TemporaryFolder folder;
  write_durably(folder / "file", "");
  try {
    write_samples(folder / "file/job", point, {sample(0)});
    FAIL() << "written";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith(folder / "file/job: cannot be made: "));
  }
}

}  // namespace
}  // namespace recite
