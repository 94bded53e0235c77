// Eight neighbours at a time from and to rows of float or bfloat16, which are float32 in registers.
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

// Rows that the host has looked at: `aligned` when eight neighbours, counted from the row's begin, are 16-byte vectors.
template <class Element>
struct DeviceRows {
  DeviceRows() = default;
  explicit DeviceRows(const Rows<Element>& rows)
      : data(rows.data),
        stride(rows.stride),
        aligned(reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.stride * sizeof(Element) % 16 == 0) {}

  Element* data = nullptr;
  int64_t stride = 0;
  bool aligned = false;
};

__device__ inline void unpack8(const float* from, float (&to)[8]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
  to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
  to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}
__device__ inline void unpack8(const __nv_bfloat16* from, float (&to)[8]) {
  const uint4 packed = *reinterpret_cast<const uint4*>(from);
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // a bfloat16 is the upper half of a float32
    to[2 * i] = __uint_as_float(words[i] << 16);
    to[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

__device__ inline void pack8(const float (&from)[8], float* to) {
  reinterpret_cast<float4*>(to)[0] = make_float4(from[0], from[1], from[2], from[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(from[4], from[5], from[6], from[7]);
}
__device__ inline void pack8(const float (&from)[8], __nv_bfloat16* to) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(from[2 * i], from[2 * i + 1]);
    memcpy(&words[i], &pair, sizeof(pair));
  }
  *reinterpret_cast<uint4*>(to) = make_uint4(words[0], words[1], words[2], words[3]);
}

// Numbers column..column+7 of a row of `width` numbers; those past its end are 0.
template <class Element>
__device__ void load8(const DeviceRows<const Element>& rows, int64_t row, int column, int width, float (&to)[8]) {
  const Element* from = rows.data + row * rows.stride + column;
  if (rows.aligned && column + 8 <= width) return unpack8(from, to);
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i] = column + i < width ? to_float(from[i]) : 0;
}
template <class Element>
__device__ void store8(const DeviceRows<Element>& rows, int64_t row, int column, int width, const float (&from)[8]) {
  Element* to = rows.data + row * rows.stride + column;
  if (rows.aligned && column + 8 <= width) return pack8(from, to);
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (column + i < width) to[i] = from_float<Element>(from[i]);
}

__device__ inline float sigmoid(float x) { return __fdividef(1, 1 + __expf(-x)); }

}  // namespace recite::kernels
