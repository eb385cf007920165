// Every x86 variant of the linear layers with its share of what the machine can do: at one row of the read bandwidth,
// at 512 rows of the rate of the unit that it computes on. Ceilings are measured in the same run.
//
//   kernel_benchmark [--target x86-64-amx] [--threads 2] [--filter int8] [Google Benchmark's own options]
#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <thread>

#include "bench/x86/ceilings.h"
#include "compiler/targets/target.h"
#include "kernels_templates/abi.h"
#include "plan/cpu_features.h"
#include "plan/quantized_layout.h"
#include "runtime/cpu/thread_pool.h"
#include "test/x86/loaded_kernels.h"

namespace {

using namespace llm_abi;
using llm_test::KernelInstance;

constexpr int64_t kFewRows = 1, kManyRows = 512;
constexpr int64_t kColumns = 8192, kDepth = 4096, kGroup = 32, kInt8Group = 128, kCopies = 8;  // copies: more than any cache holds

// Aligned as the runtime's buffers are: rows of tiles must not span two cache lines.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  bool operator==(const AlignedAllocator&) const = default;
};
template <typename T>
using Buffer = std::vector<T, AlignedAllocator<T>>;

struct Buffers {
  Buffer<uint8_t> weights = Buffer<uint8_t>(kCopies * kColumns * kDepth * 2 + (1 << 22));
  Buffer<float> x = Buffer<float>(kManyRows * kDepth), out = Buffer<float>(kManyRows * kColumns);
  std::vector<float> scales = std::vector<float>(kManyRows * kDepth / kGroup, 0.01f);
  std::vector<i32> sums = std::vector<i32>(kManyRows * kDepth / kGroup, 3);

  Buffers() {
    std::mt19937 rng(1);
    for (size_t i = 0; i + 1 < weights.size();
         i += 2) {  // bf16 of magnitude about one: codes and scales may be any bits but NaN
      const uint16_t value = static_cast<uint16_t>(0x3f00 | (rng() & 0x80ff));
      std::memcpy(&weights[i], &value, sizeof value);
    }
    for (float& v : x) v = static_cast<float>(rng() % 2001) / 1000 - 1;
  }
};

struct Launch {
  llm_test::X86Kernel function;
  const void* args;
  int64_t grid_x;
};

// One instance at `rows` rows.
void run(benchmark::State& state, const KernelInstance& instance, int64_t rows, llmrt::ThreadPool& pool, Buffers& b,
         const llm_bench::Ceilings& ceilings) {
  const llm::Variant& v = *instance.variant;
  const bool quantized = v.code_types != 0;
  StepCounts counts{};
  for (i32& count : counts.rows) count = static_cast<i32>(rows);
  const int64_t group = instance.code == llm::CodeType::kU8 ? kDepth : kGroup;
  uint64_t bytes = kColumns * kDepth * (instance.weight == llm::ScalarType::kF32 ? 4 : 2);
  if (quantized) {
    llm::QuantizedShape shape{
        instance.code, kColumns, kDepth, group, instance.weight == llm::ScalarType::kF32 ? 4u : 2u, false, 16};
    bytes = llm::quantized_layout(shape)->bytes;
  }
  const int64_t copies = static_cast<int64_t>((b.weights.size() - (1 << 22)) / bytes);
  const int64_t grid_x = (kColumns + v.tile_cols - 1) / v.tile_cols, grid_y = (rows + v.tile_rows - 1) / v.tile_rows;
  LinearArgs dense{};
  LinearQuantizedArgs coded{};
  int64_t copy = 0;
  for (auto _ : state) {
    const uint8_t* w = b.weights.data() + static_cast<uint64_t>(copy++ % copies) * bytes;
    if (quantized) {
      coded.counts = &counts, coded.x = b.x.data(), coded.codes = w,
      coded.scales = w + kColumns * kDepth * llm::code_bits(instance.code) / 8;
      coded.out = b.out.data(), coded.n = kColumns, coded.k = kDepth, coded.group = group, coded.zero = instance.code == llm::CodeType::kU8 ? 128 : 8;
      coded.int8 = {reinterpret_cast<const signed char*>(b.x.data()), b.scales.data(), b.sums.data(), kInt8Group};
    } else {
      dense.counts = &counts, dense.x = b.x.data(), dense.w = w, dense.out = b.out.data(), dense.n = kColumns,
      dense.k = kDepth, dense.k_splits = 1;
    }
    const Launch launch{llm_test::x86_kernel(instance.entry()), quantized ? static_cast<const void*>(&coded) : &dense,
                        grid_x};
    pool.for_each_tile(
        static_cast<uint64_t>(grid_x * grid_y),
        [](const void* context, uint64_t tile) {
          const Launch& l = *static_cast<const Launch*>(context);
          const uint64_t columns = static_cast<uint64_t>(l.grid_x);
          l.function(l.args, static_cast<uint32_t>(tile % columns), static_cast<uint32_t>(tile / columns), 0);
        },
        &launch);
  }
  const double runs = static_cast<double>(state.iterations());
  const double tflop = 2.0 * static_cast<double>(rows * kColumns * kDepth) / 1e12;
  const double peak = v.tensor_cores && v.int8_group           ? ceilings.amx_int8_tops
                      : v.tensor_cores                         ? ceilings.amx_bf16_tflops
                      : v.int8_group && ceilings.vnni_tops > 0 ? ceilings.vnni_tops
                                                               : ceilings.fma_tflops;
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(runs * static_cast<double>(bytes) / 1e9, Counter::kIsRate);
  state.counters["of_read"] = Counter(runs * static_cast<double>(bytes) / 1e9 / ceilings.read_gb_s, Counter::kIsRate);
  state.counters["TFLOP/s"] = Counter(runs * tflop, Counter::kIsRate);
  state.counters["of_peak"] = Counter(runs * tflop / peak, Counter::kIsRate);
}

void empty_launch(benchmark::State& state, llmrt::ThreadPool& pool) {
  for (auto _ : state) pool.for_each_tile(static_cast<uint64_t>(pool.threads()), [](const void*, uint64_t) {}, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::string target_name = "native", filter;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  llmc::CodegenOptions options;
  options.jobs = 2;
  options.cache_folder = llmc::KernelCache::default_folder();
  CLI::App app{"Times the x86 kernels of linear layers"};
  app.add_option("--target", target_name, "An x86 target of llmc")->capture_default_str();
  app.add_option("--threads", threads, "Threads")->capture_default_str();
  app.add_option("--filter", filter, "Only kernels whose entry name contains this");
  CLI11_PARSE(app, argc, argv);
  const auto target = llmc::find_target(target_name, nullptr);
  if (!target || (*target)->kind != llmc::TargetKind::kX86 || ((*target)->features & ~llm::cpu_features())) {
    std::fprintf(stderr, "kernel_benchmark: error: this machine does not run '%s' as an x86 target\n",
                 target_name.c_str());
    return 1;
  }
  std::vector<KernelInstance> chosen;
  for (const KernelInstance& k : llm_test::all_instances(llm_test::x86_variants())) {
    const std::string family = k.variant->family, name = k.variant->name;
    const bool linear = family == "linear" || family == "linear_quantized";
    const bool usual =
        k.weight == llm::ScalarType::kBF16 && (k.operand == llm::ScalarType::kF32 || k.variant->tensor_cores);
    const bool codes = !k.variant->code_types || k.code == llm::CodeType::kU4 || k.code == llm::CodeType::kU8;
    if (linear && usual && codes && name.find("naive") == std::string::npos &&
        (k.variant->needs & ~(*target)->features) == 0 && k.entry().find(filter) != std::string::npos)
      chosen.push_back(k);
  }
  if (const auto status = llm_test::load_x86_kernels(**target, chosen, options); !status) {
    std::fprintf(stderr, "kernel_benchmark: error: %s\n", status.error().message.c_str());
    return 1;
  }
  llmrt::ThreadPool pool(threads);
  const llm_bench::Ceilings c = llm_bench::measure_ceilings(pool, (*target)->features);
  std::printf(
      "%s, %d threads: read %.1f GB/s, FMA %.2f TFLOP/s, VNNI %.2f TOP/s, AMX bf16 %.2f TFLOP/s, AMX int8 %.2f TOP/s\n",
      (*target)->name, threads, c.read_gb_s, c.fma_tflops, c.vnni_tops, c.amx_bf16_tflops, c.amx_int8_tops);
  Buffers buffers;
  benchmark::RegisterBenchmark("empty_launch", [&](benchmark::State& s) { empty_launch(s, pool); })->UseRealTime();
  for (const KernelInstance& k : chosen)
    for (const int64_t rows : {kFewRows, kManyRows}) {
      const llm::Variant& v = *k.variant;
      if (rows < v.min_rows || (v.max_rows && rows > v.max_rows) || (rows > 1 && v.tile_rows == 1)) continue;
      benchmark::RegisterBenchmark((k.entry() + "/rows:" + std::to_string(rows)).c_str(),
                                   [&, rows](benchmark::State& s) { run(s, k, rows, pool, buffers, c); })
          ->UseRealTime()
          ->MinTime(0.2);
    }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
