// Activations in int8 for many rows, in panels of 32 rows x 64 columns: [rows / 32][K / 64][32 rows][64 columns], the
// tiles of AMX. Scales and sums of codes: [rows / 32][K / group][32 rows]. There is room for whole panels; what fills
// them up is not set.
#pragma once

#include "x86/operand.h"

constexpr i64 kInt8PanelColumns = 64;

struct Int8Panels {
  Int8Rows x;
  i64 k;
  inline __attribute__((always_inline)) i64 code_index(i64 row, i64 column) const {
    const i64 panel = row / kPanelRows * (k / kInt8PanelColumns) + column / kInt8PanelColumns;
    return (panel * kPanelRows + row % kPanelRows) * kInt8PanelColumns + column % kInt8PanelColumns;
  }
  inline __attribute__((always_inline)) i64 group_index(i64 row, i64 column) const {
    return (row / kPanelRows * (k / x.group) + column / x.group) * kPanelRows + row % kPanelRows;
  }
  // Of rows from `row` on, a multiple of how many are read at once.
  inline __attribute__((always_inline)) const signed char* codes(i64 row, i64 column) const {
    return x.codes + code_index(row, column);
  }
  inline __attribute__((always_inline)) const float* scales(i64 row, i64 column) const {
    return x.scales + group_index(row, column);
  }
  inline __attribute__((always_inline)) const i32* sums(i64 row, i64 column) const {
    return x.sums + group_index(row, column);
  }
};
