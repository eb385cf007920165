#include "runtime/cpu/cpu_device.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "plan/cpu_features.h"
#include "runtime/cpu/thread_pool.h"
#include "runtime/cpu/topology.h"
#include "runtime/median.h"

namespace llmrt {
namespace {

namespace fb = llm::fb;

using Kernel = void (*)(const void* args, uint32_t x, uint32_t y,
                        uint32_t z);  // LLM_KERNEL in kernels_templates/x86/types.h

uint64_t available_memory() {
  if (FILE* f = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    unsigned long long kib;
    while (std::fgets(line, sizeof line, f))
      if (std::sscanf(line, "MemAvailable: %llu", &kib) == 1) {
        std::fclose(f);
        return kib * 1024;
      }
    std::fclose(f);
  }
  struct sysinfo info;
  return sysinfo(&info) == 0 ? static_cast<uint64_t>(info.freeram) * info.mem_unit : 0;
}

struct CpuLaunch {
  Kernel kernel;
  uint32_t grid[3];
  std::vector<uint64_t> args;

  uint64_t tiles() const { return uint64_t{grid[0]} * grid[1] * grid[2]; }
  static void run(const void* self, uint64_t tile) {
    const CpuLaunch& l = *static_cast<const CpuLaunch*>(self);
    const uint64_t row = tile / l.grid[0];
    l.kernel(l.args.data(), static_cast<uint32_t>(tile % l.grid[0]), static_cast<uint32_t>(row % l.grid[1]),
             static_cast<uint32_t>(row / l.grid[1]));
  }
};

// Launches that do not depend on each other: one after the other in one count of tiles, without a barrier in between.
struct CpuRound {
  std::vector<CpuLaunch> launches;
  uint64_t tiles = 0;

  void add(CpuLaunch launch) {
    tiles += launch.tiles();
    launches.push_back(std::move(launch));
  }
  static void run(const void* self, uint64_t tile) {
    auto launch = static_cast<const CpuRound*>(self)->launches.begin();
    for (; tile >= launch->tiles(); ++launch) tile -= launch->tiles();
    CpuLaunch::run(&*launch, tile);
  }
};

struct CpuProgram : DeviceProgram {
  std::vector<CpuRound> rounds;
};

class CpuDevice : public Device {
 public:
  explicit CpuDevice(int threads) : pool_(threads) {
    info_.name = "x86-64 CPU, " + std::to_string(threads) + (threads == 1 ? " thread" : " threads");
    info_.kind = fb::TargetKind::x86;
    info_.features = llm::cpu_features();
    info_.units = threads;
    info_.free_bytes = available_memory();
    struct sysinfo s;
    info_.total_bytes = sysinfo(&s) == 0 ? static_cast<uint64_t>(s.totalram) * s.mem_unit : info_.free_bytes;
    info_.host_addressable = true;
  }

  ~CpuDevice() override {
    for (const auto& [data, bytes] : blocks_) munmap(data, bytes);
    if (library_) dlclose(library_);
  }

  const DeviceInfo& info() const override { return info_; }

  // Each allocation is a mapping of its own: zeroed, page-aligned, and an overrun of the last page faults.
  llm::Result<DeviceAddress> allocate(uint64_t bytes, const std::string& what) override {
    const uint64_t size = std::max<uint64_t>(bytes, 1);
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED) return llm::Error{"cannot allocate " + std::to_string(bytes) + " bytes for " + what};
    madvise(data, size, MADV_HUGEPAGE);
    interleave_pages(data, size);
    blocks_.push_back({data, size});
    return reinterpret_cast<DeviceAddress>(data);
  }

  void release(DeviceAddress address) override {
    const auto block = std::find_if(blocks_.begin(), blocks_.end(),
                                    [&](const auto& b) { return reinterpret_cast<DeviceAddress>(b.first) == address; });
    if (block == blocks_.end()) return;
    munmap(block->first, block->second);
    blocks_.erase(block);
  }

  llm::Result<HostBuffer> allocate_host(uint64_t bytes, const std::string& what) override {
    LLM_ASSIGN(const DeviceAddress address, allocate(bytes, what));
    return HostBuffer{reinterpret_cast<std::byte*>(address), address, bytes};
  }

  // Maps the very bytes that were verified: a sealed memory file.
  llm::Result<std::vector<std::byte>> encode(const TensorMap&) override {
    return llm::Error{"an x86 target has no tensor maps"};
  }

  llm::Status load_code(const llm::PlanFile& plan, const fb::TargetT& target, CodeForm) override {
    for (const auto& k : target.kernels)
      if (target.modules[k->module_index]->object < 0) return llm::Error{"kernel " + k->name + " has no x86 code"};
    LLM_ASSIGN(const std::vector<std::byte> object, plan.read(static_cast<uint32_t>(target.modules[0]->object)));
    const int fd = memfd_create("llm_kernels", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return llm::Error{"memfd_create failed"};
    for (size_t done = 0; done < object.size();) {
      const ssize_t n = ::write(fd, object.data() + done, object.size() - done);
      if (n <= 0) {
        ::close(fd);
        return llm::Error{"cannot write the kernels to memory"};
      }
      done += static_cast<size_t>(n);
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    library_ = dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW | RTLD_LOCAL);
    const std::string error = library_ ? "" : dlerror();
    ::close(fd);
    if (!library_) return llm::Error{"cannot load the kernels of target " + target.name + ": " + error};
    for (const auto& k : target.kernels) {
      auto kernel = reinterpret_cast<Kernel>(dlsym(library_, k->name.c_str()));
      if (!kernel) return llm::Error{"the code of target " + target.name + " has no kernel " + k->name};
      kernels_.push_back(kernel);
    }
    return {};
  }

  llm::Result<std::unique_ptr<DeviceProgram>> build(std::span<const ResolvedLaunch> launches) override {
    auto program = std::make_unique<CpuProgram>();
    std::vector<size_t> round_of;  // the first behind those of its predecessors
    for (const ResolvedLaunch& l : launches) {
      size_t round = 0;
      for (uint32_t before : l.after) round = std::max(round, round_of[before] + 1);
      round_of.push_back(round);
      if (round == program->rounds.size()) program->rounds.emplace_back();
      program->rounds[round].add(resolve(l));
    }
    return std::unique_ptr<DeviceProgram>(std::move(program));
  }

  llm::Status launch(DeviceProgram& program) override {
    for (const CpuRound& round : static_cast<CpuProgram&>(program).rounds) {
      if (round.launches.size() == 1)
        run(round.launches[0]);
      else
        pool_.for_each_tile(round.tiles, CpuRound::run, &round);
    }
    return {};
  }

  llm::Status upload(DeviceAddress destination, const void* source, uint64_t bytes) override {
    std::memcpy(reinterpret_cast<void*>(destination), source, bytes);
    return {};
  }
  llm::Result<uint64_t> record() override { return uint64_t{0}; }
  llm::Status wait(uint64_t) override { return {}; }
  llm::Result<bool> reached(uint64_t) override { return true; }
  llm::Status synchronize() override { return {}; }

  llm::Status download(void* destination, DeviceAddress source, uint64_t bytes) override {
    std::memcpy(destination, reinterpret_cast<const void*>(source), bytes);
    return {};
  }
  using Device::copy_in;
  llm::Status copy_in(std::span<const HostCopy> copies) override {
    for (const HostCopy& c : copies) LLM_TRY(upload(c.destination, c.source.data(), c.source.size()));
    return {};
  }
  llm::Status run_once(const ResolvedLaunch& launch) override {
    run(resolve(launch));
    return {};
  }

  llm::Result<std::vector<double>> time_launches(std::span<const ResolvedLaunch> launches, int repeats) override {
    std::vector<std::vector<double>> samples(launches.size());
    for (int r = 0; r < repeats; ++r)
      for (size_t i = 0; i < launches.size(); ++i) {
        const CpuLaunch l = resolve(launches[i]);
        const auto begin = std::chrono::steady_clock::now();
        run(l);
        samples[i].push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
      }
    return medians(samples);
  }

  // Every thread sums its share of 512 MB; the best of five passes, the first of which faults the pages in.
  llm::Result<double> measure_bandwidth() override {
    constexpr uint64_t kBytes = 512 << 20, kTiles = 512;
    struct Job {
      const uint64_t* data;
      uint64_t* sums;
    };
    void* data = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return llm::Error{"cannot allocate memory to measure the bandwidth"};
    madvise(data, kBytes, MADV_HUGEPAGE);
    std::memset(data, 1, kBytes);
    std::vector<uint64_t> sums(kTiles * 8);
    const Job job{static_cast<const uint64_t*>(data), sums.data()};
    double best = 0;
    for (int pass = 0; pass < 5; ++pass) {
      const auto begin = std::chrono::steady_clock::now();
      pool_.for_each_tile(
          kTiles,
          [](const void* context, uint64_t tile) {
            const Job& j = *static_cast<const Job*>(context);
            constexpr uint64_t kWords = kBytes / kTiles / sizeof(uint64_t);
            uint64_t sum[8] = {};
            for (uint64_t i = 0; i < kWords; i += 8)
              for (uint64_t k = 0; k < 8; ++k) sum[k] += j.data[tile * kWords + i + k];
            for (uint64_t k = 0; k < 8; ++k) j.sums[tile * 8 + k] = sum[k];
          },
          &job);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      best = std::max(best, static_cast<double>(kBytes) / seconds / 1e9);
    }
    munmap(data, kBytes);
    return best;
  }

 private:
  CpuLaunch resolve(const ResolvedLaunch& l) const {
    return {kernels_[l.kernel], {l.grid[0], l.grid[1], l.grid[2]}, l.slots};
  }
  void run(const CpuLaunch& l) { pool_.for_each_tile(l.tiles(), CpuLaunch::run, &l); }

  DeviceInfo info_;
  ThreadPool pool_;
  void* library_ = nullptr;
  std::vector<Kernel> kernels_;
  std::vector<std::pair<void*, size_t>> blocks_;
};

}  // namespace

llm::Result<std::unique_ptr<Device>> make_cpu_device(int threads) {
  if (threads < 0 || threads > 4096) return llm::Error{"--threads must be 0 to 4096, found " + std::to_string(threads)};
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(threads == 0 ? static_cast<int>(usable_cores().size()) : threads));
}

}  // namespace llmrt
