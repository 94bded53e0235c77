#include "tokenizer/added_tokens.h"

#include <algorithm>

#include "tokenizer/unicode_classes.h"
#include "tokenizer/utf8.h"

namespace recite {

namespace {

bool begins_with(UnicodeClass which, std::string_view text) {
  const char* at = text.data();
  return !text.empty() && UnicodeClasses::table().is(which, next_code_point(at));
}

bool ends_with(UnicodeClass which, std::string_view text) {
  if (text.empty()) return false;
  const char* at = previous_code_point(text.data() + text.size());
  return UnicodeClasses::table().is(which, next_code_point(at));
}

size_t without_space_at_end(std::string_view text) {
  while (ends_with(space, text)) {
    const char* const end = text.data() + text.size();
    text.remove_suffix(static_cast<size_t>(end - previous_code_point(end)));
  }
  return text.size();
}

size_t space_at_start(std::string_view text) {
  size_t length = 0;
  while (begins_with(space, text.substr(length))) {
    const char *const begin = text.data() + length, *at = begin;
    next_code_point(at);
    length += static_cast<size_t>(at - begin);
  }
  return length;
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token, std::string_view content) {
  uint32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    auto& children = nodes_[node].children;
    const auto child =
        std::find_if(children.begin(), children.end(), [&](const auto& each) { return each.first == byte; });
    if (child != children.end()) {
      node = child->second;
      continue;
    }
    const auto made = static_cast<uint32_t>(nodes_.size());
    children.emplace_back(byte, made);
    nodes_.emplace_back();
    node = made;
  }
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back(token);
  starts_[static_cast<unsigned char>(content.front())] = true;
}

AddedTokenFinder::Match AddedTokenFinder::next_match(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    Match match;
    uint32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      const auto byte = static_cast<unsigned char>(text[at]);
      const auto& children = nodes_[node].children;
      const auto child =
          std::find_if(children.begin(), children.end(), [&](const auto& each) { return each.first == byte; });
      if (child == children.end()) break;
      node = child->second;
      if (nodes_[node].token >= 0) match = {begin, at + 1, nodes_[node].token};
    }
    if (match.token >= 0) return match;
  }
  return {};
}

std::vector<TextPart> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextPart> parts;
  size_t done = 0;
  for (Match match = next_match(text, 0); match.token >= 0; match = next_match(text, match.end)) {
    const AddedToken& token = tokens_[static_cast<size_t>(match.token)];
    const std::string_view before = text.substr(0, match.begin), behind = text.substr(match.end);
    if (token.single_word && (ends_with(word, before) || begins_with(word, behind))) continue;
    const size_t begin = token.lstrip ? std::max(without_space_at_end(before), done) : match.begin;
    const size_t end = token.rstrip ? match.end + space_at_start(behind) : match.end;
    if (done < begin) parts.push_back({text.substr(done, begin - done)});
    parts.push_back({text.substr(match.begin, match.end - match.begin), token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done)});
  return parts;
}

}  // namespace recite
