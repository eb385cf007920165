// Products of the float64 references.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace llm_test {

// The sum of a[i] b[i], and that of their magnitudes, to which rounding limits are relative.
struct Dot {
  double sum = 0, magnitude = 0;
};

// In independent chains of vectors: the references are a good part of the kernel tests' time, and compilers keep the
// order of a sum.
inline Dot dot(const double* a, const double* b, size_t n) {
  typedef double Pair __attribute__((vector_size(16)));
  typedef uint64_t Bits __attribute__((vector_size(16)));
  constexpr Bits kNoSign = {~uint64_t{0} >> 1, ~uint64_t{0} >> 1};
  constexpr size_t kChains = 4;
  Pair sums[kChains] = {}, magnitudes[kChains] = {};
  const auto add = [&](size_t chain, Pair x, Pair y) {
    const Pair product = x * y;
    sums[chain] += product;
    magnitudes[chain] += reinterpret_cast<Pair>(reinterpret_cast<Bits>(product) & kNoSign);
  };
  size_t i = 0;
  for (; i + 2 * kChains <= n; i += 2 * kChains) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kChains; ++c) {
      Pair x, y;
      std::memcpy(&x, a + i + 2 * c, sizeof(x));
      std::memcpy(&y, b + i + 2 * c, sizeof(y));
      add(c, x, y);
    }
  }
  for (; i < n; ++i) add(0, Pair{a[i], 0}, Pair{b[i], 0});
  const Pair sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  const Pair magnitude = (magnitudes[0] + magnitudes[1]) + (magnitudes[2] + magnitudes[3]);
  return {sum[0] + sum[1], magnitude[0] + magnitude[1]};
}

}  // namespace llm_test
