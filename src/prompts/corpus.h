// Texts to copy, from files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace recite {

// Texts are read until they have this many bytes together; the rest of the files is left. C4's texts are in random
// order: this many bytes are some 30000 of them.
constexpr int64_t corpus_bytes = 64 << 20;

// The texts of a corpus, in the order of its files: a file, a folder, or a pattern of file names (`c4-train.0000*.gz`).
// Files are plain or compressed by gzip.
//
//   NAME.json, .jsonl (.gz)   JSON lines, such as C4's shards: each line an object, whose "text" is a text
//   any other name            plain text: its paragraphs, parted by lines with nothing but spaces
//
// Of a folder, the files with these names or .txt (.gz) are read; of it and of a pattern, in the order of their names.
// Texts are UTF-8; empty ones are left out.
//
// Throws UsageError that names the file and the line: nothing there, damaged gzip, no JSON object, no "text" in it, no
// UTF-8, no text at all.
std::vector<std::string> read_corpus(const std::string& corpus, int64_t max_bytes = corpus_bytes);

}  // namespace recite
