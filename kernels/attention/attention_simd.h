// The parts of attention that are compiled for each instruction set; attention_cpu.cpp calls them, for one head of one
// row at a time. The head's vectors are copied into a workspace that stays in the second-level cache, filled with zeros
// up to `rows` times and `width` dimensions.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/simd/isa.h"

namespace recite::kernels {

template <class Real>
struct AttentionWork {
  AttentionShape shape;
  const Real *cos, *sin, *scale;  // cos, sin (R/2, leading); scale (width): of a query's dimensions
  int64_t rotary;
  int64_t rows;     // T, to a multiple of every group of rows and every vector
  int64_t width;    // d, to a multiple of every vector
  int64_t leading;  // between dimensions in (d, T) arrays
};

struct AttentionHead {
  int64_t batch, head;
  int64_t window;  // T when the head sees everything
  double slope;
};

// A block of keys, whose scores are worked on at a time, and of queries in the backward: multiples of every group of
// rows and every vector.
constexpr int64_t attention_key_block = 192, attention_query_block = 24;

// Numbers that the workspace of a thread holds.
template <class Real>
int64_t attention_forward_workspace(const AttentionWork<Real>& work) {
  return 2 * work.width * work.leading + work.rows * work.width +
         attention_query_block * (attention_key_block + work.width);
}
template <class Real>
int64_t attention_backward_workspace(const AttentionWork<Real>& work) {
  return 3 * work.width * work.leading + 7 * work.rows * work.width + work.rows +
         3 * attention_query_block * attention_key_block;
}

// One head of a row in a step of decoding.
template <class Element>
struct AttentionDecodeHead {
  int64_t head;           // d
  int64_t place, window;  // of the new token; keys before it that are seen
  double slope;
  const Element* token;    // (3, d)
  Element *keys, *values;  // (max_tokens, d)
  Element* out;            // (d)
};

RECITE_DECLARE_SIMD(template <class Element>
                    void attention_forward(const AttentionWork<Sums<Element>>& work, const AttentionHead& head,
                                           const Element* qkv, Element* out, Sums<Element>* log_sum,
                                           Sums<Element>* workspace);
                    template <class Element>
                    void attention_backward(const AttentionWork<Sums<Element>>& work, const AttentionHead& head,
                                            const Element* qkv, const Element* out, const Sums<Element>* log_sum,
                                            const Element* dout, Element* dqkv, Sums<Element>* workspace);
                    template <class Element> void attention_decode(const AttentionDecodeHead<Element>& head,
                                                                   const AttentionPosition<Sums<Element>>& position,
                                                                   Sums<Element>* vector, Sums<Element>* scores);)

}  // namespace recite::kernels
