// What amx_products needs of int8: activations in panels, weights as signed bytes. A product sums the columns of a group
// of activations in int32; then come the scales of its rows and columns.
#pragma once

#include "x86/amx_products.h"
#include "x86/byte_weights.h"
#include "x86/int8_panels.h"

static_assert(kInt8PanelColumns == kInt8TileK);

class Int8RowPanels {
 public:
  inline __attribute__((always_inline)) Int8RowPanels(const LinearQuantizedArgs& a, i64 row) : x_{a.int8, a.k}, row_(row) {}
  inline __attribute__((always_inline)) void select(i64 k, i64) { k_ = k; }
  inline __attribute__((always_inline)) i64 group() const { return x_.x.group; }
  inline __attribute__((always_inline)) const signed char* block(i64 m) const {
    return x_.codes(row_ + m * kBlockRows, k_);
  }
  inline __attribute__((always_inline)) const float* scales(i64 m, i64 step) const {
    return x_.scales(row_ + m * kBlockRows, k_ + step * kInt8TileK);
  }

 private:
  Int8Panels x_;
  i64 row_, k_ = 0;
};

// Two pairs of panels, of which one is read while the other is written, 32 columns at a time.
template <typename Code, typename S, i64 kDepth>
class BytePanels {
 public:
  inline __attribute__((always_inline)) explicit BytePanels(const LinearQuantizedArgs& a)
      : weights_(ByteWeights<Code, S>::of(a, 0)), group_(a.int8.group) {}
  inline __attribute__((always_inline)) void begin(const PanelPlace& place, i64 calls) {
    place_ = place, unit_ = 0, units_ = 2 * place.steps * kUnits, call_ = 0, calls_ = calls, half_ ^= 1;
  }
  inline __attribute__((always_inline)) void advance() {
    ++call_;
    while (unit_ < units_ && unit_ * calls_ < call_ * units_) unpack_next();
  }
  inline __attribute__((always_inline)) void finish() {
    while (unit_ < units_) unpack_next();
  }
  inline __attribute__((always_inline)) char* panel(int i) { return reinterpret_cast<char*>(codes_[half_][i]); }
  inline __attribute__((always_inline)) const float* scales(int i) const { return scales_[half_][i]; }

 private:
  static constexpr i64 kUnits = kInt8TileK / kByteColumns;  // of a tile
  static constexpr i64 kAheadColumns = 2 * kDepth;          // codes that come next from memory

  inline __attribute__((always_inline)) void unpack_next() {
    const i64 i = unit_ / (place_.steps * kUnits), column = unit_ % (place_.steps * kUnits) * kByteColumns;
    const i64 block = place_.block[i], k = place_.k + column;
    if (k % group_ == 0) {
      const f32x16 scale = weights_.scale(block, k);
      store16(scales_[half_][i] + column / kInt8TileK * 16, scale);
      inverse_ = 1.0f / scale;
    }
    weights_.prefetch(block, k + kAheadColumns);
    weights_.unpack(block, k, inverse_, codes_[half_][i] + column / 4 * 16);
    ++unit_;
  }

  ByteWeights<Code, S> weights_;
  i64 group_;
  PanelPlace place_ = {};
  f32x16 inverse_ = {};  // of the scale of the bytes at hand
  i64 unit_ = 0, units_ = 0, call_ = 0, calls_ = 1, half_ = 0;
  alignas(64) u32 codes_[2][2][kDepth / 4 * 16];
  alignas(64) float scales_[2][2][kDepth / kInt8TileK * 16];  // at the tile where a group begins
};

struct Int8Product {
  static constexpr i64 kColumns = kInt8TileK;
  static constexpr bool kScaled = true;
  struct Scales {
    const float* rows;
    f32x16 columns[2];
    inline __attribute__((always_inline)) f32x16 apply(const float* sums, i64 row, int block) const {
      return __builtin_convertvector(load<i32x16>(sums), f32x16) * (columns[block] * rows[row]);
    }
  };
  struct ColumnScales {
    const float* of[2];  // [step][16 outputs]
  };
  KERNEL_FN ColumnScales column_scales(const auto& panels) { return {{panels.scales(0), panels.scales(1)}}; }
  KERNEL_FN Scales scales(const auto& x, const ColumnScales& columns, i64 m, i64 step) {
    return {x.scales(m, step), {load16(columns.of[0] + step * 16), load16(columns.of[1] + step * 16)}};
  }
  KERNEL_FN i64 steps(const auto& x, i64) { return x.group() / kInt8TileK; }
  KERNEL_FN void multiply(const void* row0, const void* row1, const void* column0, const void* column1) {
    multiply_int8(row0, row1, column0, column1);
  }
};
