// The weights of AMX products: tiles of 16 outputs x 32 columns, as they lie in memory or unpacked from codes, for two
// blocks of 16 outputs at a time. While one pair of panels is multiplied, the next one is fetched or unpacked in small
// portions (`advance`), so that the vector units and the memory work beside the matrix unit.
#pragma once

#include "x86/amx.h"
#include "x86/linear_quantized.h"
#include "x86/pack.h"

// Where a pair of panels stands in the layer: two blocks of 16 outputs, and columns k .. k + steps * 32.
struct PanelPlace {
  i64 block[2];
  i64 k, steps;
};

// Weights in bf16 are tiles as they lie.
class DensePanels {
 public:
  static constexpr i64 kScratch = 0;  // bytes that a pair of panels needs for each step of K
  template <typename Args>
  KERNEL_FN DensePanels of(const Args& a, char*, i64) {
    DensePanels p;
    p.w_ = static_cast<const bf16*>(a.w), p.kp_ = packed_k<bf16>(a.k);
    return p;
  }
  // The next pair; `calls`: how often `advance` will be called.
  inline __attribute__((always_inline)) void begin(const PanelPlace& place, i64 calls) {
    for (int i = 0; i < 2; ++i)
      next_[i] = reinterpret_cast<const char*>(w_ + (place.block[i] * kp_ + place.k) * kPackRows);
    line_ = 0, lines_ = place.steps * kTileBytes / kLine, portion_ = (lines_ + calls - 1) / calls;
  }
  inline __attribute__((always_inline)) void advance() {
    for (const i64 end = min_of(line_ + portion_, lines_); line_ < end; ++line_)
      for (int i = 0; i < 2; ++i) __builtin_prefetch(next_[i] + line_ * kLine, 0, 2);
  }
  inline __attribute__((always_inline)) void finish() {}
  // The pair that was begun last, once it is finished.
  inline __attribute__((always_inline)) const char* panel(int i) const { return next_[i]; }

 private:
  static constexpr i64 kLine = 64;
  const bf16* w_;
  i64 kp_;
  const char* next_[2];
  i64 line_ = 0, lines_ = 0, portion_ = 0;
};

// Codes are unpacked to (code - zero) * scale, rounded to bf16 (ties away from zero).
template <typename Code, typename S>
class UnpackedPanels {
 public:
  static constexpr i64 kScratch = 4 * kTileBytes;  // two pairs: one is read while the other is written
  template <typename Args>
  KERNEL_FN UnpackedPanels of(const Args& a, char* scratch, i64 most_steps) {
    UnpackedPanels p;
    p.codes_ = static_cast<const u32*>(a.codes), p.scales_ = static_cast<const S*>(a.scales), p.zeros_ = a.zeros;
    p.words_ = code_words(a.k, Code::kBits), p.groups_ = (a.k + a.group - 1) / a.group, p.group_ = a.group;
    p.zero_ = static_cast<float>(a.zero), p.scratch_ = scratch, p.panel_bytes_ = most_steps * kTileBytes;
    p.table_ = Code::kBits == 4 && !Code::kInteger ? table16<Code>() : f32x16{};
    return p;
  }
  inline __attribute__((always_inline)) void begin(const PanelPlace& place, i64 calls) {
    place_ = place, tile_ = 0, tiles_ = 2 * place.steps, call_ = 0, calls_ = calls, half_ ^= 1;
  }
  inline __attribute__((always_inline)) void advance() {
    ++call_;
    while (tile_ < tiles_ && tile_ * calls_ < call_ * tiles_) unpack_next();
  }
  inline __attribute__((always_inline)) void finish() {
    while (tile_ < tiles_) unpack_next();
  }
  inline __attribute__((always_inline)) char* panel(int i) const { return scratch_ + (2 * half_ + i) * panel_bytes_; }

 private:
  KERNEL_FN u32x16 pair(f32x16 even, f32x16 odd) {
    const u32x16 half = u32x16{} + 0x8000u;
    return (__builtin_bit_cast(u32x16, even) + half) >> 16 | ((__builtin_bit_cast(u32x16, odd) + half) & 0xffff0000u);
  }
  // 16 outputs x 32 columns, which are of one group.
  inline __attribute__((always_inline)) void unpack_next() {
    constexpr int kPerWord = 32 / Code::kBits, kPlaces = 16 / Code::kBits;
    const i64 i = tile_ / place_.steps, step = tile_ % place_.steps, block = place_.block[i];
    const i64 k = place_.k + step * kTileK, at = (block * groups_ + k / group_) * kQuantizedRows;
    u32* out = reinterpret_cast<u32*>(panel(static_cast<int>(i)) + step * kTileBytes);
    const u32* codes = codes_ + (block * words_ + k / kPerWord) * kQuantizedRows;
    const f32x16 scale = load16(scales_ + at);
    f32x16 offset[kPlaces], factor[kPlaces];
    const f32x16 zero = !Code::kInteger ? f32x16{} : zeros_ ? bytes16(zeros_ + at) : splat(zero_);
    for (int j = 0; j < kPlaces; ++j) {
      offset[j] = kMagic + zero * static_cast<float>(1 << (Code::kBits * j));
      factor[j] = scale * (1.0f / static_cast<float>(1 << (Code::kBits * j)));
    }
    for (int w = 0; w < kTileK / kPerWord; ++w) {
      // Two panels ahead: codes that come next from memory.
      __builtin_prefetch(codes + (kTileK / kPerWord * kAheadTiles + w) * kQuantizedRows, 0, 2);
      const u32x16 word = load<u32x16>(codes + w * kQuantizedRows);
      f32x16 value[kPerWord];
      for (int j = 0; j < kPerWord; ++j) {
        if constexpr (Code::kInteger) {
          const int place = j % kPlaces;
          value[j] = integers16<Code>(j < kPlaces ? word : word >> 16, place, offset[place]) * factor[place];
        } else {
          value[j] = values16(Code{}, word >> (Code::kBits * j) & ((1u << Code::kBits) - 1), table_) * scale;
        }
      }
      for (int j = 0; j < kPerWord; j += 2, out += 16) store(out, pair(value[j], value[j + 1]));
    }
    ++tile_;
  }

  static constexpr i64 kAheadTiles = 4;
  const u32* codes_;
  const S* scales_;
  const unsigned char* zeros_;
  i64 words_, groups_, group_;
  float zero_;
  char* scratch_;
  i64 panel_bytes_;
  f32x16 table_;
  PanelPlace place_ = {};
  i64 tile_ = 0, tiles_ = 0, call_ = 0, calls_ = 1, half_ = 0;
};

// The blocks of 16 weight rows whose outputs a product of 32 x 32 computes: 2 * i and 2 * i + 1 of the layer, or gate
// and up of block i.
struct Neighbours {
  static constexpr i64 kPerStep = 2;  // blocks of outputs
  KERNEL_FN i64 second(i64 block, i64) { return block + 1; }
};
struct GateAndUp {
  static constexpr i64 kPerStep = 1;
  KERNEL_FN i64 second(i64 block, i64 blocks) { return block + blocks; }
};
