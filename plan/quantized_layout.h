// Where the codes, scales and zeros of a quantized weight lie in its buffer (docs/quantization.md).
#pragma once

#include <cstdint>
#include <optional>

#include "kernels_templates/variant.h"

namespace llm {

struct QuantizedShape {
  CodeType code = CodeType::kU4;
  uint64_t rows = 0, cols = 0;
  uint64_t group = 0;        // columns that share a scale
  uint64_t scale_bytes = 0;  // of one scale
  bool zeros = false;
  uint64_t interleave = 1;  // rows interleaved: 1, 8 (matrix fragments) or 16
};

// Offsets from the start of the buffer, which holds codes first; without zeros, theirs is the end.
struct QuantizedLayout {
  uint64_t scales = 0, zeros = 0, bytes = 0;
};

inline uint64_t code_bits(CodeType code) {
  switch (code) {
    case CodeType::kU2:
      return 2;
    case CodeType::kU8:
    case CodeType::kE4M3:
      return 8;
    case CodeType::kU4:
    case CodeType::kNf4:
    case CodeType::kFp4:
      break;
  }
  return 4;
}

// In the order of fragments eight rows of codes stand together: so many bytes of them.
constexpr uint64_t kFragmentRows = 8, kFragmentAlignmentBits = 512;
inline uint64_t fragment_rows_bytes(CodeType code, uint64_t cols) {
  return (cols * code_bits(code) + kFragmentAlignmentBits - 1) / kFragmentAlignmentBits * kFragmentAlignmentBits / 8 * kFragmentRows;
}

// Nothing if a size is zero or beyond 2^63.
inline std::optional<QuantizedLayout> quantized_layout(const QuantizedShape& s) {
  constexpr uint64_t kSectionAlignment = 256, kRowAlignmentBits = 128,
                     kMaxDim = uint64_t{1} << 40, kMaxBytes = uint64_t{1} << 62;
  if (s.rows == 0 || s.cols == 0 || s.group == 0 || s.rows > kMaxDim || s.cols > kMaxDim || s.interleave == 0)
    return std::nullopt;
  const auto align = [](uint64_t n, uint64_t to) { return (n + to - 1) / to * to; };
  const uint64_t rows = align(s.rows, s.interleave), groups = (s.cols + s.group - 1) / s.group;
  const uint64_t row_bytes =
      align(s.cols * code_bits(s.code), s.interleave == kFragmentRows ? kFragmentAlignmentBits : kRowAlignmentBits) / 8;
  uint64_t codes = 0, scales = 0, zeros = 0;
  if (__builtin_mul_overflow(rows, row_bytes, &codes) || __builtin_mul_overflow(rows, groups, &zeros) ||
      __builtin_mul_overflow(zeros, s.scale_bytes, &scales) || codes > kMaxBytes || scales > kMaxBytes ||
      zeros > kMaxBytes)
    return std::nullopt;
  QuantizedLayout out;
  out.scales = align(codes, kSectionAlignment);
  out.zeros = out.scales + align(scales, kSectionAlignment);
  out.bytes = out.zeros + (s.zeros ? align(zeros, kSectionAlignment) : 0);
  return out;
}

}  // namespace llm
