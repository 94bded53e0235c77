// How attention's kernels for Hopper share a multiprocessor. A grid has a block for each, which takes items - a tile
// of one head's own rows - until none is left. Of the first warpgroup a thread has tiles copied: those of own rows
// and, in stages, those of the other rows that they meet; three of its warps, in turns, prepare stages that have
// arrived: they turn queries or keys (RoPE) and bring the sums of queries. The other warpgroups compute, each with 64
// of the own rows.
#pragma once

#include "kernels/attention/attention_work.cuh"
#include "kernels/attention/warpgroup.cuh"

namespace recite::kernels {

constexpr int stage_rows = 64;  // of a tile of the rows that are gone through

// The next item for the caller's block, or -1. Blocks come for items when they have time, so that they end together
// however items differ, and one that begins late finds the work done. Each comes once more than it gets one: then the
// counter is 0 again.
__device__ inline int take_item(unsigned* counter, int items) {
  const auto item = static_cast<int>(atomicInc(counter, items + gridDim.x - 1));
  return item < items ? item : -1;
}

// Where a role is in the ring of stages.
template <int Stages>
struct Stage {
  int at = 0, turn = 0;

  __device__ void next() {
    if (++at < Stages) return;
    at = 0;
    ++turn;
  }
  __device__ int before() const { return (at > 0 ? at : Stages) - 1; }
};

// A lane arrives for its warp. compute-sanitizer's racecheck does not see that the others' accesses come before, by
// __syncwarp(): for it, build with -DRECITE_EVERY_LANE_ARRIVES.
#ifdef RECITE_EVERY_LANE_ARRIVES
constexpr int arrivals_of_warp = 32;
#else
constexpr int arrivals_of_warp = 1;
#endif
__device__ inline void arrive_of_warp(Barrier& barrier) {
  __syncwarp();
  if (threadIdx.x % 32 < arrivals_of_warp) barrier.arrive();
}

constexpr int preparing_warps = 3;  // all of the first warpgroup but its first

// An item: own rows from time `own` on, and the tiles [first, last) of the rows that some of them meet. Of a head those
// with most work, but for its window, come first.
template <int OwnRows>
struct PipelineItem {
  WorkItem work;
  Band band;
  int own, first, last;

  __host__ __device__ static int per_head(const AttentionProblem& problem) {
    return (problem.time + OwnRows - 1) / OwnRows;
  }
  __host__ __device__ static int count(const AttentionProblem& problem) {
    return problem.batch * problem.heads * per_head(problem);
  }
  __device__ PipelineItem(const AttentionProblem& problem, int index, bool of_queries)
      : work(problem, per_head(problem), index) {
    const int window = Band::window(problem, work.head);
    band = of_queries ? Band::of_query(window) : Band::of_key(window);
    own = (of_queries ? per_head(problem) - 1 - work.rank : work.rank) * OwnRows;
    first = band.first_tile<stage_rows>(own);
    last = band.last_tile<stage_rows>(own, OwnRows, problem.time);
  }
};

// A pipeline with `Computing` warpgroups and `OwnTiles` tiles of own rows at a time. In a stage are two tiles, of which
// the first is to be turned.
template <int D_, int Computing, int OwnTiles, int Stages, int ComputeRegisters, int CopyRegisters>
struct Pipeline {
  static constexpr int D = D_, computing = Computing, own_rows = Computing * warpgroup_rows;
  static constexpr int stages = Stages, threads = (Computing + 1) * warpgroup_threads;
  static constexpr int compute_registers = ComputeRegisters, copy_registers = CopyRegisters;
  // So that a stage is always prepared by the same warp, which then waits for each of its completions and cannot
  // mistake one for the one after next.
  static_assert(Stages % preparing_warps == 0);

  using OwnTile = SwizzledTile<D, own_rows>;
  using StageTile = SwizzledTile<D, stage_rows>;
  using Item = PipelineItem<own_rows>;

  struct Shared {
    alignas(1024) unsigned char own[2][OwnTiles][OwnTile::bytes];
    alignas(1024) unsigned char stage[Stages][2][StageTile::bytes];
    alignas(16) float sums[Stages][2][stage_rows];
    int item[2];
    // `arrived` has stages that are to be prepared. `own_free`: an item's own tiles are done with, and its number read,
    // which is all that preparing warps do with either.
    Barrier arrived[Stages], full[Stages], empty[Stages], item_known[2], own_free[2];

    __device__ void start(bool preparing) {
      if (threadIdx.x == 0) {
        for (int s = 0; s < Stages; ++s) {
          arrived[s].start(1);
          full[s].start(preparing ? 32 : 1);
          empty[s].start(Computing * 4 * arrivals_of_warp);
        }
        for (int i = 0; i < 2; ++i) {
          item_known[i].start(1);
          own_free[i].start((Computing * 4 + (preparing ? preparing_warps : 0)) * arrivals_of_warp);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");  // copies see them
      }
      __syncthreads();
    }
    // The block's item `number`, or -1 when it has no more.
    __device__ int item_of(int number) {
      item_known[number % 2].wait(number / 2);
      return item[number % 2];
    }
  };

  // One thread: load_own(item, tile number, tile, first row, barrier) and load_stage(item, time, tile number, ...)
  // start the copies of 64 rows.
  template <class LoadOwn, class LoadStage>
  __device__ static void copy(const AttentionProblem& problem, bool of_queries, bool preparing, Shared& shared,
                              const LoadOwn& load_own, const LoadStage& load_stage) {
    Stage<Stages> stage;
    int next = take_item(problem.items_taken, Item::count(problem));
    for (int number = 0;; ++number) {
      const int index = next;
      shared.own_free[number % 2].wait(number / 2 - 1);
      shared.item[number % 2] = index;
      shared.item_known[number % 2].arrive();
      if (index < 0) break;
      next = take_item(problem.items_taken, Item::count(problem));
      const Item item(problem, index, of_queries);
      for (int t = item.first; t < item.last; ++t, stage.next()) {
        shared.empty[stage.at].wait(stage.turn - 1);
        Barrier& arrived = (preparing ? shared.arrived : shared.full)[stage.at];
        const bool own = t == item.first;  // own rows come with the first stage
        arrived.arrive_and_expect(2 * StageTile::bytes + (own ? OwnTiles * OwnTile::bytes : 0));
        if (own)
          for (int tile = 0; tile < OwnTiles; ++tile)
            for (int first = 0; first < own_rows; first += warpgroup_rows)
              load_own(item, tile, shared.own[number % 2][tile], first, arrived);
        for (int tile = 0; tile < 2; ++tile)
          load_stage(item, t * stage_rows, tile, shared.stage[stage.at][tile], arrived);
      }
    }
  }

  // Preparing warps: one(item, time, stage, wait) calls wait() until the stage has arrived.
  template <class PrepareStage>
  __device__ static void prepare(const AttentionProblem& problem, bool of_queries, Shared& shared,
                                 const PrepareStage& one) {
    Stage<Stages> stage;
    int until = threadIdx.x / 32 - 1;  // this warp's turn
    for (int number = 0, index; (index = shared.item_of(number)) >= 0; ++number) {
      arrive_of_warp(shared.own_free[number % 2]);
      const Item item(problem, index, of_queries);
      for (int t = item.first; t < item.last; ++t, stage.next()) {
        if (--until >= 0) continue;
        until = preparing_warps - 1;
        one(item, t * stage_rows, stage.at, [&] { shared.arrived[stage.at].wait(stage.turn); });
        show_to_products();
        shared.full[stage.at].arrive();
      }
    }
  }

  // A computing warpgroup passes stages that its rows have no use for.
  __device__ static void skip(Shared& shared, Stage<Stages>& stage, int count) {
    for (; count > 0; --count, stage.next()) {
      shared.full[stage.at].wait(stage.turn);
      arrive_of_warp(shared.empty[stage.at]);
    }
  }
};

// A computing warpgroup's part of an item: 64 rows from time `row` on, and the tiles [begin, end) that they meet; none,
// when they are after the last time.
struct WarpgroupPart {
  int first, row, begin, end;  // `first` within the item

  template <class Item>
  __device__ WarpgroupPart(const AttentionProblem& problem, const Item& item, int part)
      : first(part * warpgroup_rows),
        row(item.own + first),
        begin(row < problem.time ? item.band.template first_tile<stage_rows>(row) : item.last),
        end(row < problem.time ? item.band.template last_tile<stage_rows>(row, warpgroup_rows, problem.time)
                               : item.last) {}
  __device__ bool exists(const AttentionProblem& problem) const { return row < problem.time; }
};

// The caller's warp's first row in its warpgroup.
__device__ inline int row_of_warp() { return threadIdx.x % warpgroup_threads / 32 * 16; }

// A warp turns rows first .. first + rows - 1 of a tile that begins at time `time`, once wait() is over. Angles come
// from afar: the first are asked for before.
template <int Width, class Tile, class Element, class Wait>
__device__ void turn_rows_by(const AttentionProblem& problem, unsigned char* tile, int time, int first, int rows,
                             const Wait& wait) {
  struct alignas(Width * sizeof(Element)) Piece {
    Element at[Width];
  };
  struct alignas(Width * sizeof(float)) AnglePiece {
    float at[Width];
  };
  const int half = problem.rotary / 2, pieces = half / Width, lane = threadIdx.x % 32;
  const Angles angles = Angles::at(problem, time + first);
  int i = lane, row = first + lane / pieces, piece = lane % pieces;
  const int count = min(rows, problem.time - time - first) * pieces, more_rows = 32 / pieces, more = 32 % pieces;
  for (bool waited = false; i < count || !waited;) {
    AnglePiece cos{}, sin{};
    if (i < count) {
      cos = *reinterpret_cast<const AnglePiece*>(angles.cos + i * Width);
      sin = *reinterpret_cast<const AnglePiece*>(angles.sin + i * Width);
    }
    if (!waited) wait();
    waited = true;
    if (i >= count) break;
    Piece &one = *Tile::template at<Piece>(tile, row, piece * Width),
          &other = *Tile::template at<Piece>(tile, row, piece * Width + half);
    Piece a = one, b = other;
    turn_piece(a, b, cos, sin);
    one = a;
    other = b;
    i += 32, row += more_rows, piece += more;
    if (piece >= pieces) piece -= pieces, ++row;
  }
}
template <class Tile, class Element, class Wait>
__device__ void turn_rows(const AttentionProblem& problem, unsigned char* tile, int time, int first, int rows,
                          const Wait& wait) {
  const int half = problem.rotary / 2;
  if (half == 0)
    wait();
  else if (half % 4 == 0)
    turn_rows_by<4, Tile, Element>(problem, tile, time, first, rows, wait);
  else if (half % 2 == 0)
    turn_rows_by<2, Tile, Element>(problem, tile, time, first, rows, wait);
  else
    turn_rows_by<1, Tile, Element>(problem, tile, time, first, rows, wait);
}

// Turns a computing warp's 16 own rows, from `first` on, of a tile from `time` on, and doubles what counts twice. All
// of a warpgroup together, once wait() is over.
template <int Rows, int D, class Element, class Wait>
__device__ void prepare_own_rows(const AttentionProblem& problem, unsigned char* tile, int time, int first,
                                 const Wait& wait) {
  using Tile = SwizzledTile<D, Rows>;
  turn_rows<Tile, Element>(problem, tile, time, first, 16, wait);
  if (problem.rotary == 0 && problem.twice_from == D) return;
  const auto at = [tile](int row, int column) { return Tile::template at<Element>(tile, row, column); };
  double_rows<D>(problem, at, first, min(16, problem.time - time - first));
  show_to_products();
  wait_for_warpgroup();
}

// Rounds a warp's fragment times factor(e / 2, column) into its rows, from `first` on, of a tile.
template <int Rows, int D, class Element, class Factor>
__device__ void store_fragment_swizzled(const Fragment<D / 8>& from, unsigned char* tile, int first, Factor factor) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half)
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      const int column = n * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t*>(tile + SwizzledTile<D, Rows>::offset(first + half * 8 + lane / 4, column)) =
          packed<Element>(from[n][2 * half] * factor(half, column), from[n][2 * half + 1] * factor(half, column + 1));
    }
}

}  // namespace recite::kernels
