// Activations in integers, made on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace llm_test {

// How activations in int8 lie in memory: `group` columns share a scale, codes stand as weights of `bits` bits unpack.
struct Int8Order {
  int group, bits;
  bool panels = false;  // of 32 rows x 64 columns (kernels_templates/x86/int8_panels.h)

  static constexpr int kPanelRows = 32, kPanelColumns = 64, kSumColumns = 32;
  int sum_columns() const { return panels ? group : kSumColumns; }
  int stored_rows(int rows) const { return panels ? (rows + kPanelRows - 1) / kPanelRows * kPanelRows : rows; }
  size_t code_at(int row, int column, int width) const {
    const int per_word = 32 / bits, vectors = 8 / bits, i = column % per_word;
    const int at = column - i + i % vectors * 4 + i / vectors;
    if (!panels) return static_cast<size_t>(row) * width + at;
    const size_t panel = static_cast<size_t>(row / kPanelRows) * (width / kPanelColumns) + at / kPanelColumns;
    return (panel * kPanelRows + row % kPanelRows) * kPanelColumns + at % kPanelColumns;
  }
  // Of a scale, or a sum, for every `columns` columns.
  size_t group_at(int row, int column, int width, int columns) const {
    if (!panels) return static_cast<size_t>(row) * (width / columns) + column / columns;
    return (static_cast<size_t>(row / kPanelRows) * (width / columns) + column / columns) * kPanelRows + row % kPanelRows;
  }
};

// Activations in int8 (the formulas of QuantizeRowsArgs and docs/quantization.md, written down a second time). Rows
// beyond `rows` are poison.
struct Int8Values {
  std::vector<signed char> codes;  // in the order of memory
  std::vector<float> scales;
  std::vector<int> sums;
  std::vector<double> values;  // what they stand for, in the order of columns
  std::vector<bool> near_tie;  // codes that rounding could make one more or less

  static Int8Values make(const std::vector<double>& x, int rows, int bucket, int width, const Int8Order& order) {
    const size_t all = static_cast<size_t>(order.stored_rows(bucket)) * width;
    Int8Values v{std::vector<signed char>(all, -128), std::vector<float>(all / order.group, NAN),
                 std::vector<int>(all / order.sum_columns(), 1 << 30), std::vector<double>(static_cast<size_t>(rows) * width),
                 std::vector<bool>(all)};
    for (int row = 0; row < rows; ++row) {
      const double* from = &x[static_cast<size_t>(row) * width];
      for (int first = 0; first < width; first += order.group) {
        float maximum = 0;
        for (int i = 0; i < order.group; ++i) maximum = std::max(maximum, std::abs(static_cast<float>(from[first + i])));
        const float scale = v.scales[order.group_at(row, first, width, order.group)] = maximum / 127.0f;
        for (int k = first; k < first + order.group; ++k) {
          const float scaled = maximum > 0 ? static_cast<float>(from[k]) * (127.0f / maximum) : 0;
          const float code = std::nearbyint(scaled);
          const size_t at = order.code_at(row, k, width);
          v.codes[at] = static_cast<signed char>(code);
          v.near_tie[at] = std::abs(std::abs(scaled - code) - 0.5f) < 1e-4f;
          int& sum = v.sums[order.group_at(row, k, width, order.sum_columns())];
          sum = (k % order.sum_columns() == 0 ? 0 : sum) + static_cast<int>(code);
          v.values[static_cast<size_t>(row) * width + k] = static_cast<double>(code) * scale;
        }
      }
    }
    return v;
  }
};

// Activations as integers of 15 bits: `columns` of a row share a scale of 2^e that makes the largest of them 2^13 to 2^14
// (cuda/quantized_operands.h); the last ones may be fewer.
inline std::vector<double> int16_values(std::vector<double> x, int width, int columns) {
  for (size_t row = 0; row < x.size(); row += width)
    for (int first = 0; first < width; first += columns) {
      double* tile = x.data() + row + first;
      const int count = std::min(columns, width - first);
      double maximum = 0;
      for (int i = 0; i < count; ++i) maximum = std::max(maximum, std::abs(tile[i]));
      const double scale = std::ldexp(1.0, std::ilogb(maximum) - 13);
      for (int i = 0; i < count; ++i) tile[i] = maximum > 0 ? std::nearbyint(tile[i] / scale) * scale : 0;
    }
  return x;
}

}  // namespace llm_test
