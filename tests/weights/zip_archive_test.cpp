#include "weights/zip_archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "base/error.h"

namespace recite {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

std::string number(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string header(const std::string& name, const std::string& extra) {
  return "PK\3\4" + number(0, 2) + number(8, 2) + std::string(18, '\0') + number(name.size(), 2) +
         number(extra.size(), 2) + name + extra;
}

// An archive as torch.save writes it, of a first member of `hole` zeros, for which no room is taken on the disk, and of
// a second of three letters behind it: its header is at `second`.
class LargeArchive : public testing::Test {
 protected:
  static constexpr uint64_t hole = 5'000'000'000, does_not_fit = 0xffffffff, crc_of_abc = 0x352441c2;

  void SetUp() override {
    std::ofstream file(path_, std::ios::binary);
    const std::string first = header("large", number(0x4246, 2) + number(9, 2) + std::string(9, 'Z'));
    begin_ = first.size();
    second_ = begin_ + hole;
    file << first;
    file.seekp(static_cast<std::streamoff>(second_));
    const std::string behind = header("small", number(1, 2) + number(8, 2) + number(second_, 8));
    file << behind << "abc";
    const uint64_t directory = second_ + behind.size() + 3;
    const std::string entries =
        entry("large", 0, does_not_fit, 0, number(1, 2) + number(16, 2) + number(hole, 8) + number(hole, 8)) +
        entry("small", crc_of_abc, 3, does_not_fit, number(1, 2) + number(8, 2) + number(second_, 8));
    file << entries << "PK\6\6" << number(44, 8) << number(0, 4) << number(0, 8) << number(2, 8) << number(2, 8)
         << number(entries.size(), 8) << number(directory, 8);
    file << "PK\6\7" << number(0, 4) << number(directory + entries.size(), 8) << number(1, 4);
    file << std::string("PK\5\6", 4) << number(0, 4) << number(2, 2) << number(2, 2) << number(entries.size(), 4)
         << number(does_not_fit, 4) << number(0, 2);
    ASSERT_TRUE(file.flush());
  }
  void TearDown() override { std::remove(path_.c_str()); }

  static std::string entry(const std::string& name, uint64_t crc, uint64_t size, uint64_t at,
                           const std::string& extra) {
    return "PK\1\2" + number(0, 4) + number(8, 2) + number(0, 2) + number(0, 4) + number(crc, 4) + number(size, 4) +
           number(size, 4) + number(name.size(), 2) + number(extra.size(), 2) + number(0, 2) + number(0, 2) +
           number(0, 2) + number(0, 4) + number(at, 4) + name + extra;
  }

  std::string path_ = testing::TempDir() + "/recite-large.zip";
  uint64_t begin_ = 0, second_ = 0;
};

TEST_F(LargeArchive, HasMembersBeyondFourGigabytes) {
  const auto file = MappedFile::open(path_);
  const std::vector<ZipMember> members = zip_members(*file);
  ASSERT_EQ(members.size(), 2U);
  EXPECT_EQ(members[0].name, "large");
  EXPECT_EQ(members[0].begin, begin_);
  EXPECT_EQ(members[0].size, hole);
  EXPECT_EQ(members[1].name, "small");
  EXPECT_EQ(members[1].crc32, crc_of_abc);
  EXPECT_EQ(file->bytes().substr(members[1].begin, members[1].size), "abc");
}

TEST_F(LargeArchive, IsRefusedWithADamagedHeader) {
  std::fstream(path_, std::ios::in | std::ios::out | std::ios::binary).seekp(static_cast<std::streamoff>(second_))
      << "PX";
  EXPECT_THAT([&] { zip_members(*MappedFile::open(path_)); },
              ThrowsMessage<Error>(HasSubstr("the header of its member 'small' is damaged")));
}

}  // namespace
}  // namespace recite
