#include "results/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "known_rows.h"
#include "results/lock.h"
#include "results/reader.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

template <class Row, class Known>
void expect_known(const std::vector<Row>& rows, size_t count, Known known) {
  ASSERT_EQ(rows.size(), count);
  for (size_t k = 0; k < count; ++k) EXPECT_TRUE(same(rows[k], known(static_cast<int>(k)))) << "row " << k;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// What another process sees: valid and as they should be, so many evaluations. A reader in this process would share the
// writer's own open file.
int evaluations_seen_by_another_process(const std::string& path) {
  FILE* output = popen((RESULTS_PROCESS " check " + path).c_str(), "r");
  std::string text;
  for (int c = fgetc(output); c != EOF; c = fgetc(output)) text += static_cast<char>(c);
  if (pclose(output) != 0) return -1;
  return nlohmann::json::parse(text).at("evaluations");
}

// Across several chunks of every table.
constexpr int many = 600;

TEST(Writer, EveryTableReadsBackAsWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  RunRow run{.time = 1.5e9,
             .command = "recite sweep a.ini",
             .sweep_text = std::string(16384, 'x'),
             .build = "0.1.0",
             .git_commit = "abc",
             .hosts = "node1:4 knoten-ü:4",
             .workers = 8,
             .devices = "H100",
             .versions = "HDF5 1.10"};
  {
    ResultsWriter writer(path, "known");
    EXPECT_EQ(writer.add_run(run), 0);
    for (int k = 0; k < 5; ++k) EXPECT_EQ(writer.add_job(known_job(k)), k);
    for (int k = 0; k < 40; ++k) writer.append(known_event(k));
    for (int k = 0; k < many; ++k) writer.append(known_evaluation(k));
    for (int k = 0; k < many; ++k) writer.append(known_training(k));
  }
  const ResultsContents contents = read_results(path);
  EXPECT_EQ(contents.format_version, 1);
  EXPECT_EQ(contents.name, "known");
  ASSERT_EQ(contents.runs.size(), 1U);
  const RunRow& read = contents.runs.front();
  EXPECT_EQ(read.run, 0);
  EXPECT_EQ(read.time, run.time);
  EXPECT_EQ(read.command, run.command);
  EXPECT_EQ(read.sweep_text, run.sweep_text);
  EXPECT_EQ(read.build, run.build);
  EXPECT_EQ(read.git_commit, run.git_commit);
  EXPECT_EQ(read.hosts, run.hosts);
  EXPECT_EQ(read.workers, run.workers);
  EXPECT_EQ(read.devices, run.devices);
  EXPECT_EQ(read.versions, run.versions);
  EXPECT_EQ(read.epoch, 1);
  expect_known(contents.jobs, 5, known_job);
  expect_known(contents.events, 40, known_event);
  expect_known(contents.evaluations, many, known_evaluation);
  expect_known(contents.training, many, known_training);
}

TEST(Writer, GoesOnWhereTheLastOneClosed) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  for (int opening = 0; opening < 4; ++opening) {
    ResultsWriter writer(path, "known");
    EXPECT_EQ(writer.epoch(), opening + 1);
    EXPECT_EQ(writer.add_run({}), opening);
    for (int k = 0; k < 100; ++k) writer.append(known_training(opening * 100 + k));
  }
  const ResultsContents contents = read_results(path);
  expect_known(contents.training, 400, known_training);
  for (int run = 0; run < 4; ++run) EXPECT_EQ(contents.runs[run].epoch, run + 1);
}

TEST(Writer, RowsAreReadableBeforeTheAppendReturns) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  ResultsWriter writer(path, "known");
  for (int k = 0; k < 150; k += 30) {
    for (int i = k; i < k + 30; ++i) writer.append(known_evaluation(i));
    EXPECT_EQ(evaluations_seen_by_another_process(path), k + 30);
  }
}

TEST(Writer, AppendsThousandsOfRowsASecond) {
  const TemporaryFolder folder;
  ResultsWriter writer(folder / "results.h5", "known");
  const auto begin = std::chrono::steady_clock::now();
  for (int k = 0; k < 4000; ++k) writer.append(known_training(k));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  RecordProperty("rows_per_second", static_cast<int>(4000 / seconds));
  EXPECT_LT(seconds, 2.0);
}

TEST(Writer, LongMessageIsCutAtTheEndOfACharacter) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  {
    ResultsWriter writer(path, "known");
    std::string message = "ab";
    for (int i = 0; i < 600; ++i) message += "ü";
    writer.append(EventRow{.state = JobState::failed, .message = message});
    writer.append(EventRow{.state = JobState::failed, .message = std::string(1024, 'x')});
    writer.append(EventRow{.state = JobState::failed, .message = std::string("a\xff") + '\0' + "b"});
  }
  const std::vector<EventRow> events = read_results(path).events;
  std::string expected = "ab";  // 2 + 509 * 2 + 3 bytes of the ellipsis: one more character would not fit
  for (int i = 0; i < 509; ++i) expected += "ü";
  EXPECT_EQ(events.at(0).message, expected + "…");
  EXPECT_EQ(events.at(1).message, std::string(1024, 'x'));
  EXPECT_EQ(events.at(2).message, "a??b");
}

TEST(Writer, TextThatMustStayWholeIsRefusedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  ResultsWriter writer(path, "known");
  JobRow job = known_job(0);
  job.spec = std::string(8193, ' ');
  try {
    writer.add_job(job);
    FAIL() << "8193 bytes were taken";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("job 0 (hard_alibi copy)"), HasSubstr("spec too long"), HasSubstr("8193"),
                                    HasSubstr("8192")));
  }
  EXPECT_THROW(writer.add_run({.sweep_text = std::string(16385, ' ')}), UsageError);
  EXPECT_TRUE(read_results(path).jobs.empty());
  EXPECT_EQ(writer.add_job(known_job(0)), 0) << "the writer goes on after a refusal";
}

// Adds a row of zeros to /evaluations, as a writer that was stopped half way can leave it. Returns the number of rows.
hsize_t add_row_that_is_not_valid(const std::string& path) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t table = H5Dopen2(file, "evaluations", H5P_DEFAULT);
  const hid_t space = H5Dget_space(table);
  hsize_t rows = 0;
  H5Sget_simple_extent_dims(space, &rows, nullptr);
  ++rows;
  H5Dset_extent(table, &rows);
  H5Sclose(space);
  H5Dclose(table);
  H5Fclose(file);
  return rows;
}

// In the middle of a chunk, and at the start of one that was never written.
class HalfWrittenRow : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(After, HalfWrittenRow, testing::Values(0, 5, 128));

TEST_P(HalfWrittenRow, IsNoRowAndIsWrittenOver) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  const int good = GetParam();
  {
    ResultsWriter writer(path, "known");
    for (int k = 0; k < good; ++k) writer.append(known_evaluation(k));
  }
  ASSERT_EQ(add_row_that_is_not_valid(path), static_cast<hsize_t>(good + 1));
  expect_known(read_results(path).evaluations, good, known_evaluation);
  {
    ResultsWriter writer(path, "known");
    writer.append(known_evaluation(good));
    writer.append(known_evaluation(good + 1));
  }
  expect_known(read_results(path).evaluations, good + 2, known_evaluation);
  EXPECT_EQ(add_row_that_is_not_valid(path), static_cast<hsize_t>(good + 3))
      << "the half written row stayed in between";
}

// Sets the size beyond which no file can grow, for as long as it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

int append_until_full(ResultsWriter& writer, std::string& message) {
  for (int k = 0; k < 100'000; ++k) {
    try {
      writer.append(known_evaluation(k));
    } catch (const Error& error) {
      message = error.what();
      return k;
    }
  }
  return -1;
}

// The limit falls into different places: data of a chunk, index of the chunks, header.
class FullDisk : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(At, FullDisk, testing::Values(1, 300, 5'000, 29'000, 70'000, 70'001, 300'000));

TEST_P(FullDisk, KeepsTheGoodRowsAndGoesOnAfterwards) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  int acknowledged = 0;
  {
    ResultsWriter writer(path, "known");
    const FileSizeLimit limit(std::filesystem::file_size(path) + static_cast<rlim_t>(GetParam()));
    std::string message;
    acknowledged = append_until_full(writer, message);
    ASSERT_GE(acknowledged, 0);
    EXPECT_THAT(message, AllOf(StartsWith("cannot write " + path), HasSubstr("File too large")));
    EXPECT_THROW(writer.append(known_training(0)), Error) << "a writer that failed writes nothing more";
    EXPECT_THROW(writer.sync(), Error);
    EXPECT_GE(evaluations_seen_by_another_process(path), acknowledged);
  }
  // The row that failed may be there, whole: its bytes fitted, and only what comes after them did not.
  const int kept = evaluations_seen_by_another_process(path);
  EXPECT_GE(kept, acknowledged);
  EXPECT_LE(kept, acknowledged + 1);
  {
    ResultsWriter writer(path, "known");
    for (int k = kept; k < kept + many; ++k) writer.append(known_evaluation(k));
    for (int k = 0; k < many; ++k) writer.append(known_training(k));
  }
  const ResultsContents contents = read_results(path);
  expect_known(contents.evaluations, kept + many, known_evaluation);
  expect_known(contents.training, many, known_training);
}

TEST(Writer, FolderThatIsGoneIsAnError) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "runs");
  ResultsWriter writer(folder / "runs/results.h5", "known");
  std::filesystem::remove_all(folder / "runs");
  EXPECT_THROW(writer.sync(), Error);
  EXPECT_THROW(writer.append(known_event(0)), Error);
}

// The sidecar as a writer on another host leaves it.
void write_sidecar(const std::string& path, int64_t epoch, const std::string& host, double seconds_ago) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::ofstream(lock_path(path)) << nlohmann::json{
      {"epoch", epoch}, {"host", host}, {"pid", 4711}, {"run", 3}, {"time", now - seconds_ago}};
}

TEST(WriterLock, LivingHolderElsewhereIsRespectedAndASilentOneReplaced) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  write_sidecar(path, 7, "elsewhere", 30);
  try {
    ResultsWriter writer(path, "known");
    FAIL() << "two writers";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("process 4711 on elsewhere"), HasSubstr("30 s ago")));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_THROW(check_results_writable(path, "known"), UsageError);

  write_sidecar(path, 7, "elsewhere", 61);
  EXPECT_NO_THROW(check_results_writable(path, "known"));
  EXPECT_EQ(ResultsWriter(path, "known").epoch(), 8);
}

TEST(WriterLock, HolderOfThisHostIsDeadOnceItsFlockIsFree) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  write_sidecar(path, 2, host.data(), 0);
  EXPECT_EQ(ResultsWriter(path, "known").epoch(), 3);
}

TEST(WriterLock, CleanCloseLeavesTheEpochWithoutAHolder) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  {
    ResultsWriter writer(path, "known");
    writer.add_run({});
    writer.sync();
    const LockHolder holder = read_lock(path).value();
    EXPECT_EQ(holder.pid, getpid());
    EXPECT_EQ(holder.run, 0);
    EXPECT_TRUE(may_be_writing(holder));
  }
  const LockHolder nobody = read_lock(path).value();
  EXPECT_EQ(nobody.epoch, 1);
  EXPECT_EQ(nobody.pid, 0);
  EXPECT_FALSE(may_be_writing(nobody));
}

TEST(WriterLock, EpochGoesOnThoughTheSidecarIsDeleted) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  for (int64_t epoch = 1; epoch <= 3; ++epoch) {
    ResultsWriter writer(path, "known");
    EXPECT_EQ(writer.epoch(), epoch);
    writer.add_run({});
    std::filesystem::remove(lock_path(path));
  }
}

TEST(WriterLock, ReplacedWriterStopsAndLeavesTheFileAsItIs) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  std::string before;
  {
    ResultsWriter writer(path, "known");
    for (int k = 0; k < 10; ++k) writer.append(known_training(k));
    write_sidecar(path, 2, "elsewhere", 0);
    before = bytes_of(path);
    try {
      writer.sync();
      FAIL() << "a writer that was replaced went on";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("another writer (elsewhere, process 4711) took over"));
    }
    EXPECT_THROW(writer.append(known_training(10)), Error);
  }
  EXPECT_TRUE(bytes_of(path) == before) << "closing a writer that was replaced changed the file";
  EXPECT_EQ(read_lock(path)->host, "elsewhere");
}

TEST(WriterLock, ReplacedWriterThatOnlyClosesLeavesTheFileAsItIs) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  std::string before;
  {
    ResultsWriter writer(path, "known");
    writer.append(known_training(0));
    write_sidecar(path, 2, "elsewhere", 0);
    before = bytes_of(path);
  }
  EXPECT_TRUE(bytes_of(path) == before);
}

}  // namespace
}  // namespace recite
