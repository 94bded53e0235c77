#include "kernels/causal_conv1d/conv_simd.h"

#include "kernels/simd/math.h"

namespace recite::kernels::RECITE_ISA {

namespace {

constexpr int64_t rows_ahead = 8;  // a step's channels are asked for this many steps before they are needed

// As many channels of a row as a vector has lanes, or the last `count`.
template <class Real>
struct ConvTile {
  const ConvShape& shape;
  int64_t batch, channel, count;

  RECITE_INLINE int64_t at(int64_t t) const { return (batch * shape.time + t) * shape.channels + channel; }
  RECITE_INLINE Vector<Real> load_ahead(const Real* from) const {
    __builtin_prefetch(from + rows_ahead * shape.channels);
    return load(from, count);
  }
};

// The filter of a tile, and the inputs it last saw.
template <class Real, int W>
struct Filter {
  Vector<Real> weight[W], bias, x[W] = {};  // x: oldest first

  Filter(const ConvInputs<Real>& in, int64_t channel) : bias(load(in.bias + channel)) {
    for (int k = 0; k < W; ++k) weight[k] = load(in.weight + k * in.padded + channel);
  }

  // The sum that SiLU takes, once x has moved on to `next`.
  RECITE_INLINE Vector<Real> see(Vector<Real> next) {
    push(x, next);
    Vector<Real> sum = bias;
    for (int k = 0; k < W; ++k) sum += weight[k] * x[k];
    return sum;
  }

  RECITE_INLINE static void push(Vector<Real> (&window)[W], Vector<Real> next) {
    for (int k = 0; k + 1 < W; ++k) window[k] = window[k + 1];
    window[W - 1] = next;
  }
};

template <class Real, int W>
void forward_tile(const ConvInputs<Real>& in, const ConvTile<Real>& tile, const Real* initial, Real* y) {
  Filter<Real, W> filter(in, tile.channel);
  for (int k = 0; initial && k < W - 1; ++k)
    filter.see(load(initial + (tile.batch * (W - 1) + k) * in.shape.channels + tile.channel, tile.count));
  for (int64_t t = 0; t < in.shape.time; ++t) {
    const Vector<Real> sum = filter.see(tile.load_ahead(in.x + tile.at(t)));
    store(sum * sigmoid<Real>(sum), y + tile.at(t), tile.count);
  }
}

template <class Real, int W>
void backward_tile(const ConvInputs<Real>& in, const ConvTile<Real>& tile, const Real* dy, Real* dx, Real* dweight,
                   Real* dbias) {
  Filter<Real, W> filter(in, tile.channel);
  Vector<Real> dsum[W] = {};  // of the last steps, oldest first
  Vector<Real> to_weight[W] = {}, to_bias{};
  const int64_t T = in.shape.time;
  // dx[t] waits for the W-1 steps that follow it; past the end their dsum is 0.
  for (int64_t t = 0; t < T + W - 1; ++t) {
    Vector<Real> next{};
    if (t < T) {
      const Vector<Real> sum = filter.see(tile.load_ahead(in.x + tile.at(t))), s = sigmoid<Real>(sum);
      next = tile.load_ahead(dy + tile.at(t)) * s * (1 + sum * (1 - s));
      for (int k = 0; k < W; ++k) to_weight[k] += filter.x[k] * next;
      to_bias += next;
    }
    filter.push(dsum, next);
    if (t < W - 1) continue;
    Vector<Real> to_x{};
    for (int k = 0; k < W; ++k) to_x += filter.weight[k] * dsum[W - 1 - k];
    store(to_x, dx + tile.at(t - W + 1), tile.count);
  }
  for (int k = 0; k < W; ++k) store(to_weight[k], dweight + k * in.padded + tile.channel);
  store(to_bias, dbias + tile.channel);
}

// Calls body(width, tile) for each tile of the task, with the width as a type whose `value` is constant.
template <int W>
struct Width {
  static constexpr int value = W;
};
template <class Real, class Body>
void for_each_tile(const ConvShape& shape, const ConvTask& task, const Body& body) {
  for (int64_t c = 0; c < task.count; c += lanes<Real>) {
    const ConvTile<Real> tile{shape, task.batch, task.first + c, task.count - c};
    switch (shape.width) {
      case 1:
        body(Width<1>{}, tile);
        break;
      case 2:
        body(Width<2>{}, tile);
        break;
      case 3:
        body(Width<3>{}, tile);
        break;
      default:
        body(Width<4>{}, tile);
    }
  }
}

}  // namespace

template <class Real>
void conv_forward(const ConvInputs<Real>& in, const ConvTask& task, const Real* initial, Real* y) {
  for_each_tile<Real>(in.shape, task, [&](auto width, const ConvTile<Real>& tile) {
    forward_tile<Real, width.value>(in, tile, initial, y);
  });
}

template <class Real>
void conv_backward(const ConvInputs<Real>& in, const ConvTask& task, const Real* dy, Real* dx, Real* dweight,
                   Real* dbias) {
  for_each_tile<Real>(in.shape, task, [&](auto width, const ConvTile<Real>& tile) {
    backward_tile<Real, width.value>(in, tile, dy, dx, dweight, dbias);
  });
}

template void conv_forward(const ConvInputs<float>&, const ConvTask&, const float*, float*);
template void conv_forward(const ConvInputs<double>&, const ConvTask&, const double*, double*);
template void conv_backward(const ConvInputs<float>&, const ConvTask&, const float*, float*, float*, float*);
template void conv_backward(const ConvInputs<double>&, const ConvTask&, const double*, double*, double*, double*);

}  // namespace recite::kernels::RECITE_ISA
