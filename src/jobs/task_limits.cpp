#include "jobs/task_limits.h"

#include <algorithm>

namespace recite {

namespace {

// The longest answer that can be asked for, then cut to length_answer.
int max_answer(const TaskSpec& task, int length) {
  const int uncut = is_lookup(task.kind) ? length - task.n_gram : length;
  return task.length_answer > 0 ? std::min(task.length_answer, uncut) : uncut;
}

}  // namespace

bool reads_text(TaskKind kind) {
  return kind == TaskKind::c4_copy || kind == TaskKind::phone_book || kind == TaskKind::squad;
}

bool is_lookup(TaskKind kind) { return kind == TaskKind::prefix_ngram || kind == TaskKind::suffix_ngram; }

bool uses_n_gram(TaskKind kind) { return is_lookup(kind) || kind == TaskKind::duplicate_ngram; }

int min_length(const TaskSpec& task) {
  if (is_lookup(task.kind)) {
    const bool any = task.ngram_key == NgramKey::any;
    return task.n_gram + (any ? task.length_answer + 3 : std::max(task.length_answer, 1));
  }
  return task.kind == TaskKind::duplicate_ngram ? task.n_gram + 1 : 1;
}

int max_tokens(const TaskSpec& task, int length) {
  const int key = is_lookup(task.kind) ? task.n_gram : 0;
  const int marks = task.kind == TaskKind::prefix_ngram ? 4 : 3;  // `$`, `.`, and one `|` or two
  return marks + key + length + max_answer(task, length);
}

}  // namespace recite
