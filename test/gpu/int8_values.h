// Activations in integers, made on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace llm_test {

// Activations in int8 (the formulas of QuantizeRowsArgs and docs/quantization.md, written down a second time). Rows
// beyond `rows` are poison.
struct Int8Values {
  std::vector<signed char> codes;  // in the order of memory
  std::vector<float> scales;
  std::vector<int> sums;
  std::vector<double> values;  // what they stand for, in the order of columns
  std::vector<bool> near_tie;  // codes that rounding could make one more or less

  static Int8Values make(const std::vector<double>& x, int rows, int bucket, int width, int group, int bits) {
    const size_t all = static_cast<size_t>(bucket) * width;
    Int8Values v{std::vector<signed char>(all, -128), std::vector<float>(all / group, NAN),
                 std::vector<int>(all / group, 1 << 30), std::vector<double>(static_cast<size_t>(rows) * width),
                 std::vector<bool>(all)};
    const int per_word = 32 / bits, vectors = 8 / bits;
    for (size_t first = 0; first < static_cast<size_t>(rows) * width; first += group) {
      float maximum = 0;
      for (int i = 0; i < group; ++i) maximum = std::max(maximum, std::abs(static_cast<float>(x[first + i])));
      v.scales[first / group] = maximum / 127.0f;
      v.sums[first / group] = 0;
      for (int i = 0; i < group; ++i) {
        const float scaled = maximum > 0 ? static_cast<float>(x[first + i]) * (127.0f / maximum) : 0;
        const float code = std::nearbyint(scaled);
        const size_t word = first + i / per_word * per_word;
        const size_t at = word + i % per_word % vectors * 4 + i % per_word / vectors;
        v.codes[at] = static_cast<signed char>(code);
        v.near_tie[at] = std::abs(std::abs(scaled - code) - 0.5f) < 1e-4f;
        v.sums[first / group] += static_cast<int>(code);
        v.values[first + i] = static_cast<double>(code) * v.scales[first / group];
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
