// Stands in for kernels_templates/cuda/wgmma.h: tensor copies land at once, with their swizzle, and a warp's part of a
// product is done when its last lane has issued it.
#pragma once

#include <algorithm>
#include <array>

#include "cuda/hopper.h"
#include "quantized_weights.h"
#include "test/gpu/emulator/fake_tensor_map.h"

template <int Registers>
void registers_grow() {}
template <int Registers>
void registers_shrink() {}

constexpr u64 kCacheNormal = 0, kCacheFirstOut = 0;

// Bits 4-6 of an address are mixed with bits 7-9.
inline u32 swizzled_128(u32 address) { return address ^ (address >> 7 & 7) << 4; }
// Of rows of 64 bytes: bits 4-5 with bits 7-8.
inline u32 swizzled_64(u32 address) { return address ^ (address >> 7 & 3) << 4; }

inline void tensor_map_acquire(const void* map) {
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0) llm_test::emulator_fail("an unaligned tensor map");
}
inline void tensor_map_prefetch(const void*) {}
inline void tensor_copy_announce(u32 bar, u32 bytes) { llm_test::phase_update(bar, 0, bytes); }
struct BoxPlace {
  u32 at[3];
};
inline void tensor_copy(u32 destination, const void* map, BoxPlace place, u32 bar, u64) {
  llm_test::FakeTensorMap m;
  std::memcpy(&m, map, sizeof(m));
  if (m.rank < 2 || m.rank > 3 || m.element_bytes != 2 || (m.swizzle_bytes != 128 && m.swizzle_bytes != 64) ||
      m.box[0] * 2 != m.swizzle_bytes || destination % (8 * m.swizzle_bytes) != 0)
    llm_test::emulator_fail("a tensor copy of another kind, or to an unaligned address");
  if (m.rank == 2) m.box[2] = 1, m.dims[2] = 1, m.strides[1] = 0;
  u32 to = destination;
  for (u32 z = place.at[2]; z < place.at[2] + m.box[2]; ++z) {
    for (u32 y = place.at[1]; y < place.at[1] + m.box[1]; ++y) {
      for (u32 x = place.at[0]; x < place.at[0] + m.box[0];
           x += 8, to += 16) {  // 16 bytes: the swizzle leaves them whole
        char* piece = llm_test::block_shared() + (m.swizzle_bytes == 64 ? swizzled_64(to) : swizzled_128(to));
        const u64 inside = y < m.dims[1] && z < m.dims[2] && x < m.dims[0] ? std::min<u64>(m.dims[0] - x, 8) : 0;
        std::memset(piece, 0, 16);
        if (inside) std::memcpy(piece, m.base + z * m.strides[1] + y * m.strides[0] + u64{x} * 2, inside * 2);
      }
    }
  }
  llm_test::phase_update(bar, 0, -static_cast<int64_t>(to - destination));
}
inline void tensor_copy(u32 destination, const void* map, u32 column, u32 row, u32 bar, u64 cache) {
  tensor_copy(destination, map, BoxPlace{{column, row, 0}}, bar, cache);
}

inline u32 cluster_rank() { return llm_test::cluster_rank(); }
inline void cluster_sync() { llm_test::cluster_barrier(); }
template <int Cluster>
void mbarrier_arrive_warp_everywhere(u32 bar) {
  __syncwarp();
  if (threadIdx.x % kWarp < Cluster)
    llm_test::in_block_of_cluster(threadIdx.x % kWarp, [&] { llm_test::phase_update(bar, 1, 0); });
}
// Ranks in the bits above those of an address.
constexpr u32 kRankShift = 24;
inline u32 cluster_address(u32 shared_source, u32 rank) { return shared_source | rank << kRankShift; }
inline float load_cluster(u32 there) {
  float v;
  llm_test::in_block_of_cluster(there >> kRankShift, [&] {
    std::memcpy(&v, llm_test::block_shared() + (there & ((1u << kRankShift) - 1)), sizeof(v));
  });
  return v;
}
template <int Cluster>
void tensor_copy_everywhere(u32 destination, const void* map, u32 column, u32 row, u32 bar, u64 cache) {
  for (u32 rank = 0; rank < Cluster; ++rank)
    llm_test::in_block_of_cluster(rank, [&] { tensor_copy(destination, map, column, row, bar, cache); });
}

template <int Cluster>
void tensor_copy_everywhere(u32 destination, const void* map, BoxPlace place, u32 bar, u64 cache) {
  for (u32 rank = 0; rank < Cluster; ++rank)
    llm_test::in_block_of_cluster(rank, [&] { tensor_copy(destination, map, place, bar, cache); });
}

// The fields of the hardware's descriptor that the kernels vary.
inline u64 wgmma_operand(u32 shared_source) {
  if (shared_source % 1024 != 0) llm_test::emulator_fail("an operand of wgmma that is not aligned to its swizzle");
  return shared_source >> 4;
}
inline u64 wgmma_operand64(u32 shared_source) {
  if (shared_source % 512 != 0) llm_test::emulator_fail("an operand of wgmma that is not aligned to its swizzle");
  return shared_source >> 4;
}
inline u64 wgmma_operand_by_k(u32 shared_source, u32 panel_bytes) {
  return wgmma_operand(shared_source) | static_cast<u64>(panel_bytes) << 32;
}
inline void wgmma_fence() {}
inline void wgmma_commit() {}
// Like all of these, an instruction of whole warps: one lane may tell the others' success.
template <int Pending>
void wgmma_wait() {
  llm_test::warp_barrier();
}
template <int Count>
void wgmma_finished(float (&)[Count]) {}
template <int Count>
void wgmma_used(u32 (&)[Count][4]) {}

// Values k = 0..15 of a row of an operand: two pieces of 16 bytes, which the swizzle leaves whole.
template <typename T>
void wgmma_row(float (&values)[16], u64 operand, u32 row) {
  const char* shared = llm_test::block_shared();
  for (u32 piece = 0; piece < 2; ++piece) {
    u32 words[4];
    std::memcpy(words, shared + swizzled_128(static_cast<u32>(operand << 4) + row * 128 + piece * 16), 16);
    for (u32 i = 0; i < 4; ++i) unpack2<T>(words[i], values[piece * 8 + i * 2], values[piece * 8 + i * 2 + 1]);
  }
}

// N rows of an operand as columns.
template <typename T, int N>
void wgmma_columns(float (&b)[16][N], u64 operand) {
  float values[16];
  for (u32 n = 0; n < N; ++n) {
    wgmma_row<T>(values, operand, n);
    for (u32 k = 0; k < 16; ++k) b[k][n] = values[k];
  }
}

// Each warp computes its 16 rows: read(first row, lanes' words of a, A, B) fetches the operands.
struct WgmmaLane {
  float* d;
  u32 a[4];
};
template <int N, int K, typename Read>
void wgmma_by_warp(float (&d)[N / 2], const u32 (&a)[4], bool accumulate, Read read) {
  const u32 first_row = llm_test::current_thread() % 128 / 32 * 16;
  llm_test::warp_compute(WgmmaLane{d, {a[0], a[1], a[2], a[3]}}, [&](const WgmmaLane* lanes) {
    static float rows[16][K], columns[K][N];
    float* sums[32];
    for (u32 l = 0; l < 32; ++l) sums[l] = lanes[l].d;
    read(first_row, lanes, rows, columns);
    llm_test::add_to_lanes(sums, accumulate, rows[0], columns[0], N, K);
  });
}

constexpr u32 kNoWords[4] = {};
// A of a product in the registers of its warp.
template <typename T>
void unpack_lanes(const WgmmaLane* lanes, float (&a)[16][16]) {
  for (u32 l = 0; l < 32; ++l) unpack_fragment<T>(lanes[l].a, l, a);
}

template <typename T, int N>
void wgmma(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {
  wgmma_by_warp<N, 16>(d, kNoWords, accumulate,
                       [&](u32 first, const WgmmaLane*, float(&rows)[16][16], float(&columns)[16][N]) {
                         for (u32 r = 0; r < 16; ++r) wgmma_row<T>(rows[r], a, first + r);
                         wgmma_columns<T, N>(columns, b);
                       });
}

template <typename T, int N>
void wgmma_by_k(float (&d)[N / 2], const u32 (&a)[4], u64 b) {
  wgmma_by_warp<N, 16>(d, a, true, [&](u32, const WgmmaLane* lanes, float(&rows)[16][16], float(&columns)[16][N]) {
    unpack_lanes<T>(lanes, rows);
    const u32 base = static_cast<u32>(b & 0xffffffff) << 4, panel_bytes = static_cast<u32>(b >> 32);
    for (u32 k = 0; k < 16; ++k) {
      for (u32 n = 0; n < N; n += 2) {
        u32 pair;
        std::memcpy(&pair, llm_test::block_shared() + swizzled_128(base + n / 64 * panel_bytes + k * 128 + n % 64 * 2),
                    4);
        unpack2<T>(pair, columns[k][n], columns[k][n + 1]);
      }
    }
  });
}

template <typename T, int N>
void wgmma_registers(float (&d)[N / 2], const u32 (&a)[4], u64 b, u32 accumulate) {
  wgmma_by_warp<N, 16>(d, a, accumulate,
                       [&](u32, const WgmmaLane* lanes, float(&rows)[16][16], float(&columns)[16][N]) {
                         unpack_lanes<T>(lanes, rows);
                         wgmma_columns<T, N>(columns, b);
                       });
}

template <int N>
void wgmma_e4m3(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {
  static const auto values = [] {
    std::array<float, 256> all;
    for (u32 code = 0; code < 256; ++code) all[code] = code_value(E4m3{}, static_cast<unsigned char>(code));
    return all;
  }();
  wgmma_by_warp<N, 32>(d, kNoWords, accumulate,
                       [&](u32 first, const WgmmaLane*, float(&rows)[16][32], float(&columns)[32][N]) {
                         const auto value = [&](u32 at, u32 k) {
                           return values[static_cast<unsigned char>(llm_test::block_shared()[at + k % 16])];
                         };
                         for (u32 k = 0; k < 32; ++k) {
                           const u32 piece = k / 16 * 16;
                           for (u32 r = 0; r < 16; ++r)
                             rows[r][k] = value(swizzled_128(static_cast<u32>(a << 4) + (first + r) * 128 + piece), k);
                           for (u32 n = 0; n < N; ++n)
                             columns[k][n] = value(swizzled_64(static_cast<u32>(b << 4) + n * 64 + piece), k);
                         }
                       });
}
