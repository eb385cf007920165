// Entries of the paged KV cache: of one token and KV head, K or V.
#pragma once

// clang-format off: the types come first
#include "x86/simd.h"
#include "quantized_weights.h"
// clang-format on

constexpr i64 kMaxHeadDim = 512;

// Whether an entry has a scale.
template <typename KV>
constexpr bool kScaledKv = false;
template <>
inline constexpr bool kScaledKv<int8_kv> = true;

KERNEL_FN char* kv_block(const KvView& kv, i64 slot, i64 index) {
  const i64 block = kv.block_table[slot * kv.table_stride + index / kv.block_tokens];
  return static_cast<char*>(kv.base) + block * kv.block_bytes;
}

// Which of a block's entries, in their order.
KERNEL_FN i64 kv_place(const KvView& kv, i64 index, i64 head, bool value) {
  return ((value ? kv.kv_heads : 0) + head) * kv.block_tokens + index % kv.block_tokens;
}

template <typename KV>
KERNEL_FN KV* kv_row(const KvView& kv, i64 slot, i64 index, i64 head, bool value) {
  return reinterpret_cast<KV*>(kv_block(kv, slot, index)) + kv_place(kv, index, head, value) * kv.head_dim;
}

KERNEL_FN float* kv_scale(const KvView& kv, i64 slot, i64 index, i64 head, bool value) {
  const i64 codes = 2 * kv.kv_heads * kv.block_tokens * kv.head_dim;
  return reinterpret_cast<float*>(kv_block(kv, slot, index) + codes) + kv_place(kv, index, head, value);
}

// What the elements of kv_row are multiplied by.
template <typename KV>
KERNEL_FN float kv_factor(const KvView& kv, i64 slot, i64 index, i64 head, bool value) {
  if constexpr (kScaledKv<KV>) return *kv_scale(kv, slot, index, head, value);
  return 1.0f;
}

template <typename T>
KERNEL_FN void copy_head(const float* x, T* out, i64 head_dim) {
  i64 j = 0;
  for (; j + 16 <= head_dim; j += 16) store16(out + j, load16(x + j));
  for (; j < head_dim; ++j) out[j] = from_float<T>(x[j]);
}

// Codes of a head; the result is their scale.
KERNEL_FN float quantize_head(const float* x, int8_kv* out, i64 head_dim) {
  f32x16 maxima{};
  float maximum = 0;
  i64 j = 0;
  for (; j + 16 <= head_dim; j += 16) maxima = larger_magnitudes(maxima, load16(x + j));
  for (; j < head_dim; ++j) maximum = __builtin_fmaxf(maximum, __builtin_fabsf(x[j]));
  maximum = __builtin_fmaxf(maximum, max_of(maxima));
  const bool zero = !(maximum > kLeastQuantizedMax);
  const float inverse = zero ? 0.0f : 127.0f / maximum;
  for (j = 0; j + 16 <= head_dim; j += 16)
    store(out + j, __builtin_convertvector(__builtin_elementwise_rint(load16(x + j) * inverse), s8x16));
  for (; j < head_dim; ++j) out[j].code = static_cast<signed char>(nearest_integer(x[j] * inverse));
  return zero ? 0.0f : maximum / 127.0f;
}

template <typename KV>
KERNEL_FN void write_entry(const KvView& kv, i64 slot, i64 index, i64 head, bool value, const float* x) {
  KV* row = kv_row<KV>(kv, slot, index, head, value);
  if constexpr (kScaledKv<KV>)
    *kv_scale(kv, slot, index, head, value) = quantize_head(x, row, kv.head_dim);
  else
    copy_head(x, row, kv.head_dim);
}
