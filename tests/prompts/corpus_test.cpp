#include "prompts/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "config/message.h"
#include "prompts/files.h"
#include "support/temporary_folder.h"

namespace recite {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const std::string json_lines =
    "{\"text\": \"first\\nof two\", \"url\": \"x\"}\n\n{\"url\": \"y\", \"text\": \"\"}\r\n{\"text\":\"caf\\u00e9 "
    "\xe2\x80\x94\"}";

TEST(Corpus, OfJsonLinesHasATextALine) {
  const TemporaryFolder folder;
  for (const char* name : {"c4.json", "c4.jsonl"}) {
    EXPECT_THAT(read_corpus(write_file(folder / name, json_lines)), ElementsAre("first\nof two", "caf\u00e9 \u2014"));
  }
  EXPECT_EQ(read_corpus(write_gzip(folder / "c4.json.gz", json_lines)), read_corpus(folder / "c4.json"));
}

TEST(Corpus, OfPlainTextHasParagraphs) {
  const TemporaryFolder folder;
  const std::string text = "\n\none\ntwo\r\n \t\nthree\n\n\n  four  \n";
  for (const char* name : {"book.txt", "book", "book.md"}) {
    EXPECT_THAT(read_corpus(write_file(folder / name, text)), ElementsAre("one\ntwo", "three", "  four  "));
  }
  EXPECT_EQ(read_corpus(write_gzip(folder / "book.txt.gz", text)), read_corpus(folder / "book.txt"));
  EXPECT_THAT(read_corpus(write_file(folder / "one", "{\"text\": 1}")), ElementsAre("{\"text\": 1}"));
}

// Lines that are longer than what is read at once, and lines that end where it does.
TEST(Corpus, LinesMayBeLong) {
  const TemporaryFolder folder;
  std::string text;
  std::vector<std::string> paragraphs;
  for (const size_t size : {size_t{1} << 18, (size_t{1} << 18) - 2, size_t{1000003}, size_t{1}, size_t{700000}}) {
    paragraphs.emplace_back(size, static_cast<char>('a' + paragraphs.size()));
    text += paragraphs.back() + "\n\n";
  }
  EXPECT_EQ(read_corpus(write_file(folder / "long", text)), paragraphs);
  EXPECT_EQ(read_corpus(write_gzip(folder / "long.gz", text)), paragraphs);
}

TEST(Corpus, MayBeAFolderOrAPattern) {
  const TemporaryFolder folder;
  write_gzip(folder / "b.json.gz", "{\"text\": \"b\"}\n");
  write_file(folder / "c.txt", "c");
  write_file(folder / "a.jsonl", "{\"text\": \"a\"}\n");
  write_file(folder / "README.md", "not a text");
  EXPECT_THAT(read_corpus(folder.path()), ElementsAre("a", "b", "c"));
  EXPECT_THAT(read_corpus(folder / "[bc].*"), ElementsAre("b", "c"));
  // A name that looks like a pattern is a name first.
  EXPECT_THAT(read_corpus(write_file(folder / "d[1].txt", "d")), ElementsAre("d"));
}

TEST(Corpus, IsReadUpToALimit) {
  const TemporaryFolder folder;
  write_file(folder / "a.txt", "1234\n\n5678\n\n90");
  write_file(folder / "b.txt", "\xff");
  EXPECT_THAT(read_corpus(folder.path(), 5), ElementsAre("1234", "5678"));
  EXPECT_THAT(read_corpus(folder.path(), 4), ElementsAre("1234"));
  EXPECT_THAT(read_corpus(folder.path(), 10), ElementsAre("1234", "5678", "90"));
  EXPECT_THAT(refusal([&] { read_corpus(folder.path(), 11); }), HasSubstr("b.txt, line 1: is no UTF-8"));
  write_file(folder / "a.json", "{\"text\": \"1234\"}\n{\"text\": \"5678\"}\nx");
  EXPECT_THAT(read_corpus(folder / "a.json", 8), ElementsAre("1234", "5678"));
}

TEST(Corpus, ThatIsNotThereIsRefused) {
  const TemporaryFolder folder;
  EXPECT_EQ(refusal([&] { read_corpus(folder / "x.json"); }),
            folder / "x.json" + ": cannot be opened: No such file or directory (c4_corpus)");
  EXPECT_EQ(refusal([&] { read_corpus(folder / "*.json"); }),
            folder / "*.json" + ": no file has such a name: change c4_corpus");
  EXPECT_EQ(refusal([&] { read_corpus(folder.path()); }),
            folder.path() + ": the folder has no .json, .jsonl or .txt file (.gz or not): change c4_corpus");
  std::filesystem::create_directory(folder / "x.json");
  EXPECT_THAT(refusal([&] { read_corpus(folder / "*.json"); }),
              HasSubstr("x.json: is a folder, a file is wanted (c4_corpus)"));
}

TEST(Corpus, WithoutATextIsRefused) {
  const TemporaryFolder folder;
  for (const char* text : {"", "\n \n\t\n"}) {
    for (const char* name : {"x.json", "x.txt"}) {
      EXPECT_EQ(refusal([&] { read_corpus(write_file(folder / name, text)); }),
                folder / name + ": there is no text in it: change c4_corpus");
    }
    EXPECT_THAT(refusal([&] { read_corpus(write_gzip(folder / "x.gz", text)); }), HasSubstr("there is no text in it"));
  }
}

TEST(Corpus, NamesTheLineThatIsWrong) {
  const TemporaryFolder folder;
  const std::string good = "{\"text\": \"a\"}\n";
  const auto refused = [&](const std::string& line) {
    return refusal([&] { read_corpus(write_file(folder / "x.json", good + "\n" + line + "\n" + good)); });
  };
  const std::string place = folder / "x.json" + ", line 3: ";
  for (const char* line : {"{\"text\": \"a\"", "text", "[\"text\"]", "{\"text\": \"\xff\"}", "{} {}", "\"text\""}) {
    EXPECT_EQ(refused(line), place + "is no JSON object in UTF-8") << line;
  }
  for (const char* line : {"{}", "{\"text\": 1}", "{\"Text\": \"a\"}", "{\"text\": null}"}) {
    EXPECT_EQ(refused(line), place + "the JSON object has no \"text\" that is a string") << line;
  }
  EXPECT_EQ(refused(good), "taken");
  EXPECT_EQ(refusal([&] { read_corpus(write_file(folder / "x.txt", "a\n\nb\xc3\n")); }),
            folder / "x.txt" + ", line 3: is no UTF-8 text");
}

TEST(Corpus, EveryTruncatedGzipFileIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(write_gzip(folder / "whole.json.gz", json_lines));
  ASSERT_GT(bytes.size(), 40u);
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = write_file(folder / "cut.json.gz", bytes.substr(0, size));
    EXPECT_THAT(refusal([&] { read_corpus(cut); }), StartsWith(cut + ": is ")) << size << " bytes";
  }
}

TEST(Corpus, EveryDamagedByteOfGzipDataIsRefused) {
  const TemporaryFolder folder;
  const std::string bytes = bytes_of(write_gzip(folder / "whole.txt.gz", json_lines));
  constexpr size_t header = 10;
  for (size_t at = header; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x5a);
    const std::string path = write_file(folder / "damaged.txt.gz", damaged);
    EXPECT_NE(refusal([&] { read_corpus(path); }), "taken") << at;
  }
  const std::string path = write_file(folder / "plain.json.gz", json_lines);
  EXPECT_EQ(refusal([&] { read_corpus(path); }),
            path + ": is named .gz, but does not begin as gzip files do: it is empty or damaged (c4_corpus)");
}

}  // namespace
}  // namespace recite
