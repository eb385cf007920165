// Stands in for kernels_templates/cuda/tensor_core.h: matrix fragments lie in the lanes as the PTX manual lays them
// out, except for wmma, whose layout is unspecified: there a lane's registers hold row lane / 2 of the matrix, half of
// it each.
#pragma once

#include "cuda/types.h"

inline u32 shared_address(const void* p) {
  return static_cast<u32>(static_cast<const char*>(p) - llm_test::block_shared());
}

template <typename T>
T load_shared(u32 address) {
  if (address % sizeof(T) != 0) llm_test::emulator_fail("a load of an unaligned shared address");
  T v;
  std::memcpy(&v, llm_test::block_shared() + address, sizeof(T));
  return v;
}
inline uint4 load_shared16(u32 address) { return load_shared<uint4>(address); }
inline uint2 load_shared8(u32 address) { return load_shared<uint2>(address); }
inline u32 load_shared4(u32 address) { return load_shared<u32>(address); }
inline u16 load_shared2(u32 address) { return load_shared<u16>(address); }
inline u32 load_shared1(u32 address) { return load_shared<unsigned char>(address); }
inline u32 kept(u32 v) { return v; }

template <typename T>
KERNEL_FN float fragment_value(u32 word, int high) {
  float a, b;
  unpack2<T>(word, a, b);
  return high ? b : a;
}

// --- wmma
// ----------------------------------------------------------------------------------------------------------------

template <typename T>
struct WmmaOperand {
  u32 r[8];
};

// Row lane % 16; each lane holds all sixteen values of it.
template <typename T>
void wmma_load_row(WmmaOperand<T>& f, const T* p, int stride) {
  if (reinterpret_cast<uintptr_t>(p) % 32 != 0 || stride % 8 != 0)
    llm_test::emulator_fail("wmma load of an unaligned tile");
  std::memcpy(f.r, p + (llm_test::current_thread() % 16) * static_cast<u32>(stride), 32);
  llm_test::warp_barrier();
}
template <typename T>
void wmma_load_a(WmmaOperand<T>& f, const T* p, int stride) {
  wmma_load_row(f, p, stride);
}
template <typename T>
void wmma_load_b(WmmaOperand<T>& f, const T* p, int stride) {
  wmma_load_row(f, p, stride);
}

// The lane holds columns lane / 16 * 8 .. + 7 of row lane % 16 of the result.
template <typename T>
void wmma_multiply(float (&d)[8], const WmmaOperand<T>& a, const WmmaOperand<T>& b) {
  const WmmaOperand<T>* columns = llm_test::warp_share(b);
  const u32 lane = llm_test::current_thread() % 32;
  for (u32 j = 0; j < 8; ++j) {
    for (int k = 0; k < 16; ++k) {
      d[j] += fragment_value<T>(a.r[k / 2], k % 2) * fragment_value<T>(columns[lane / 16 * 8 + j].r[k / 2], k % 2);
    }
  }
}
inline void wmma_store(float* p, const float (&d)[8], int stride) {
  const u32 lane = llm_test::current_thread() % 32;
  for (u32 j = 0; j < 8; ++j) p[lane % 16 * static_cast<u32>(stride) + lane / 16 * 8 + j] = d[j];
  llm_test::warp_barrier();
}

// --- mma m16n8k16
// -----------------------------------------------------------------------------------------------------------

template <typename T>
void mma_16816(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  struct Words {
    u32 a[4], b[2];
  };
  const Words* words = llm_test::warp_share(Words{{a0, a1, a2, a3}, {b0, b1}});
  const u32 lane = llm_test::current_thread() % 32, g = lane / 4, t = lane % 4;
  for (u32 i = 0; i < 4; ++i) {
    const u32 row = g + i / 2 * 8, column = t * 2 + i % 2;
    for (u32 k = 0; k < 16; k += 2) {
      const u32 owner_t = k % 8 / 2;
      float a[2], b[2];
      unpack2<T>(words[row % 8 * 4 + owner_t].a[row / 8 + k / 8 * 2], a[0], a[1]);
      unpack2<T>(words[column * 4 + owner_t].b[k / 8], b[0], b[1]);
      for (u32 high : {0u, 1u}) d[i] += a[high] * b[high];
    }
  }
}

inline void mma_16832(i32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  struct Words {
    u32 a[4], b[2];
  };
  const Words* words = llm_test::warp_share(Words{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  const u32 lane = llm_test::current_thread() % 32, g = lane / 4, t = lane % 4;
  for (u32 i = 0; i < 4; ++i) {
    const u32 row = g + i / 2 * 8, column = t * 2 + i % 2;
    for (u32 half = 0; half < 2; ++half)
      for (u32 owner_t = 0; owner_t < 4; ++owner_t)
        d[i] = dp4a(words[row % 8 * 4 + owner_t].a[row / 8 + half * 2], words[column * 4 + owner_t].b[half], d[i]);
  }
}

template <bool Transposed>
void load_matrices(u32 (&r)[4], u32 address) {
  if (address % 16 != 0) llm_test::emulator_fail("ldmatrix of an unaligned row");
  const u32* rows = llm_test::warp_share(address);
  const u32 lane = llm_test::current_thread() % 32, g = lane / 4, t = lane % 4;
  const auto value = [&](u32 matrix, u32 row, u32 column) {
    u16 v;
    std::memcpy(&v, llm_test::block_shared() + rows[matrix * 8 + row] + column * 2, 2);
    return static_cast<u32>(v);
  };
  for (u32 m = 0; m < 4; ++m) {
    r[m] = Transposed ? value(m, 2 * t, g) | value(m, 2 * t + 1, g) << 16
                      : value(m, g, 2 * t) | value(m, g, 2 * t + 1) << 16;
  }
  llm_test::warp_barrier();
}
inline void ldmatrix_x4(u32 (&r)[4], u32 address) { load_matrices<false>(r, address); }
inline void ldmatrix_x4_transposed(u32 (&r)[4], u32 address) { load_matrices<true>(r, address); }

inline void stmatrix_x4(u32 address, u32 r0, u32 r1, u32 r2, u32 r3) {
  struct Lane {
    u32 address, r[4];
  };
  if (address % 16 != 0) llm_test::emulator_fail("stmatrix of an unaligned row");
  const Lane* lanes = llm_test::warp_share(Lane{address, {r0, r1, r2, r3}});
  const u32 lane = llm_test::current_thread() % 32;
  for (u32 m = 0; m < 4; ++m)
    std::memcpy(llm_test::block_shared() + lanes[m * 8 + lane / 4].address + lane % 4 * 4, &lanes[lane].r[m], 4);
  llm_test::warp_barrier();
}

// --- cp.async: nothing arrives before the wait that promises it
// --------------------------------------------------------------

inline void copy_async16(u32 destination, const void* source, bool valid) {
  if (destination % 16 != 0 || reinterpret_cast<uintptr_t>(source) % 16 != 0) {
    llm_test::emulator_fail("cp.async of unaligned addresses");
  }
  llm_test::async_copy(llm_test::block_shared() + destination, valid ? source : nullptr);
}
inline void copy_async8(u32 destination, const void* source) {
  if (destination % 8 != 0 || reinterpret_cast<uintptr_t>(source) % 8 != 0) llm_test::emulator_fail("cp.async of unaligned addresses");
  std::memcpy(llm_test::block_shared() + destination, source, 8);
}
inline void copy_async_commit() { llm_test::async_commit(); }
template <int Pending>
void copy_async_wait() {
  llm_test::async_wait(Pending);
}
