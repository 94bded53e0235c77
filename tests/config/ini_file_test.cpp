#include "config/ini_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "message.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ParseIni, SectionsKeysValuesAndLines) {
  const auto entries = parse_ini("[ train ]\n\n steps = 20 \r\n[eval]\nlengths=1, 2\nempty =\n", "a.ini");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].section, "train");
  EXPECT_EQ(entries[0].key, "steps");
  EXPECT_EQ(entries[0].value, "20");
  EXPECT_EQ(entries[0].line, 3);
  EXPECT_EQ(entries[0].section_line, 1);
  EXPECT_EQ(entries[1].section, "eval");
  EXPECT_EQ(entries[1].value, "1, 2");
  EXPECT_EQ(entries[2].value, "");
}

TEST(ParseIni, AByteOrderMarkIsNoText) {
  const auto entries = parse_ini("\xef\xbb\xbf[train]\nsteps = 20\n", "a.ini");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].section, "train");
  EXPECT_EQ(entries[0].line, 2);
}

TEST(ParseIni, CommentsBeginALineOrFollowABlank) {
  const auto entries =
      parse_ini("# one\n; two\n[a]  # three\nb = c;d#e ; four\nf = model=lstm, x=1\t# five\n", "a.ini");
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].value, "c;d#e");
  EXPECT_EQ(entries[1].value, "model=lstm, x=1");
}

TEST(ParseIni, OtherLinesAreRefusedWithTheirPlace) {
  EXPECT_THAT(refusal([] { parse_ini("[a]\nb\n", "a.ini"); }), AllOf(HasSubstr("a.ini:2"), HasSubstr("'b'")));
  EXPECT_THAT(refusal([] { parse_ini("[a\n", "a.ini"); }), HasSubstr("a.ini:1"));
  EXPECT_THAT(refusal([] { parse_ini("\nb = c\n", "a.ini"); }), AllOf(HasSubstr("a.ini:2"), HasSubstr("[section]")));
  EXPECT_THAT(refusal([] { parse_ini("[a]\n = c\n", "a.ini"); }), HasSubstr("a.ini:2"));
}

}  // namespace
}  // namespace recite
