// Four or eight neighbours at a time from and to rows of float or bfloat16, which are float32 in registers.
#pragma once

#include <cuda_bf16.h>

#include <cstring>

#include "kernels/cuda/rows.h"

namespace recite::kernels {

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class Element>
__device__ Element from_float(float value) {
  if constexpr (sizeof(Element) == 4)
    return value;
  else
    return __float2bfloat16(value);
}

// Four or eight neighbours, aligned to as many bytes as they are (to 16 for eight of float).
template <int Size>
__device__ void unpack(const float* from, float (&to)[Size]) {
#pragma unroll
  for (int i = 0; i < Size; i += 4) {
    const float4 v = *reinterpret_cast<const float4*>(from + i);
    to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
  }
}
template <int Size>
__device__ void unpack(const __nv_bfloat16* from, float (&to)[Size]) {
  uint32_t words[Size / 2];
  if constexpr (Size == 8) {
    const uint4 packed = *reinterpret_cast<const uint4*>(from);
    words[0] = packed.x, words[1] = packed.y, words[2] = packed.z, words[3] = packed.w;
  } else {
    const uint2 packed = *reinterpret_cast<const uint2*>(from);
    words[0] = packed.x, words[1] = packed.y;
  }
#pragma unroll
  for (int i = 0; i < Size / 2; ++i) {  // a bfloat16 is the upper half of a float32
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

template <int Size>
__device__ void pack(const float (&from)[Size], float* to) {
#pragma unroll
  for (int i = 0; i < Size; i += 4)
    *reinterpret_cast<float4*>(to + i) = make_float4(from[i], from[i + 1], from[i + 2], from[i + 3]);
}
template <int Size>
__device__ void pack(const float (&from)[Size], __nv_bfloat16* to) {
  uint32_t words[Size / 2];
#pragma unroll
  for (int i = 0; i < Size / 2; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
    memcpy(&words[i], &pair, sizeof(pair));
  }
  if constexpr (Size == 8)
    *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
  else
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
}

// Whether eight neighbours, counted from a row's begin, are 16-byte vectors. An absent array stands in no one's way.
template <class Element>
bool is_aligned(const Rows<Element>& rows) {
  return !rows.data || (reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.stride * sizeof(Element) % 16 == 0);
}

// Numbers column..column+Size-1 of a row of `width` numbers. column is a multiple of Size. Aligned: so is width, column
// is within it, and is_aligned(rows); else numbers past the end are 0.
template <bool Aligned, class Element, int Size>
__device__ void load(const Rows<const Element>& rows, int64_t row, int column, int width, float (&to)[Size]) {
  const Element* from = rows.data + row * rows.stride + column;
  if constexpr (Aligned) {
    unpack(from, to);
  } else {
#pragma unroll
    for (int i = 0; i < Size; ++i) to[i] = column + i < width ? to_float(from[i]) : 0;
  }
}
template <bool Aligned, class Element, int Size>
__device__ void store(const Rows<Element>& rows, int64_t row, int column, int width, const float (&from)[Size]) {
  Element* to = rows.data + row * rows.stride + column;
  if constexpr (Aligned) {
    pack(from, to);
  } else {
#pragma unroll
    for (int i = 0; i < Size; ++i)
      if (column + i < width) to[i] = from_float<Element>(from[i]);
  }
}

// What load() would load, on its way into shared memory while the thread goes on, until await_copies(). `to` is aligned
// as vectors of Size numbers are.
template <bool Aligned, class Element, int Size>
__device__ void copy_ahead(const Rows<const Element>& rows, int64_t row, int column, int width, Element (&to)[Size]) {
  const Element* from = rows.data + row * rows.stride + column;
  if constexpr (Aligned) {
    constexpr int bytes = sizeof(to) < 16 ? sizeof(to) : 16, each = bytes / sizeof(Element);
#pragma unroll
    for (int i = 0; i < Size; i += each)
      asm volatile(
          "cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to + i))),
          "l"(from + i), "n"(bytes)
          : "memory");
  } else {
#pragma unroll
    for (int i = 0; i < Size; ++i) to[i] = column + i < width ? from[i] : from_float<Element>(0);
  }
}
// Until what the thread itself copies ahead is there.
__device__ inline void await_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Asks for the memory that a later load reads, so that it finds it in the second-level cache.
template <class Element>
__device__ void prefetch(const Rows<const Element>& rows, int64_t row, int column) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(rows.data + row * rows.stride + column));
}

__device__ inline float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 2^x, to two units in the last place; 0 below -126.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

constexpr float log2_e = 1.4426950408889634f, log_2 = 0.6931471805599453f;

__device__ inline float sigmoid(float x) { return reciprocal(1 + exp2_fast(-log2_e * x)); }

}  // namespace recite::kernels
