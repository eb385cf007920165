// AMX: eight tiles of 16 rows x 64 bytes. A tile of activations holds 16 rows of 32 bf16; a tile of weights, 16 pairs
// of K of 16 outputs, is 1 KiB as x86/pack.h lays it out. The configuration belongs to a thread: a kernel loads it and
// releases it.
#pragma once

#include "x86/simd.h"

constexpr i64 kTileRows = 16;  // of each tile
constexpr i64 kTileBytes = 1024;
constexpr i64 kTileStride = 64;  // bytes between rows of a tile that lies by itself
constexpr i64 kTileK = 32;       // bf16 of K in a tile

// Intel SDM vol. 1, 18.3: palette 1, all tiles full.
KERNEL_FN void configure_tiles() {
  struct alignas(64) Configuration {
    unsigned char palette, start_row, reserved[14];
    u16 column_bytes[16];
    unsigned char rows[16];
  } c;
  __builtin_memset(&c, 0, sizeof c);
  c.palette = 1;
  for (int i = 0; i < 8; ++i) c.column_bytes[i] = kTileStride, c.rows[i] = kTileRows;
  __builtin_ia32_tile_loadconfig(&c);
}
KERNEL_FN void release_tiles() { __builtin_ia32_tilerelease(); }

// Two by two products: tiles 0 to 3 are the sums of rows {0, 1} x columns {0, 1}. Per step of K a tile of each row and
// of each column.
KERNEL_FN void zero_sums() {
  __builtin_ia32_tilezero(0), __builtin_ia32_tilezero(1), __builtin_ia32_tilezero(2), __builtin_ia32_tilezero(3);
}
// `sums`: four tiles, one behind the other.
KERNEL_FN void store_sums(float* sums) {
  __builtin_ia32_tilestored64(0, sums, kTileStride);
  __builtin_ia32_tilestored64(1, sums + 256, kTileStride);
  __builtin_ia32_tilestored64(2, sums + 512, kTileStride);
  __builtin_ia32_tilestored64(3, sums + 768, kTileStride);
}
// The rows' tiles pass by once for each pair of columns, while those of the columns stay in the L1: they are loaded
// with the hint of data that is not used again soon.
KERNEL_FN void multiply_bf16(const void* row0, const void* row1, const void* column0, const void* column1) {
  __builtin_ia32_tileloaddt164(4, row0, kTileStride);
  __builtin_ia32_tileloadd64(6, column0, kTileStride);
  __builtin_ia32_tileloadd64(7, column1, kTileStride);
  __builtin_ia32_tdpbf16ps(0, 4, 6);
  __builtin_ia32_tdpbf16ps(1, 4, 7);
  __builtin_ia32_tileloaddt164(5, row1, kTileStride);
  __builtin_ia32_tdpbf16ps(2, 5, 6);
  __builtin_ia32_tdpbf16ps(3, 5, 7);
}

// 32 elements as bf16, rounded to nearest even.
KERNEL_FN void store_bf16_32(bf16* p, const float* x) {
  store(p, __builtin_ia32_cvtne2ps2bf16_512(load16(x + 16), load16(x)));
}
KERNEL_FN void store_bf16_32(bf16* p, const bf16* x) { store(p, load<u32x16>(x)); }
