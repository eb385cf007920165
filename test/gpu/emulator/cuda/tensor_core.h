// Stands in for kernels_templates/cuda/tensor_core.h: matrix fragments lie in the lanes as the PTX manual lays them
// out, except for wmma, whose layout is unspecified: there a lane's registers hold row lane / 2 of the matrix, half of
// it each.
#pragma once

#include "cuda/types.h"
#include "test/gpu/emulator/products.h"

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
  struct Lane {
    const WmmaOperand<T>*a, *b;
    float* d;
  };
  llm_test::warp_compute(Lane{&a, &b, d}, [](const Lane* lanes) {
    float rows[16][16], columns[16][16], sums[16][16];
    for (u32 l = 0; l < 16; ++l) {
      for (u32 k = 0; k < 16; k += 2) {
        unpack2<T>(lanes[l].a->r[k / 2], rows[l][k], rows[l][k + 1]);
        unpack2<T>(lanes[l].b->r[k / 2], columns[k][l], columns[k + 1][l]);
      }
    }
    for (u32 l = 0; l < 32; ++l) std::memcpy(&sums[l % 16][l / 16 * 8], lanes[l].d, sizeof(sums[0]) / 2);
    llm_test::add_product(sums[0], rows[0], columns[0], 16, 16);
    for (u32 l = 0; l < 32; ++l) std::memcpy(lanes[l].d, &sums[l % 16][l / 16 * 8], sizeof(sums[0]) / 2);
  });
}
inline void wmma_store(float* p, const float (&d)[8], int stride) {
  const u32 lane = llm_test::current_thread() % 32;
  for (u32 j = 0; j < 8; ++j) p[lane % 16 * static_cast<u32>(stride) + lane / 16 * 8 + j] = d[j];
  llm_test::warp_barrier();
}

// --- mma m16n8k16
// -----------------------------------------------------------------------------------------------------------

// A lane's words of a 16 x 16 operand, rows g and g + 8: columns 2 t, 2 t + 1 of both, then columns 2 t + 8, 2 t + 9.
template <typename T>
void unpack_fragment(const u32 (&words)[4], u32 lane, float (&a)[16][16]) {
  for (u32 i = 0; i < 4; ++i) {
    float* pair = &a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8];
    unpack2<T>(words[i], pair[0], pair[1]);
  }
}

template <typename T>
void mma_16816(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  struct Lane {
    u32 a[4], b[2];
    float* d;
  };
  llm_test::warp_compute(Lane{{a0, a1, a2, a3}, {b0, b1}, d}, [](const Lane* lanes) {
    float a[16][16], b[16][8];
    float* sums[32];
    for (u32 l = 0; l < 32; ++l) {
      unpack_fragment<T>(lanes[l].a, l, a);
      for (u32 i = 0; i < 2; ++i) {
        const u32 k = l % 4 * 2 + i * 8;
        unpack2<T>(lanes[l].b[i], b[k][l / 4], b[k + 1][l / 4]);
      }
      sums[l] = lanes[l].d;
    }
    llm_test::add_to_lanes(sums, true, a[0], b[0], 8, 16);
  });
}

// Four matrices of eight rows of 16 bytes: lane l tells the address of row l % 8 of matrix l / 8.
struct MatrixLane {
  u32 address, r[4];
};

inline void mma_16832(i32 (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  struct Lane {
    const u32* a;
    u32 b[2];
    i32* d;
  };
  llm_test::warp_compute(Lane{a, {b0, b1}, d}, [](const Lane* lanes) {
    for (u32 l = 0; l < 32; ++l)
      for (u32 i = 0; i < 4; ++i) {
        const u32 row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
        for (u32 half = 0; half < 2; ++half)
          for (u32 t = 0; t < 4; ++t)
            lanes[l].d[i] = dp4a(lanes[row % 8 * 4 + t].a[row / 8 + half * 2], lanes[column * 4 + t].b[half], lanes[l].d[i]);
      }
  });
}

// Byte i of a word of e4m3 codes.
inline float e4m3_at(u32 word, u32 i) {
  float value, zero;
  unpack2<f16>(f16_pair_of_e4m3(static_cast<u16>(word >> (8 * i) & 0xff)), value, zero);
  return value;
}

inline void mma_16832_e4m3(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  struct Lane {
    u32 a[4], b[2];
    float* d;
  };
  llm_test::warp_compute(Lane{{a0, a1, a2, a3}, {b0, b1}, d}, [](const Lane* lanes) {
    float a[16][32], b[32][8];
    float* sums[32];
    for (u32 l = 0; l < 32; ++l) {
      for (u32 i = 0; i < 4; ++i) {
        const u32 k = l % 4 * 4 + i;
        for (u32 word = 0; word < 4; ++word) a[l / 4 + word % 2 * 8][k + word / 2 * 16] = e4m3_at(lanes[l].a[word], i);
        for (u32 word = 0; word < 2; ++word) b[k + word * 16][l / 4] = e4m3_at(lanes[l].b[word], i);
      }
      sums[l] = lanes[l].d;
    }
    llm_test::add_to_lanes(sums, true, a[0], b[0], 8, 32);
  });
}

template <bool Transposed>
void load_matrices(u32 (&r)[4], u32 address) {
  if (address % 16 != 0) llm_test::emulator_fail("ldmatrix of an unaligned row");
  const MatrixLane own = llm_test::warp_compute(MatrixLane{address, {}}, [](MatrixLane* lanes) {
    for (u32 m = 0; m < 4; ++m) {
      u16 values[8][8];
      for (u32 row = 0; row < 8; ++row)
        std::memcpy(values[row], llm_test::block_shared() + lanes[m * 8 + row].address, 16);
      for (u32 l = 0; l < 32; ++l) {
        const u32 g = l / 4, t = l % 4 * 2;
        lanes[l].r[m] = Transposed ? values[t][g] | static_cast<u32>(values[t + 1][g]) << 16
                                   : values[g][t] | static_cast<u32>(values[g][t + 1]) << 16;
      }
    }
  });
  std::memcpy(r, own.r, sizeof(r));
}
inline void ldmatrix_x4(u32 (&r)[4], u32 address) { load_matrices<false>(r, address); }
inline void ldmatrix_x4_transposed(u32 (&r)[4], u32 address) { load_matrices<true>(r, address); }

inline void stmatrix_x4(u32 address, u32 r0, u32 r1, u32 r2, u32 r3) {
  if (address % 16 != 0) llm_test::emulator_fail("stmatrix of an unaligned row");
  llm_test::warp_compute(MatrixLane{address, {r0, r1, r2, r3}}, [](const MatrixLane* lanes) {
    for (u32 m = 0; m < 4; ++m)
      for (u32 l = 0; l < 32; ++l)
        std::memcpy(llm_test::block_shared() + lanes[m * 8 + l / 4].address + l % 4 * 4, &lanes[l].r[m], 4);
  });
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
  if (destination % 8 != 0 || reinterpret_cast<uintptr_t>(source) % 8 != 0)
    llm_test::emulator_fail("cp.async of unaligned addresses");
  std::memcpy(llm_test::block_shared() + destination, source, 8);
}
inline void copy_async_commit() { llm_test::async_commit(); }
template <int Pending>
void copy_async_wait() {
  llm_test::async_wait(Pending);
}
