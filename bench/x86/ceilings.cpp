#include "bench/x86/ceilings.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "kernels_templates/variant.h"

namespace llm_bench {
namespace {

constexpr uint64_t kReadBytes = 512ull << 20;
constexpr int64_t kRounds = 1'000'000;  // of each compute loop and thread

// Best of five, in seconds; every thread runs job(tile) for its share of the tiles.
double best_seconds(llmrt::ThreadPool& pool, uint64_t tiles, const std::function<void(uint64_t)>& job) {
  double best = 1e30;
  for (int pass = 0; pass < 5; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    pool.for_each_tile(
        tiles,
        [](const void* context, uint64_t tile) { (*static_cast<const std::function<void(uint64_t)>*>(context))(tile); },
        &job);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

double read_gb_s(llmrt::ThreadPool& pool) {
  constexpr uint64_t kTiles = 512, kWords = kReadBytes / kTiles / 8;
  auto* data =
      static_cast<uint64_t*>(mmap(nullptr, kReadBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (data == MAP_FAILED) return 0;
  madvise(data, kReadBytes, MADV_HUGEPAGE);
  std::memset(data, 1, kReadBytes);
  std::vector<uint64_t> sums(kTiles * 8);
  const double seconds = best_seconds(pool, kTiles, [&](uint64_t tile) {
    uint64_t sum[8] = {};
    for (uint64_t i = 0; i < kWords; i += 8)
      for (uint64_t k = 0; k < 8; ++k) sum[k] += data[tile * kWords + i + k];
    std::copy(sum, sum + 8, &sums[tile * 8]);
  });
  munmap(data, kReadBytes);
  return static_cast<double>(kReadBytes) / seconds / 1e9;
}

// One operation that depends on nothing else for each of 12 registers, so that the units are never idle. A macro, for
// the sake of the instructions that each loop is compiled for.
#define LLM_BUSY_LOOP(name, features, Vector, operand, operation)              \
  __attribute__((target(features))) void name() {                              \
    Vector sum[12] = {};                                                       \
    const Vector x = operand;                                                  \
    for (int64_t i = 0; i < kRounds; ++i) {                                    \
      _Pragma("GCC unroll 12") for (auto& s : sum) operation;                  \
      _Pragma("GCC unroll 12") for (auto& s : sum) asm volatile("" : "+v"(s)); \
    }                                                                          \
  }
LLM_BUSY_LOOP(fma_loop_256, "avx2,fma", __m256, _mm256_set1_ps(0.5f), s = _mm256_fmadd_ps(x, x, s))
LLM_BUSY_LOOP(fma_loop_512, "avx512f", __m512, _mm512_set1_ps(0.5f), s = _mm512_fmadd_ps(x, x, s))
// By name: GCC keeps the sums of the intrinsic in memory.
LLM_BUSY_LOOP(vnni_loop, "avx512f,avx512vnni", __m512i, _mm512_set1_epi8(3), asm volatile("vpdpbusd %1, %1, %0" : "+v"(s) : "v"(x)))
#undef LLM_BUSY_LOOP

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four products of two by two tiles that stay in their registers.
template <bool kInt8>
__attribute__((target("amx-tile,amx-bf16,amx-int8"))) void amx_loop(const char* operands) {
  const TileConfiguration configuration;
  asm volatile("" : : "r"(&configuration) : "memory");  // GCC's intrinsic names 8 of the 64 bytes as its input
  _tile_loadconfig(&configuration);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, operands, 64);
  _tile_loadd(5, operands + 1024, 64);
  _tile_loadd(6, operands + 2048, 64);
  _tile_loadd(7, operands + 3072, 64);
  for (int64_t i = 0; i < kRounds / 4; ++i) {
    if constexpr (kInt8) {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    } else {
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_release();
}

// Operations a second, in units of 10^12, of a loop that does `operations` on each thread.
double tera(llmrt::ThreadPool& pool, double operations, const std::function<void()>& loop) {
  const uint64_t tiles = static_cast<uint64_t>(pool.threads());
  return operations * static_cast<double>(tiles) / best_seconds(pool, tiles, [&](uint64_t) { loop(); }) / 1e12;
}

}  // namespace

Ceilings measure_ceilings(llmrt::ThreadPool& pool, uint32_t features) {
  std::vector<char> operands(4096);
  std::mt19937 rng(1);
  for (size_t i = 0; i < operands.size(); i += 2) {  // bf16 of magnitude about one, both signs
    const uint16_t value = static_cast<uint16_t>(0x3f00 | (rng() & 0x80ff));
    std::memcpy(&operands[i], &value, sizeof value);
  }
  Ceilings c;
  c.read_gb_s = read_gb_s(pool);
  const double rounds = static_cast<double>(kRounds);
  if (features & llm::kAvx512)
    c.fma_tflops = tera(pool, rounds * 12 * 32, fma_loop_512);
  else if (features & llm::kAvx2)
    c.fma_tflops = tera(pool, rounds * 12 * 16, fma_loop_256);
  if (features & llm::kAvx512Vnni) c.vnni_tops = tera(pool, rounds * 12 * 128, vnni_loop);
  if (features & llm::kAmxBf16)
    c.amx_bf16_tflops = tera(pool, rounds * 16 * 16 * 32 * 2, [&] { amx_loop<false>(operands.data()); });
  if (features & llm::kAmxInt8)
    c.amx_int8_tops = tera(pool, rounds * 16 * 16 * 64 * 2, [&] { amx_loop<true>(operands.data()); });
  return c;
}

}  // namespace llm_bench
