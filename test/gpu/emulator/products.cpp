#include "test/gpu/emulator/products.h"

#include <cstring>

namespace llm_test {

__attribute__((target_clones("avx2", "default"))) void add_product(float* sums, const float* a, const float* b,
                                                                   uint32_t n, uint32_t k) {
  constexpr uint32_t kWidth = 8, kRows = 4, kAllRows = 16;
  typedef float Vector __attribute__((vector_size(kWidth * sizeof(float))));
  for (uint32_t column = 0; column < n; column += kWidth) {
    for (uint32_t row = 0; row < kAllRows; row += kRows) {
      Vector sum[kRows];
#pragma GCC unroll 4
      for (uint32_t r = 0; r < kRows; ++r) std::memcpy(&sum[r], sums + (row + r) * n + column, sizeof(Vector));
      for (uint32_t i = 0; i < k; ++i) {
        Vector values;
        std::memcpy(&values, b + i * n + column, sizeof(Vector));
#pragma GCC unroll 4
        for (uint32_t r = 0; r < kRows; ++r) sum[r] += a[(row + r) * k + i] * values;
      }
#pragma GCC unroll 4
      for (uint32_t r = 0; r < kRows; ++r) std::memcpy(sums + (row + r) * n + column, &sum[r], sizeof(Vector));
    }
  }
}

void add_to_lanes(float* const (&lanes)[32], bool accumulate, const float* a, const float* b, uint32_t n, uint32_t k) {
  constexpr uint32_t kMaxColumns = 256;
  static float sums[16 * kMaxColumns];
  // Calls move(a lane's pair of sums, the pair in rows).
  const auto for_all_pairs = [&](auto move) {
    for (uint32_t lane = 0; lane < 32; ++lane)
      for (uint32_t j = 0; j < n / 8; ++j)
        for (uint32_t h = 0; h < 2; ++h)
          move(lanes[lane] + j * 4 + h * 2, sums + (lane / 4 + 8 * h) * n + j * 8 + lane % 4 * 2);
  };
  constexpr size_t kPairBytes = 2 * sizeof(float);
  if (accumulate) {
    for_all_pairs([](const float* held, float* pair) { std::memcpy(pair, held, kPairBytes); });
  } else {
    std::memset(sums, 0, 16 * n * sizeof(float));
  }
  add_product(sums, a, b, n, k);
  for_all_pairs([](float* held, const float* pair) { std::memcpy(held, pair, kPairBytes); });
}

}  // namespace llm_test
