// How rows lie on the threads of a GPU, for the kernels of the residual norm.
//
// A group of warps has a row at a time; each of its threads has the same columns of all of them. A block's groups share
// nothing until the end.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/cuda/columns.cuh"
#include "kernels/residual_norm/residual_norm_cuda.h"

namespace recite::kernels {

constexpr int norm_pack = 4;             // columns of one access: 16 bytes of the stream
constexpr int widest_norm_packs = 8192;  // columns of packs at most
constexpr int most_warps = 32;           // of a block
constexpr int most_barriers = 15;        // a group of several warps waits at one of its own, the block at another
constexpr int most_norm_blocks = 132;    // an H100's multiprocessors: the sums' order may not depend on the device

struct NormLayout {
  int packs;    // of a thread
  int threads;  // of a group
  int groups;   // of a block
};

enum class NormPass { forward, backward };

// Threads of a block, by the packs of a thread: what the registers of a multiprocessor suffice for. With 768, a third
// group for rows of 1024 columns, the backward waits less where branches have 16 bits (a tenth faster on an H200; of
// float32 a tenth slower).
template <class Element, NormPass pass>
constexpr int norm_threads(int packs) {
  if (packs > 1) return 512;
  return pass == NormPass::backward && sizeof(Element) == 2 ? 768 : 640;
}

// The backward has sums of its columns in registers, five times; of narrow rows the forward has two packs, so that
// fewer warps have to add up.
inline int norm_packs(int64_t columns, NormPass pass) {
  if (pass == NormPass::forward && columns > 32 * norm_pack && columns <= 1024) return 2;
  return columns <= 640 * norm_pack ? 1 : columns <= 4096 ? 2 : 4;
}

// What a thread copies ahead to shared memory.
template <class Element, NormPass pass>
struct NormCopies {
  static constexpr int floats = pass == NormPass::forward ? 1 : 2;  // arrays of float32, beside two of Element
  static constexpr int row_bytes(int packs) {
    return packs * norm_pack * (floats * static_cast<int>(sizeof(float)) + 2 * static_cast<int>(sizeof(Element)));
  }
  // A block has 163 KiB on an A100; on smaller GPUs 99, where the forward's narrow rows are to fit, too. More stages
  // than four were not faster on an H100.
  static constexpr int stages(int packs) {
    const int memory = pass == NormPass::forward && packs <= 2 ? 96 * 1024 : 160 * 1024;
    return std::clamp(memory / (norm_threads<Element, pass>(packs) * row_bytes(packs)), 1, 4);
  }
  static constexpr int bytes(int packs) { return stages(packs) * row_bytes(packs); }
};

template <class Element, NormPass pass>
NormLayout norm_layout(int64_t columns) {
  const int packs = norm_packs(columns, pass), width = 32 * packs * norm_pack;
  const int threads = 32 * static_cast<int>((columns + width - 1) / width);
  const int groups = norm_threads<Element, pass>(packs) / threads;
  return {packs, threads, std::clamp(groups, 1, threads > 32 ? most_barriers : most_warps)};
}

template <class Element, NormPass pass>
int64_t norm_blocks(const ResidualNormShape& shape) {
  const int64_t groups = norm_layout<Element, pass>(shape.columns).groups;
  return std::min<int64_t>((shape.rows + groups - 1) / groups, most_norm_blocks);
}

// Whether the current device's blocks have the memory for that, which a block has `reserved` bytes of already.
template <class Element, NormPass pass>
bool has_room_for_copies(const char* what, int64_t columns, size_t reserved) {
  const NormLayout layout = norm_layout<Element, pass>(columns);
  const size_t bytes =
      reserved + static_cast<size_t>(layout.threads * layout.groups) * NormCopies<Element, pass>::bytes(layout.packs);
  return bytes <= static_cast<size_t>(device_attribute(what, cudaDevAttrMaxSharedMemoryPerBlockOptin));
}

inline void check_norm_shape(const ResidualNormShape& shape) {
  const auto refuse = [](const std::string& what) { throw std::invalid_argument("residual norm on the GPU: " + what); };
  if (shape.rows < 1 || shape.columns < 1) refuse("an empty array");
  if (shape.columns > 16384) refuse(std::to_string(shape.columns) + " columns, more than 16384");
  if (shape.norms < 1 || shape.norms > 2) refuse(std::to_string(shape.norms) + " norms, not 1 or 2");
}

// Calls f(packs of a thread, their size, threads of a block at most), each a std::integral_constant. Columns that are
// not aligned, or have no room to be copied ahead, are packs of one.
template <class Element, NormPass pass, class F>
void with_norm_layout(int64_t columns, bool packed, const F& f) {
  const auto call = [&](auto packs, auto threads) {
    using One = std::integral_constant<int, 1>;
    if (!packed) return f(std::integral_constant<int, packs() * norm_pack>(), One(), threads);
    if constexpr (threads() < 1024) return f(packs, std::integral_constant<int, norm_pack>(), threads);
  };
  const auto narrow = [&](auto packs) {
    call(packs, std::integral_constant<int, norm_threads<Element, pass>(packs())>());
  };
  const int packs = norm_packs(columns, pass);
  if (packs == 1) return narrow(std::integral_constant<int, 1>());
  if (packs == 2) return narrow(std::integral_constant<int, 2>());
  if (columns <= widest_norm_packs) return narrow(std::integral_constant<int, 4>());
  return call(std::integral_constant<int, 4>(), std::integral_constant<int, 1024>());
}

// Where a thread is.
struct NormPlace {
  int group, thread;  // of the block; of the group
  int threads, groups;

  __device__ explicit NormPlace(int threads_)
      : group(threadIdx.x / threads_),
        thread(threadIdx.x % threads_),
        threads(threads_),
        groups(blockDim.x / threads_) {}
  __device__ int64_t first_row() const { return static_cast<int64_t>(blockIdx.x) * groups + group; }
  __device__ int64_t row_step() const { return static_cast<int64_t>(gridDim.x) * groups; }
  template <int Size>
  __device__ int column(int pack) const {
    return (pack * threads + thread) * Size;
  }
};

// Adds over a group's threads; each of them gets the sums. Two turns of memory are enough: who writes the next but one
// sum has waited for all who read this one.
class GroupSum {
 public:
  using Memory = float[2][most_warps][2];
  __device__ GroupSum(const NormPlace& at, Memory& memory) : at_(at), memory_(memory) {}

  template <int Count>
  __device__ void operator()(float (&values)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; ++i)
#pragma unroll
      for (int lanes = 16; lanes > 0; lanes /= 2) values[i] += __shfl_xor_sync(~0u, values[i], lanes);
    if (at_.threads == 32) return;
    turn_ ^= 1;
    if (threadIdx.x % 32 == 0) {
#pragma unroll
      for (int i = 0; i < Count; ++i) memory_[turn_][threadIdx.x / 32][i] = values[i];
    }
    wait();
    const int first = at_.group * at_.threads / 32;
#pragma unroll
    for (int i = 0; i < Count; ++i) values[i] = memory_[turn_][first][i];
    for (int warp = first + 1; warp < first + at_.threads / 32; ++warp)
#pragma unroll
      for (int i = 0; i < Count; ++i) values[i] += memory_[turn_][warp][i];
  }

  // For a group that has one sum less than others of its block, before the block waits together: the racecheck of
  // compute-sanitizer goes by how many barriers a warp has passed, not by which, and reports races where there are
  // none.
  __device__ void pass() const {
    if (at_.threads > 32) wait();
  }

 private:
  __device__ void wait() const { asm volatile("bar.sync %0, %1;" ::"r"(at_.group + 1), "r"(at_.threads) : "memory"); }
  const NormPlace& at_;
  Memory& memory_;
  int turn_ = 0;
};

// What a kernel reads of every row. Null: absent.
template <class Element, int Floats>
struct NormRows {
  int64_t rows;
  int columns;
  const float* floats[Floats];
  const Element* elements[2];
};

// A group's rows, one after the other: a thread asks for its own packs of rows to come, which are copied to shared
// memory meanwhile, and nobody else reads them: it waits for its own copies alone. Packs of one are read where they
// are.
template <class Element, int Floats, int Packs, int Size>
class RowReader {
  using FloatPack = Pack<float, Size>;
  using ElementPack = Pack<Element, Size>;
  static constexpr bool staged = Size > 1;
  using Copies = NormCopies<Element, Floats == 1 ? NormPass::forward : NormPass::backward>;
  static constexpr int stages = staged ? Copies::stages(Packs) : 1;

 public:
  static constexpr int shared_bytes = staged ? Copies::bytes(Packs) : 0;  // of a thread

  __device__ RowReader(const NormRows<Element, Floats>& rows, const NormPlace& at, void* shared)
      : rows_(rows),
        at_(at),
        row_(at.first_row()),
        floats_(static_cast<FloatPack*>(shared) + threadIdx.x),
        elements_(
            reinterpret_cast<ElementPack*>(static_cast<FloatPack*>(shared) + stages * Packs * Floats * blockDim.x) +
            threadIdx.x) {
    for (int stage = 0; stage < stages; ++stage) request(row_ + stage * at.row_step(), stage);
  }

  __device__ bool has_row() const { return row_ < rows_.rows; }
  __device__ int64_t row() const { return row_; }
  // Before the row is read.
  __device__ void wait() const {
    if constexpr (staged) asm volatile("cp.async.wait_group %0;" ::"n"(stages - 1) : "memory");
  }
  // After the row was read.
  __device__ void advance() {
    request(row_ + stages * at_.row_step(), stage_);
    stage_ = stage_ + 1 < stages ? stage_ + 1 : 0;
    row_ += at_.row_step();
  }

  // A pack of an array that is not absent.
  __device__ void floats(int array, int p, float (&to)[Size]) const {
    if constexpr (staged)
      to_floats(*float_slot(stage_, array, p), to);
    else
      to_floats(load_pack<Size>(rows_.floats[array] + row_ * rows_.columns, column(p), rows_.columns), to);
  }
  __device__ void elements(int array, int p, float (&to)[Size]) const {
    if constexpr (staged)
      to_floats(*element_slot(stage_, array, p), to);
    else
      to_floats(load_pack<Size>(rows_.elements[array] + row_ * rows_.columns, column(p), rows_.columns), to);
  }

 private:
  __device__ int column(int p) const { return at_.column<Size>(p); }
  __device__ FloatPack* float_slot(int stage, int array, int p) const {
    return floats_ + ((stage * Packs + p) * Floats + array) * blockDim.x;
  }
  __device__ ElementPack* element_slot(int stage, int array, int p) const {
    return elements_ + ((stage * Packs + p) * 2 + array) * blockDim.x;
  }
  template <class Number>
  __device__ void copy(const Number* array, int64_t row, int p, Pack<Number, Size>* to) const {
    if (!array) return;
    const bool within = column(p) < rows_.columns;
    const Number* from = array + (within ? row * rows_.columns + column(p) : 0);
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
        "l"(from), "n"(sizeof(*to)), "r"(within ? static_cast<int>(sizeof(*to)) : 0)  // the rest is zeros
        : "memory");
  }
  __device__ void request(int64_t row, int stage) const {
    if constexpr (staged) {
      if (row < rows_.rows) {
#pragma unroll
        for (int p = 0; p < Packs; ++p) {
#pragma unroll
          for (int array = 0; array < Floats; ++array) copy(rows_.floats[array], row, p, float_slot(stage, array, p));
#pragma unroll
          for (int array = 0; array < 2; ++array) copy(rows_.elements[array], row, p, element_slot(stage, array, p));
        }
      }
      asm volatile("cp.async.commit_group;" ::: "memory");  // past the last row, too: it is groups that are waited for
    }
  }

  const NormRows<Element, Floats>& rows_;
  const NormPlace& at_;
  int64_t row_;
  int stage_ = 0;
  FloatPack* floats_;
  ElementPack* elements_;
};

// A thread's columns of a parameter (null: zeros), in registers where they fit.
template <int Packs, int Size>
class NormParameter {
 public:
  __device__ NormParameter(const float* from, const NormPlace& at, int columns)
      : from_(from), at_(at), columns_(columns) {
    if constexpr (kept) {
#pragma unroll
      for (int p = 0; p < Packs; ++p) load(p, values_[p]);
    }
  }
  __device__ void read(int p, float (&to)[Size]) const {
    if constexpr (kept) {
#pragma unroll
      for (int i = 0; i < Size; ++i) to[i] = values_[p][i];
    } else {
      load(p, to);
    }
  }

 private:
  static constexpr bool kept = Packs * Size <= 2 * norm_pack;
  __device__ void load(int p, float (&to)[Size]) const {
    const bool absent = !from_;
    to_floats(load_pack<Size>(from_, absent ? columns_ : at_.column<Size>(p), columns_), to);
  }
  const float* from_;
  const NormPlace& at_;
  const int columns_;
  float values_[kept ? Packs : 1][Size];
};

}  // namespace recite::kernels
