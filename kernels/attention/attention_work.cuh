// What the tensor-core kernels of attention share: who does what, what is visible, and positions.
#pragma once

#include "kernels/attention/attention_tensor.h"
#include "kernels/attention/attention_tile.cuh"

namespace recite::kernels {

constexpr float log2_of_e = 1.4426950408889634f;

__device__ inline float power_of_2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A part of the work, a block's or one of its items: a tile of one head of one row, number `index` of all. Groups of
// `neighbors` heads follow one another; within a group the tiles with the most work, rank 0, come first.
struct WorkItem {
  int batch, head, rank;

  __device__ WorkItem(const AttentionProblem& problem, int ranks, int index = blockIdx.x) {
    const int group_size = problem.neighbors * ranks, group = index / group_size;
    const int first = group * problem.neighbors, at = index % group_size;
    const int members = min(problem.neighbors, problem.batch * problem.heads - first);
    rank = at / members;
    batch = (first + at % members) / problem.heads;
    head = (first + at % members) % problem.heads;
  }
  // The head's queries (0), keys (1) or values (2) at time t, in an array (B, T, H, 3, d) or, with one part, (B, T, H,
  // d).
  template <int D, int Parts = 3>
  __device__ int64_t at(const AttentionProblem& problem, int t, int part) const {
    return (((static_cast<int64_t>(batch) * problem.time + t) * problem.heads + head) * Parts + part) * D;
  }
  __device__ int64_t row_of_sums(const AttentionProblem& problem) const {
    return (static_cast<int64_t>(batch) * problem.heads + head) * problem.time;
  }
};

// Which columns a row meets: low <= column - row <= high. Rows are queries, or keys in the pass for their gradients.
struct Band {
  int low, high;

  __device__ static int window(const AttentionProblem& problem, int head) {
    if (!problem.window) return problem.time;
    return static_cast<int>(max(int64_t{0}, min(problem.window[head], static_cast<int64_t>(problem.time))));
  }
  __device__ static Band of_query(int window) { return {-window, 0}; }
  __device__ static Band of_key(int window) { return {0, window}; }

  // Of a tile's columns from `column` on: the groups that rows row .. row + rows - 1 meet, and whether they meet all.
  template <int Columns>
  __device__ Groups groups(int row, int rows, int column) const {
    return {max(0, (row + low - column) >> 4), min(Columns / 16, ((row + rows - 1 + high - column) >> 4) + 1)};
  }
  template <int Columns>
  __device__ bool all(int row, int rows, int column) const {
    return column + Columns - 1 <= row + high && column >= row + rows - 1 + low;
  }
  // Tiles of columns that the rows meet: [first_tile, last_tile).
  template <int Columns>
  __device__ int first_tile(int row) const {
    return max(0, row + low) / Columns;
  }
  template <int Columns>
  __device__ int last_tile(int row, int rows, int time) const {
    return (min(time, row + rows + high) + Columns - 1) / Columns;
  }

  // Adds slope (column - row) to a warp's scores, and gives those outside the band -infinity.
  template <bool Part, int N>
  __device__ void apply(Fragment<N>& scores, float slope, int row, int column) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int apart = column + lane % 4 * 2 - (row + half * 8 + lane / 4);
      if (slope != 0) {
        const float bias = slope * static_cast<float>(apart);
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i) scores[n][2 * half + i] += bias + slope * static_cast<float>(8 * n + i);
      }
      if (Part) {
        const int from = low - apart, to = high - apart;
#pragma unroll
        for (int n = 0; n < N; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            if (8 * n + i < from || 8 * n + i > to) scores[n][2 * half + i] = -INFINITY;
      }
    }
  }
};

// Cosines and sines of a tile's rows: those of row r begin at r R/2.
struct Angles {
  const float *cos, *sin;

  // Where they lie in global memory, for rows from time `time` on.
  __device__ static Angles at(const AttentionProblem& problem, int time) {
    const int64_t first = static_cast<int64_t>(time) * (problem.rotary / 2);
    return {problem.cos + first, problem.sin + first};
  }
};

// Starts to copy the angles of a warp's rows of a tile, whose first is of time `time`, to shared memory; zeros after
// the last time. A piece that the arrays end in is copied number by number: a copy of 16 bytes, of which fewer count,
// still reads past the end in the eyes of compute-sanitizer.
template <int Rows>
__device__ void load_angles(const AttentionProblem& problem, float* to, int time) {
  const int half = problem.rotary / 2, first = first_row_of_warp<Rows>() * half;
  const Angles from = Angles::at(problem, time);
  const int64_t left = (problem.time - static_cast<int64_t>(time)) * half;  // numbers before the end of the arrays
  const auto copy = [&](float* piece, const float* whole, int i) {
    if (i + 4 <= left || i >= left) {
      copy_async_16(piece, whole + (i < left ? i : 0), i < left ? 16 : 0);
    } else {
      for (int k = 0; k < 4; ++k) copy_async_4(piece + k, whole + (i + k < left ? i + k : 0), i + k < left ? 4 : 0);
    }
  };
  for (int i = first + threadIdx.x % 32 * 4; i < first + rows_of_warp<Rows> * half; i += 32 * 4) {
    copy(to + i, from.cos, i);
    copy(to + Rows * half + i, from.sin, i);
  }
}

// Rotates dimensions on end and those half a rotation on.
template <class Piece, class AnglePiece>
__device__ void turn_piece(Piece& a, Piece& b, const AnglePiece& cos, const AnglePiece& sin, float sign = 1) {
  using Element = std::remove_reference_t<decltype(a.at[0])>;
#pragma unroll
  for (int k = 0; k < static_cast<int>(sizeof(a.at) / sizeof(Element)); ++k) {
    const float x = static_cast<float>(a.at[k]), y = static_cast<float>(b.at[k]), s = sign * sin.at[k];
    a.at[k] = Element(x * cos.at[k] - y * s);
    b.at[k] = Element(y * cos.at[k] + x * s);
  }
}

// Rotates `Width` dimensions on end, and those half a rotation on, of rows first .. first + rows - 1 of a tile, whose
// numbers are at(row, column).
template <int Width, class At>
__device__ void rotate_pieces(int half, const At& at, const Angles& angles, int first, int rows, float sign) {
  using Element = std::remove_pointer_t<decltype(at(0, 0))>;
  struct alignas(Width * sizeof(Element)) Piece {
    Element at[Width];
  };
  struct alignas(Width * sizeof(float)) AnglePiece {
    float at[Width];
  };
  const int pieces = half / Width;
  for (int i = threadIdx.x % 32; i < rows * pieces; i += 32) {
    const int row = first + i / pieces, c = i % pieces * Width;
    const AnglePiece cos = *reinterpret_cast<const AnglePiece*>(angles.cos + row * half + c),
                     sin = *reinterpret_cast<const AnglePiece*>(angles.sin + row * half + c);
    Piece &one = *reinterpret_cast<Piece*>(at(row, c)), &other = *reinterpret_cast<Piece*>(at(row, c + half));
    Piece a = one, b = other;
    turn_piece(a, b, cos, sin, sign);
    one = a;
    other = b;
  }
}

// Rotates a warp's rows first .. first + rows - 1, which this warp has filled; back with sign -1.
template <class At>
__device__ void rotate_rows(const AttentionProblem& problem, const At& at, const Angles& angles, int first, int rows,
                            float sign) {
  if (problem.rotary == 0) return;
  __syncwarp();
  const int half = problem.rotary / 2;
  if (half % 4 == 0)
    rotate_pieces<4>(half, at, angles, first, rows, sign);
  else if (half % 2 == 0)
    rotate_pieces<2>(half, at, angles, first, rows, sign);
  else
    rotate_pieces<1>(half, at, angles, first, rows, sign);
}

// Doubles the dimensions that count twice of a warp's rows of queries or keys: of one factor of the products is enough.
template <int D, class At>
__device__ void double_rows(const AttentionProblem& problem, const At& at, int first, int rows) {
  const int twice = D - problem.twice_from;
  if (twice == 0) return;
  __syncwarp();
  for (int i = threadIdx.x % 32; i < rows * twice; i += 32) {
    auto& x = *at(first + i / twice, problem.twice_from + i % twice);
    x = std::remove_reference_t<decltype(x)>(2 * static_cast<float>(x));
  }
}

// The same for a warp's rows of a tile of which `rows` have a time.
template <int Rows, int D, class Element>
__device__ void rotate_tile(const AttentionProblem& problem, Element* tile, const Angles& angles, int rows,
                            float sign = 1) {
  const int first = first_row_of_warp<Rows>();
  rotate_rows(
      problem, [tile](int row, int column) { return tile + row * tile_stride<D> + column; }, angles, first,
      min(rows_of_warp<Rows>, rows - first), sign);
}

// Rotates a warp's rows of the block's own queries or keys, and doubles the dimensions that count twice.
template <int Rows, int D, class Element>
__device__ void prepare_own_tile(const AttentionProblem& problem, Element* tile, int time) {
  rotate_tile<Rows, D>(problem, tile, Angles::at(problem, time), problem.time - time);
  double_rows<D>(
      problem, [tile](int row, int column) { return tile + row * tile_stride<D> + column; }, first_row_of_warp<Rows>(),
      rows_of_warp<Rows>);
}

}  // namespace recite::kernels
