// Operands of linear layers [rows, width] in memory: row by row, or in panels (bf16_panels), the order in which AMX
// reads them: [rows / 32][width / 32][32 rows][32 columns], with room for whole panels. A panel is two tiles of 16
// rows.
#pragma once

#include "x86/simd.h"

constexpr i64 kPanelRows = 32, kPanelColumns = 32;

template <typename X>
constexpr bool kInPanels = false;
template <>
inline constexpr bool kInPanels<bf16_panels> = true;

template <typename X>
struct Operand {
  X* base;
  i64 width;
  KERNEL_FN Operand at(void* base, i64 width) { return {static_cast<X*>(base), width}; }
  inline __attribute__((always_inline)) void store16(i64 row, i64 column, f32x16 v) const {
    ::store16(base + row * width + column, v);
  }
  inline __attribute__((always_inline)) void store1(i64 row, i64 column, float v) const {
    base[row * width + column] = from_float<X>(v);
  }
};

// The width is a multiple of 32, and columns of 16 begin at a multiple of 16.
template <>
struct Operand<bf16_panels> {
  bf16* base;
  i64 width;
  KERNEL_FN Operand at(void* base, i64 width) { return {static_cast<bf16*>(base), width}; }
  inline __attribute__((always_inline)) bf16* element(i64 row, i64 column) const {
    const i64 panel = row / kPanelRows * (width / kPanelColumns) + column / kPanelColumns;
    return base + (panel * kPanelRows + row % kPanelRows) * kPanelColumns + column % kPanelColumns;
  }
  inline __attribute__((always_inline)) void store16(i64 row, i64 column, f32x16 v) const {
    ::store16(element(row, column), v);
  }
  inline __attribute__((always_inline)) void store1(i64 row, i64 column, float v) const {
    *element(row, column) = from_float<bf16>(v);
  }
};
