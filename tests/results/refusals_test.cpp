// What may not be written or read, and what the message says.
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "results/lock.h"
#include "results/reader.h"
#include "results/writer.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string usage_error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const UsageError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("no UsageError: ") + error.what();
  }
  return "no error";
}

// Both the check before the start and the writer itself must refuse, with the same words.
std::string refusal(const std::string& path, const std::string& name) {
  const std::string checked = usage_error_of([&] { check_results_writable(path, name); });
  EXPECT_EQ(usage_error_of([&] { ResultsWriter(path, name); }), checked);
  return checked;
}

void set_format_version(const std::string& path, int version) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t attribute = H5Aopen(file, "format_version", H5P_DEFAULT);
  H5Awrite(attribute, H5T_NATIVE_INT, &version);
  H5Aclose(attribute);
  H5Fclose(file);
}

TEST(Refusals, OtherSweepName) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  ResultsWriter(path, "first");
  EXPECT_THAT(refusal(path, "second"), AllOf(HasSubstr("'first'"), HasSubstr("'second'"), HasSubstr("sweep.name")));
}

TEST(Refusals, OtherFormat) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  ResultsWriter(path, "name");
  set_format_version(path, 2);
  EXPECT_THAT(refusal(path, "name"), AllOf(HasSubstr("format_version 2"), HasSubstr("writes 1")));
}

TEST(Refusals, NoHdf5File) {
  const TemporaryFolder folder;
  const std::string path = folder / "notes.txt";
  std::ofstream(path) << "not a results file\n";
  EXPECT_THAT(refusal(path, "name"), HasSubstr(path + " is no results file"));
  EXPECT_THAT(usage_error_of([&] { read_results(path); }), HasSubstr(path + " is no results file"));
  EXPECT_EQ(std::filesystem::file_size(path), 19U) << "a file that is not ours was changed";
}

TEST(Refusals, Hdf5FileOfSomebodyElse) {
  const TemporaryFolder folder;
  const std::string path = folder / "other.h5";
  H5Fclose(H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT));
  EXPECT_THAT(refusal(path, "name"), HasSubstr("no format_version and name"));
}

TEST(Refusals, TableThatIsMissing) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  ResultsWriter(path, "name");
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  H5Ldelete(file, "events", H5P_DEFAULT);
  H5Fclose(file);
  EXPECT_THAT(refusal(path, "name"), HasSubstr(path + " cannot be used"));
  EXPECT_THAT(usage_error_of([&] { read_results(path); }), HasSubstr(path + " cannot be used"));
}

TEST(Refusals, FileThatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_THAT(usage_error_of([&] { read_results(folder / "none.h5"); }),
              AllOf(HasSubstr("none.h5"), HasSubstr("No such file")));
}

TEST(Refusals, FolderThatIsMissing) {
  const TemporaryFolder folder;
  const std::string path = folder / "none/results.h5";
  EXPECT_THAT(usage_error_of([&] { check_results_writable(path, "name"); }), HasSubstr("No such file"));
  EXPECT_THAT(usage_error_of([&] { ResultsWriter(path, "name"); }), HasSubstr("No such file"));
}

TEST(Refusals, NameThatDoesNotFit) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal(folder / "results.h5", std::string(257, 'n')), AllOf(HasSubstr("257"), HasSubstr("256")));
}

TEST(Refusals, WriterOfThisProcessCounts) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  const ResultsWriter writer(path, "name");
  const std::string holder = "process " + std::to_string(getpid());
  EXPECT_THAT(usage_error_of([&] { check_results_writable(path, "name"); }), HasSubstr(holder));
  EXPECT_THAT(usage_error_of([&] { ResultsWriter(path, "name"); }), HasSubstr(holder));
}

TEST(Refusals, ACheckCreatesAndChangesNothing) {
  const TemporaryFolder folder;
  check_results_writable(folder / "results.h5", "name");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

// As a user without rights, also where the tests run as root. Returns the child's words.
std::string as_nobody(const std::function<void()>& act) {
  std::array<int, 2> ends{};
  EXPECT_EQ(pipe(ends.data()), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(65534) != 0 || setuid(65534) != 0)) _exit(1);
    const std::string message = usage_error_of(act);
    _exit(write(ends[1], message.data(), message.size()) == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string message(4096, '\0');
  const ssize_t size = read(ends[0], message.data(), message.size());
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  message.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return message;
}

TEST(Refusals, ReadOnlyFolderAndFile) {
  const TemporaryFolder folder;
  const std::string path = folder / "results.h5";
  chmod(folder.path().c_str(), 0555);
  EXPECT_THAT(as_nobody([&] { check_results_writable(path, "name"); }), HasSubstr("Permission denied"));
  EXPECT_THAT(as_nobody([&] { ResultsWriter(path, "name"); }), HasSubstr("Permission denied"));
  chmod(folder.path().c_str(), 0755);

  ResultsWriter(path, "name");
  chmod(path.c_str(), 0444);
  chmod(folder.path().c_str(), 0777);
  EXPECT_THAT(as_nobody([&] { check_results_writable(path, "name"); }), HasSubstr("Permission denied"));
  EXPECT_THAT(as_nobody([&] { ResultsWriter(path, "name"); }), HasSubstr("Permission denied"));
  EXPECT_THAT(as_nobody([&] { read_results(path); }), "no error");
}

}  // namespace
}  // namespace recite
