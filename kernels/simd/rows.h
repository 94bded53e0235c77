// Rows of an array shared out among threads, in chunks that do not depend on their number; and sums over them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/simd/workspace.h"

namespace recite::kernels {

constexpr int64_t chunk_rows = 64;
inline int64_t row_chunks(int64_t rows) { return (rows + chunk_rows - 1) / chunk_rows; }

// Calls body(chunk, first, last) for the rows [first, last) of each chunk. Less work than `worth_threads` numbers is
// done sooner than other threads are woken: some 50 microseconds.
template <class Body>
void for_each_chunk(int64_t rows, int64_t columns, const Body& body) {
  constexpr int64_t worth_threads = 1 << 16;
#pragma omp parallel for schedule(static) if (rows * columns >= worth_threads)
  for (int64_t chunk = 0; chunk < row_chunks(rows); ++chunk)
    body(chunk, chunk * chunk_rows, std::min(rows, (chunk + 1) * chunk_rows));
}

// to[c] = sum over chunks, in order, of from[chunk, c], whose rows are `leading` apart.
template <class Real>
void add_chunks(const Real* from, int64_t chunks, int64_t leading, int64_t columns, Real* to) {
  std::fill_n(to, columns, Real(0));
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int64_t c = 0; c < columns; ++c) to[c] += from[chunk * leading + c];
}

}  // namespace recite::kernels
