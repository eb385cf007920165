// Activations in e4m3 for the tests of kernels: the formulas of docs/quantization.md, written down a second time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "test/gpu/quantized_weight.h"

namespace llm_test {

// The code of e4m3 nearest to a value, the even one of two.
inline unsigned nearest_e4m3(double value) {
  const auto error = [&](unsigned code) { return std::abs(std::abs(value) - value_of(llm::CodeType::kE4M3, code)); };
  unsigned low = 0, high = 0x7e;  // values rise with codes
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (value_of(llm::CodeType::kE4M3, middle) <= std::abs(value) ? low : high) = middle;
  }
  const bool upper = error(high) < error(low) || (error(high) == error(low) && high % 2 == 0);
  return (upper ? high : low) | (std::signbit(value) ? 0x80u : 0u);
}

struct Fp8Values {
  std::vector<double> values;  // [rows, width]: what the codes mean
  std::vector<uint8_t> codes;  // [bucket, width] in the order of fragments; NaN beyond `rows`
  std::vector<float> scales;   // [bucket, groups]
  std::vector<bool> near_tie;  // of a code: another rounding of the division may give its neighbour

  // `group`: columns that share a scale; 0: a row.
  static Fp8Values make(const std::vector<double>& x, int rows, int bucket, int width, int group) {
    if (group == 0) group = width;
    const int groups = (width + group - 1) / group;
    Fp8Values out;
    out.values.resize(x.size());
    out.codes.assign(static_cast<size_t>(bucket) * width, 0x7f);
    out.near_tie.assign(out.codes.size(), false);
    out.scales.assign(static_cast<size_t>(bucket) * groups, NAN);
    for (int part = 0; part < rows * groups; ++part) {
      const int r = part / groups, first = part % groups * group, end = std::min(first + group, width);
      const double* row = x.data() + static_cast<size_t>(r) * width;
      float maximum = 0;
      for (int i = first; i < end; ++i) maximum = std::max(maximum, static_cast<float>(std::abs(row[i])));
      const bool zero = maximum <= 1e-30f;
      const float inverse = zero ? 0 : 448.0f / maximum, scale = zero ? 0 : maximum / 448.0f;
      for (int i = first; i < end; ++i) {
        const float quotient = static_cast<float>(row[i]) * inverse;
        const unsigned code = nearest_e4m3(quotient);
        const size_t at = static_cast<size_t>(r) * width + i / 64 * 64 + i % 32 / 8 * 16 + i % 64 / 32 * 8 + i % 8;
        out.codes[at] = static_cast<uint8_t>(code);
        out.near_tie[at] = nearest_e4m3(quotient * (1 + 1e-6)) != code || nearest_e4m3(quotient * (1 - 1e-6)) != code;
        out.values[static_cast<size_t>(r) * width + i] = value_of(llm::CodeType::kE4M3, code) * scale;
      }
      out.scales[part] = scale;
    }
    return out;
  }
};

}  // namespace llm_test
