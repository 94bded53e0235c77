// Causal attention on the fused projection of a GPT-NeoX layer, with its position inside:
//
//   s[b,h,i,j] = (q_i . k_j + sum_{c >= twice_from} q_ic k_jc) / sqrt(d) - slope[h] (i - j)
//   p[b,h,i,:] = softmax of s[b,h,i,j] over the keys i - window[h] <= j <= i
//   out[b,i,h] = sum_j p[b,h,i,j] v_j
//
// where q and k are rotated first (RoPE, Su et al., arXiv 2104.09864, eq. 34; halves, as GPT-NeoX): dimension c < R/2
// with c + R/2 by the angle whose cosine and sine are given. Slopes are ALiBi's (Press et al., arXiv 2108.12409);
// windows are Hard-ALiBi's (arXiv 2402.01032), whose heads do only their window's work.
//
// Letters: B batch, T time, H heads, d dimensions of a head, R rotated dimensions. Every array is contiguous. Elements
// are float, double or bf16; positions and sums are float32 (float64 in float64). No (T, T) array is made (Dao et al.,
// FlashAttention, arXiv 2205.14135, algorithm 1; the softmax is online over blocks of keys); the backward computes the
// scores again from the kept sums.
#pragma once

#include <cstdint>

#include "kernels/simd/bf16.h"

namespace recite::kernels {

struct AttentionShape {
  int64_t batch, time, heads, head;
};

template <class Real>
struct AttentionPosition {
  int64_t rotary = 0;               // R, even; 0: no rotation
  const Real* cos = nullptr;        // (T, R/2), when R > 0
  const Real* sin = nullptr;        // (T, R/2), when R > 0
  const Real* slope = nullptr;      // (H), or null: zeros
  const int64_t* window = nullptr;  // (H): how many keys before its own a query sees, at least 0; or null: all
  int64_t twice_from = INT64_MAX;   // dimensions from this on, none of them rotated, count twice in the scores
};

// qkv (B, T, H, 3, d): query, key and value of a head side by side -> out (B, T, H, d). log_sum (B, H, T): the base-2
// logarithm of each softmax's denominator, for the backward; or null.
template <class Element>
void attention_forward_cpu(const AttentionShape& shape, const AttentionPosition<Sums<Element>>& position,
                           const Element* qkv, Element* out, Sums<Element>* log_sum);

// Writes dqkv (B, T, H, 3, d), the gradient of a scalar whose gradient in out is dout (B, T, H, d). The same bits on
// any number of threads (with one instruction set: kernels/simd/isa.h).
template <class Element>
void attention_backward_cpu(const AttentionShape& shape, const AttentionPosition<Sums<Element>>& position,
                            const Element* qkv, const Element* out, const Sums<Element>* log_sum, const Element* dout,
                            Element* dqkv);

struct AttentionDecodeShape {
  int64_t batch, heads, head;
  int64_t max_tokens;  // that the cache has room for
};

// A step of decoding: one query of each row, against the keys and values before it. qkv (B, H, 3, d) is the new token,
// whose place is length[b] (B), 0 <= length[b] < max_tokens; its key, rotated, and its value are written there into
// `keys` and `values` (B, H, max_tokens, d), then it is attended to with those before it -> out (B, H, d). cos, sin:
// (max_tokens, R/2). A row's numbers do not depend on the other rows, nor on the number of threads.
template <class Element>
void attention_decode_cpu(const AttentionDecodeShape& shape, const AttentionPosition<Sums<Element>>& position,
                          const Element* qkv, const int32_t* length, Element* keys, Element* values, Element* out);

}  // namespace recite::kernels
