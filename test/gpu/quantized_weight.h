// Quantized weights for the tests of their kernels: what codes mean and where they lie, by the formulas of
// docs/quantization.md, written down a second time.
#pragma once

#include <vector>

#include "test/gpu/gpu_harness.h"

namespace llm_test {

int bits_of(llm::CodeType code);
double value_of(llm::CodeType code, unsigned q);

// Codes, scales and zeros of a weight [n, k], and what they mean.
struct Quantized {
  int n = 0, k = 0, group = 0, groups = 0;
  llm::CodeType code = llm::CodeType::kU4;
  std::vector<unsigned> codes;  // [n, k]
  std::vector<double> scales;   // [n, groups]
  std::vector<unsigned> zeros;  // [n, groups], empty: none
  unsigned zero = 0;

  static Quantized make(Rng& rng, llm::CodeType code, ScalarType scale, int n, int k, int group, bool with_zeros,
                        double scale_spread = 0.02);
  bool is_integer() const { return code <= llm::CodeType::kU8; }
  std::vector<double> weights() const;               // [n, k]
  std::vector<double> weights(ScalarType table) const;  // the same, the values of nf4 rounded to a type
  std::vector<double> weights_before_zeros() const;  // the same of codes from which no zero was taken
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

// A random weight for a kernel, in its order; empty for kernels of dense weights. `with_zeros`: for integer codes.
class QuantizedOnDevice {
 public:
  QuantizedOnDevice(const Kernel& kernel, Rng& rng, int n, int k, int group, bool with_zeros);
  std::vector<double> weights() const { return weight_.weights(table_); }  // [n, k]
  const void* codes() const { return codes_.get(); }
  llm_abi::QuantizedGroups groups() const;

 private:
  Quantized weight_;
  ScalarType table_;  // in which the kernel has the values of nf4
  DeviceArray<llm_abi::u32> codes_;
  TypedArray scales_;
  DeviceArray<unsigned char> zeros_;
};

// What a sum of k products may be off, in fp32; `magnitude`: the sum of their magnitudes. Matrix units cut products of e4m3 off at 2^-13 of the
// largest that are added at once, or of the sum so far: here taken for 16 times the mean product. All are cut in one direction, so that this
// does not average out. (The emulator adds them in fp32.)
double sum_limit(const llm::Variant& variant, int k, double magnitude, double sum);

// Whether a kernel takes a weight of k columns in such groups.
bool serves_group(const llm::Variant& variant, int k, int group);

// The order that a kernel reads: its variant's.
llm_abi::i64 interleave_of(const KernelInstance& instance);

Outcome test_quantize(const Kernel& kernel, Rng& rng);

}  // namespace llm_test
