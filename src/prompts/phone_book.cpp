// phone_book: lines `First Last: DIGITS`; a blank line; two of the lines again; a blank line; `First Last:` of a third.
// The answer is the third's digits. Names are distinct within a book; numbers have 10 digits, the first of them 6..9.
#include <fmt/format.h>

#include <unordered_set>

#include "base/error.h"
#include "prompts/census.h"
#include "prompts/sources.h"

namespace recite {

namespace {

constexpr int shown_again = 2;
constexpr int digits = 10;

struct Entry {
  std::string name;
  std::string number;

  std::string line() const { return name + ": " + number; }
};

std::string draw_number(PhiloxStream& random) {
  std::string number(1, static_cast<char>('6' + random.below(4)));
  while (number.size() < digits) number += static_cast<char>('0' + random.below(10));
  return number;
}

std::vector<Entry> draw_book(int length, PhiloxStream& random) {
  std::vector<Entry> book;
  std::unordered_set<std::string> names;
  while (static_cast<int>(book.size()) < length) {
    const std::string name = draw_full_name(random);
    if (names.insert(name).second) book.push_back({name, draw_number(random)});
  }
  return book;
}

class PhoneBook final : public PromptSource {
 public:
  PhoneBook(const PromptSpec& spec, const TextCodec& codec) : spec_(spec), codec_(codec) {}

  void check(int length) const override {
    if (length < shown_again + 1) {
      throw UsageError(fmt::format(
          "phone_book needs {} entries or more, not {}: two are shown again, a third is asked: change lengths",
          shown_again + 1, length));
    }
  }

  Prompt prompt(int length, int64_t index) const override {
    check(length);
    PhiloxStream random = stream_of(spec_, length, index);
    std::vector<Entry> book = draw_book(length, random);
    Prompt made;
    for (const Entry& entry : book) made.text += entry.line() + "\n";
    draw_to_front(std::span(book), shown_again + 1, random);
    const Entry& asked = book[shown_again];
    made.text += fmt::format("\n{}\n{}\n\n{}:", book[0].line(), book[1].line(), asked.name);
    made.tokens = codec_.encode(made.text);
    made.gold = {asked.number};
    made.max_new_tokens = 50;
    return made;
  }

 private:
  PromptSpec spec_;
  const TextCodec& codec_;
};

}  // namespace

std::unique_ptr<PromptSource> make_phone_book(const PromptSpec& spec, const TextCodec& codec) {
  return std::make_unique<PhoneBook>(spec, codec);
}

}  // namespace recite
