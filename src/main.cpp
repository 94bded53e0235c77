#include <malloc.h>

#include <climits>

#include "commands/dispatch.h"

namespace {

// A step's tensors come and go. By default glibc maps each large one anew, and the page faults take up to a quarter of
// a step: here memory that was freed is kept for the next step.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace

int main(int count, char** words) {
  keep_freed_memory();
  return recite::run_program({words + 1, words + count});
}
