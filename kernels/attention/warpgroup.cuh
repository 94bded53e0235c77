// What Hopper alone has (sm_90a): products by warpgroups of 4 warps on tiles in shared memory (wgmma; PTX ISA,
// "Asynchronous Warpgroup Level Matrix Multiply-Accumulate"), copies of tiles by the tensor memory accelerator, and
// barriers on which those that copy and those that compute wait for each other (mbarrier).
#pragma once

#include <cuda.h>

#include "kernels/attention/attention_tile.cuh"

namespace recite::kernels {

constexpr int warpgroup_threads = 128, warpgroup_rows = 64;

// The number of the caller's warpgroup, as the compiler knows to be the same for a whole warp.
__device__ inline int warpgroup() { return __shfl_sync(~0u, threadIdx.x / warpgroup_threads, 0); }

// Rows of D 16-bit numbers in panels of 64 columns, of which the last may have 16. The 16-byte pieces of a panel's row
// change places by the row, so that 8 rows on end lie in different banks: the swizzles that wgmma knows. A tile begins
// at a multiple of 1024 bytes.
template <int D, int Rows>
struct SwizzledTile {
  static constexpr int panels = (D + 63) / 64, bytes = Rows * D * 2;
  __host__ __device__ static constexpr int panel_columns(int panel) { return panel * 64 + 64 <= D ? 64 : D % 64; }
  __host__ __device__ static constexpr int panel_offset(int panel) { return panel * Rows * 64 * 2; }

  // Bytes from the tile's begin to a number.
  __device__ static int offset(int row, int column) {
    const int panel = column / 64, row_bytes = panel_columns(panel) * 2;
    const int swizzle = (row * row_bytes / 128 & (row_bytes / 16 - 1)) * 16;
    return panel_offset(panel) + row * row_bytes + (column % 64 * 2 ^ swizzle);
  }
  template <class Element>
  __device__ static Element* at(unsigned char* tile, int row, int column) {
    return reinterpret_cast<Element*>(tile + offset(row, column));
  }

  // Operands (matrix descriptors) of 16 numbers of the sum over k = 16 step ..: of a tile whose rows are the product's
  // rows or columns, from `first` on, a multiple of 8; and of one whose rows are summed over, where a panel gives the
  // product's columns.
  __device__ static uint64_t rows_operand(uint32_t tile, int step, int first = 0) {
    const int panel = step / 4;
    return operand(tile + first * panel_columns(panel) * 2, panel_offset(panel) + step % 4 * 32, panel);
  }
  __device__ static uint64_t summed_operand(uint32_t tile, int step, int panel) {
    return operand(tile, panel_offset(panel) + step * 16 * panel_columns(panel) * 2, panel);
  }

 private:
  // The lower half is the address in units of 16 bytes, below 2^14, and a distance that is not used; the upper one the
  // distance of 8 rows, and the swizzle.
  __device__ static uint64_t operand(uint32_t address, int offset, int panel) {
    const int columns = panel_columns(panel);
    const uint32_t swizzle = columns == 64 ? 1 : 3;
    const uint32_t lower = (address >> 4) + (offset >> 4) + (1 << 16), upper = (columns * 16 >> 4) | swizzle << 30;
    return static_cast<uint64_t>(upper) << 32 | lower;
  }
};

// Products are asynchronous: between begin_products() and wait_for_products() their sums and operands in registers are
// not to be touched.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_group_of_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
__device__ inline void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }
// Keeps the compiler from moving uses of sums that are ready to before the wait.
template <int N>
__device__ void settle(Fragment<N>& sums) {
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) asm volatile("" : "+f"(sums[n][e])::"memory");
}

#define RECITE_SUMS_4(c, n) "+f"((c)[n][0]), "+f"((c)[n][1]), "+f"((c)[n][2]), "+f"((c)[n][3])
#define RECITE_SUMS_8(c) RECITE_SUMS_4(c, 0), RECITE_SUMS_4(c, 1)
#define RECITE_SUMS_32(c)                                                                               \
  RECITE_SUMS_8(c), RECITE_SUMS_4(c, 2), RECITE_SUMS_4(c, 3), RECITE_SUMS_4(c, 4), RECITE_SUMS_4(c, 5), \
      RECITE_SUMS_4(c, 6), RECITE_SUMS_4(c, 7)
#define RECITE_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define RECITE_NAMES_32                                                                             \
  RECITE_NAMES_8                                                                                    \
  ", %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, " \
  "%27, %28, %29, %30, %31"
#define RECITE_WGMMA(columns, type, sums, operands, add) \
  "{.reg .pred add; setp.ne.b32 add, " add               \
  ", 0;\n"                                               \
  "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." type "." type " {" sums "}, " operands ";}"

// c (64, 64) = a (64, 16) b (16, 64), with `add` +=; both operands' rows are the product's.
template <class Element>
__device__ void start_product(float (*c)[4], uint64_t a, uint64_t b, int add) {
  if constexpr (std::is_same_v<Element, __half>)
    asm volatile(RECITE_WGMMA("64", "f16", RECITE_NAMES_32, "%32, %33, add, 1, 1, 0, 0", "%34")
                 : RECITE_SUMS_32(c)
                 : "l"(a), "l"(b), "r"(add));
  else
    asm volatile(RECITE_WGMMA("64", "bf16", RECITE_NAMES_32, "%32, %33, add, 1, 1, 0, 0", "%34")
                 : RECITE_SUMS_32(c)
                 : "l"(a), "l"(b), "r"(add));
}

// c (64, Columns) += a (64, 16), in registers as of mma m16n8k16, b (16, Columns), whose rows are summed over.
template <int Columns, class Element>
__device__ void start_weighted(float (*c)[4], const uint32_t (&a)[4], uint64_t b) {
  static_assert(Columns == 64 || Columns == 16);
  constexpr bool half = std::is_same_v<Element, __half>;
  if constexpr (Columns == 64 && half)
    asm volatile(RECITE_WGMMA("64", "f16", RECITE_NAMES_32, "{%32, %33, %34, %35}, %36, add, 1, 1, 1", "1")
                 : RECITE_SUMS_32(c)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else if constexpr (Columns == 64)
    asm volatile(RECITE_WGMMA("64", "bf16", RECITE_NAMES_32, "{%32, %33, %34, %35}, %36, add, 1, 1, 1", "1")
                 : RECITE_SUMS_32(c)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else if constexpr (half)
    asm volatile(RECITE_WGMMA("16", "f16", RECITE_NAMES_8, "{%8, %9, %10, %11}, %12, add, 1, 1, 1", "1")
                 : RECITE_SUMS_8(c)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
  else
    asm volatile(RECITE_WGMMA("16", "bf16", RECITE_NAMES_8, "{%8, %9, %10, %11}, %12, add, 1, 1, 1", "1")
                 : RECITE_SUMS_8(c)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef RECITE_WGMMA
#undef RECITE_NAMES_32
#undef RECITE_NAMES_8
#undef RECITE_SUMS_32
#undef RECITE_SUMS_8
#undef RECITE_SUMS_4

// to (64, 64) = 64 rows of `left`, from `left_row` on, times the 64 rows of `right`, over their D numbers.
template <class Element, class Left, class Right, int D>
__device__ void start_product_of_rows(Fragment<8>& to, uint32_t left, int left_row, uint32_t right) {
#pragma unroll
  for (int k = 0; k < D / 16; ++k)
    start_product<Element>(to, Left::rows_operand(left, k, left_row), Right::rows_operand(right, k), k > 0);
}

// A fragment of (64, 64) weights as the left operands of 4 steps.
using PackedWeights = uint32_t[4][4];
template <class Element>
__device__ void pack_weights(const Fragment<8>& from, PackedWeights& to) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      to[k][i] = packed<Element>(from[2 * k + i / 2][i % 2 * 2], from[2 * k + i / 2][i % 2 * 2 + 1]);
}

// to (64, D) += weights (64, 64) times the 64 rows of `right`.
template <class Element, class Right, int D>
__device__ void start_weighted_rows(Fragment<D / 8>& to, const PackedWeights& weights, uint32_t right) {
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int panel = 0; panel < Right::panels; ++panel) {
      if (panel * 64 + 64 <= D)
        start_weighted<64, Element>(to + panel * 8, weights[k], Right::summed_operand(right, k, panel));
      else
        start_weighted<D % 64 == 0 ? 64 : D % 64, Element>(to + panel * 8, weights[k],
                                                           Right::summed_operand(right, k, panel));
    }
}

// Products and copies of tiles see what this thread wrote to shared memory, once they follow through a barrier.
__device__ inline void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Threads of one warpgroup; barrier 0 is __syncthreads.
__device__ inline void wait_for_warpgroup() {
  __syncwarp();
  asm volatile("bar.sync %0, 128;" ::"r"(threadIdx.x / warpgroup_threads + 1) : "memory");
}

// Takes registers from the other warpgroups, or leaves them some: all warps of a warpgroup.
template <int Registers>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ void leave_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// A barrier in shared memory, which `count` arrivals complete, again and again.
class Barrier {
 public:
  __device__ uint32_t address() { return shared_address(&state_); }
  __device__ void start(int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(count) : "memory");
  }
  __device__ void arrive() { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory"); }
  // Arrives, and has the completion wait for copies of so many bytes.
  __device__ void arrive_and_expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()), "r"(bytes) : "memory");
  }
  // Until completion number `completion`, from 0 on, has come; number -1 always has. The one before it must have come,
  // the one after the next not.
  __device__ void wait(int completion) {
    uint32_t done = 0;
    while (!done)
      asm volatile(
          "{.reg .pred done; mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2; selp.u32 %0, 1, 0, done;}"
          : "=r"(done)
          : "r"(address()), "r"(completion & 1)
          : "memory");
  }

 private:
  uint64_t state_;
};

// How 64 rows of D numbers of an array (B, T, heads, D) are copied, panel by panel: those of one head, from one time
// on. Rows after the last time are read as zeros, and not written. One thread starts a copy.
template <int D>
struct TileMaps {
  static constexpr int count =
      D % 64 == 0 ? 1 : 2;  // one for all panels of 64 columns, one for the last if it has less
  CUtensorMap maps[count];

  // To a SwizzledTile<D, Rows>, its rows from `first` on; `barrier` expects the bytes.
  template <int Rows>
  __device__ void load(unsigned char* tile, int first, int batch, int time, int head, Barrier& barrier) const {
    using Tile = SwizzledTile<D, Rows>;
#pragma unroll
    for (int panel = 0; panel < Tile::panels; ++panel)
      asm volatile(
          "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
          "[%6];" ::"r"(address<Tile>(tile, first, panel)),
          "l"(map<Tile>(panel)), "r"(panel * 64), "r"(head), "r"(time), "r"(batch), "r"(barrier.address())
          : "memory");
  }
  // To the second-level cache.
  __device__ void prefetch(int batch, int time, int head) const {
    using Tile = SwizzledTile<D, 64>;
#pragma unroll
    for (int panel = 0; panel < Tile::panels; ++panel)
      asm volatile("cp.async.bulk.prefetch.tensor.4d.L2.global [%0, {%1, %2, %3, %4}];" ::"l"(map<Tile>(panel)),
                   "r"(panel * 64), "r"(head), "r"(time), "r"(batch)
                   : "memory");
  }
  // From there. The tile may be written again after end_stores(), by which the calling thread's stores have read
  // theirs.
  template <int Rows>
  __device__ void store(unsigned char* tile, int first, int batch, int time, int head) const {
    using Tile = SwizzledTile<D, Rows>;
#pragma unroll
    for (int panel = 0; panel < Tile::panels; ++panel)
      asm volatile(
          "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(map<Tile>(panel)),
          "r"(panel * 64), "r"(head), "r"(time), "r"(batch), "r"(address<Tile>(tile, first, panel))
          : "memory");
  }
  __device__ static void end_stores() {
    asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
  }

 private:
  template <class Tile>
  __device__ static uint32_t address(unsigned char* tile, int first, int panel) {
    return shared_address(tile) + Tile::panel_offset(panel) + first * Tile::panel_columns(panel) * 2;
  }
  template <class Tile>
  __device__ const CUtensorMap* map(int panel) const {
    return &maps[Tile::panel_columns(panel) == 64 ? 0 : count - 1];
  }
};

}  // namespace recite::kernels
