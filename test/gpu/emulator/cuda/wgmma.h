// Stands in for kernels_templates/cuda/wgmma.h: tensor copies land at once, with their swizzle, and a product is done
// when it is issued, each thread computing the sums that it holds.
#pragma once

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
  if (m.rank < 2 || m.rank > 3 || m.element_bytes != 2 || (m.swizzle_bytes != 128 && m.swizzle_bytes != 64) || m.box[0] * 2 != m.swizzle_bytes ||
      destination % (8 * m.swizzle_bytes) != 0)
    llm_test::emulator_fail("a tensor copy of another kind, or to an unaligned address");
  if (m.rank == 2) m.box[2] = 1, m.dims[2] = 1, m.strides[1] = 0;
  u32 to = destination;
  for (u32 z = place.at[2]; z < place.at[2] + m.box[2]; ++z) {
    for (u32 y = place.at[1]; y < place.at[1] + m.box[1]; ++y) {
      for (u32 x = place.at[0]; x < place.at[0] + m.box[0]; ++x, to += 2) {
        char* element = llm_test::block_shared() + (m.swizzle_bytes == 64 ? swizzled_64(to) : swizzled_128(to));
        if (x < m.dims[0] && y < m.dims[1] && z < m.dims[2]) {
          std::memcpy(element, m.base + z * m.strides[1] + y * m.strides[0] + x * 2, 2);
        } else {
          std::memset(element, 0, 2);
        }
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
  if (threadIdx.x % kWarp < Cluster) llm_test::in_block_of_cluster(threadIdx.x % kWarp, [&] { llm_test::phase_update(bar, 1, 0); });
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

template <typename T, int N>
void wgmma(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {
  const u32 thread = llm_test::current_thread() % 128, lane = thread % 32;
  float x[2][16], w[16];
  for (u32 h = 0; h < 2; ++h) wgmma_row<T>(x[h], a, thread / 32 * 16 + lane / 4 + h * 8);
  for (u32 j = 0; j < N / 8; ++j) {
    for (u32 i = 0; i < 2; ++i) {
      wgmma_row<T>(w, b, j * 8 + lane % 4 * 2 + i);
      for (u32 h = 0; h < 2; ++h) {
        float& sum = d[j * 4 + h * 2 + i];
        if (!accumulate) sum = 0;
        for (u32 k = 0; k < 16; ++k) sum += x[h][k] * w[k];
      }
    }
  }
}

// A of a product, in registers: rows g and g + 8 of this lane's warp.
struct WarpOperand {
  struct Words {
    u32 a[4];
  };
  const Words* words;

  explicit WarpOperand(const u32 (&a)[4]) : words(llm_test::warp_share(Words{{a[0], a[1], a[2], a[3]}})) {}
  template <typename T>
  void at(float (&x)[2], u32 k) const {
    const u32 g = llm_test::current_thread() % 32 / 4;
    for (u32 h = 0; h < 2; ++h) {
      float low, high;
      unpack2<T>(words[g * 4 + k % 8 / 2].a[h + k / 8 * 2], low, high);
      x[h] = k % 2 ? high : low;
    }
  }
};

template <typename T, int N>
void wgmma_by_k(float (&d)[N / 2], const u32 (&a)[4], u64 b) {
  const WarpOperand operand(a);
  const u32 t = llm_test::current_thread() % 4;
  const u32 base = static_cast<u32>(b & 0xffffffff) << 4, panel_bytes = static_cast<u32>(b >> 32);
  const char* shared = llm_test::block_shared();
  for (u32 k = 0; k < 16; ++k) {
    float x[2];
    operand.at<T>(x, k);
    for (u32 j = 0; j < N / 8; ++j) {
      const u32 n = j * 8 + t * 2;
      u32 pair;
      float w[2];
      std::memcpy(&pair, shared + swizzled_128(base + n / 64 * panel_bytes + k * 128 + n % 64 * 2), 4);
      unpack2<T>(pair, w[0], w[1]);
      for (u32 i = 0; i < 2; ++i)
        for (u32 h = 0; h < 2; ++h) d[j * 4 + h * 2 + i] += x[h] * w[i];
    }
  }
}

template <typename T, int N>
void wgmma_registers(float (&d)[N / 2], const u32 (&a)[4], u64 b, u32 accumulate) {
  const WarpOperand operand(a);
  const u32 t = llm_test::current_thread() % 4;
  float x[16][2], w[16];
  for (u32 k = 0; k < 16; ++k) operand.at<T>(x[k], k);
  for (u32 j = 0; j < N / 8; ++j) {
    for (u32 i = 0; i < 2; ++i) {
      wgmma_row<T>(w, b, j * 8 + t * 2 + i);
      for (u32 h = 0; h < 2; ++h) {
        float& sum = d[j * 4 + h * 2 + i];
        if (!accumulate) sum = 0;
        for (u32 k = 0; k < 16; ++k) sum += x[k][h] * w[k];
      }
    }
  }
}

template <int N>
void wgmma_e4m3(float (&d)[N / 2], u64 a, u64 b, u32 accumulate) {
  const u32 thread = llm_test::current_thread() % 128, lane = thread % 32;
  const char* shared = llm_test::block_shared();
  const auto row_of = [&](float (&values)[32], u32 first, u32 (*swizzled)(u32)) {
    for (u32 k = 0; k < 32; ++k)
      values[k] = code_value(E4m3{}, static_cast<unsigned char>(shared[swizzled(first + k / 16 * 16) + k % 16]));
  };
  float x[2][32], w[32];
  for (u32 h = 0; h < 2; ++h)
    row_of(x[h], static_cast<u32>(a << 4) + (thread / 32 * 16 + lane / 4 + h * 8) * 128, swizzled_128);
  for (u32 j = 0; j < N / 8; ++j) {
    for (u32 i = 0; i < 2; ++i) {
      row_of(w, static_cast<u32>(b << 4) + (j * 8 + lane % 4 * 2 + i) * 64, swizzled_64);
      for (u32 h = 0; h < 2; ++h) {
        float& sum = d[j * 4 + h * 2 + i];
        if (!accumulate) sum = 0;
        for (u32 k = 0; k < 32; ++k) sum += x[h][k] * w[k];
      }
    }
  }
}
