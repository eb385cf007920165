// Quantized weights for the tests of their kernels: what codes mean and where they lie, by the formulas of docs/quantization.md,
// written down a second time.
#pragma once

#include <vector>

#include "test/gpu/gpu_harness.h"

namespace llm_test {

int bits_of(llm::CodeType code);
double value_of(llm::CodeType code, unsigned q);

// Codes, scales and zeros of a weight [n, k], and what they mean.
struct Quantized {
  int n, k, group, groups;
  llm::CodeType code;
  std::vector<unsigned> codes;  // [n, k]
  std::vector<double> scales;   // [n, groups]
  std::vector<unsigned> zeros;  // [n, groups], empty: none
  unsigned zero;

  static Quantized make(Rng& rng, llm::CodeType code, ScalarType scale, int n, int k, int group, bool with_zeros);
  bool is_integer() const { return code <= llm::CodeType::kU8; }
  double weight(int row, int column) const;
  // Codes and groups in an order of docs/quantization.md: 1, 8 or 16 rows interleaved.
  std::vector<llm_abi::u32> stored_codes(llm_abi::i64 interleave) const;
  std::vector<double> stored_scales(llm_abi::i64 interleave) const;
  std::vector<unsigned char> stored_zeros(llm_abi::i64 interleave) const;
};

struct CodePlace {
  size_t word;
  int shift;
};
llm_abi::i64 stored_row_words(llm::CodeType code, int k, llm_abi::i64 interleave);
CodePlace code_position(llm::CodeType code, llm_abi::i64 interleave, int row, int column, int k);
size_t group_position(llm_abi::i64 interleave, int row, int group, int groups);

// The order that a kernel reads: its variant's.
llm_abi::i64 interleave_of(const KernelInstance& instance);

Outcome test_quantize(const Kernel& kernel, Rng& rng);

}  // namespace llm_test
