#include <gmock/gmock.h>

#include <fstream>

#include "captured.h"
#include "support/temporary_folder.h"
#include "tokenizer/small_tokenizer.h"

namespace recite {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class Tokenize : public testing::Test {
 protected:
  Tokenize() { std::ofstream(folder_ / "t.json") << small_tokenizer().dump(); }

  Ran on_file(const std::string& text, std::vector<std::string> more = {}) const {
    std::ofstream(folder_ / "text", std::ios::binary) << text;
    more.insert(more.begin(), {"tokenize", "--tokenizer", folder_ / "t.json", folder_ / "text"});
    return ran(more);
  }

  TemporaryFolder folder_;
};

TEST_F(Tokenize, PrintsALineForEachLine) {
  const Ran done = on_file("hell<|end|>\n\n hello");
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.out, "258 260\n\n259 111\n");
}

TEST_F(Tokenize, DecodesIds) {
  EXPECT_EQ(on_file("258 260\n\n  259\t111 \n", {"--decode"}).out, "hell<|end|>\n\n hello\n");
  EXPECT_EQ(on_file("258 260\n", {"--decode", "--skip-special"}).out, "hell\n");
}

TEST_F(Tokenize, NamesTheLineThatIsWrong) {
  const Ran not_text = on_file("hell\nab\xFF\n");
  EXPECT_EQ(not_text.code, 2);
  EXPECT_THAT(not_text.err, AllOf(HasSubstr(folder_ / "text, line 2: "), HasSubstr("not UTF-8 at byte 2 (0xFF)")));
  for (const std::string wrong : {"x", "1.5", "-1", "99999999999", "1,2"}) {
    const Ran no_id = on_file("1 2\n3 " + wrong, {"--decode"});
    EXPECT_EQ(no_id.code, 2);
    EXPECT_THAT(no_id.err, AllOf(HasSubstr("line 2: "), HasSubstr("'" + wrong + "' is no token id")));
  }
}

TEST_F(Tokenize, RefusesWrongUse) {
  EXPECT_THAT(ran({"tokenize"}).err, HasSubstr("--tokenizer is missing"));
  EXPECT_THAT(ran({"tokenize", "--tokenizer", "/no/such.json"}).err, HasSubstr("/no/such.json: cannot be read"));
  EXPECT_THAT(on_file("", {"--skip-special"}).err, HasSubstr("--skip-special means nothing without --decode"));
  EXPECT_THAT(ran({"tokenize", "--tokenizer", folder_ / "t.json", "/no/such/text"}).err,
              HasSubstr("/no/such/text: cannot be read"));
}

}  // namespace
}  // namespace recite
