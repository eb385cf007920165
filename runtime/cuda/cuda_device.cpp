#include "runtime/cuda/cuda_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "runtime/cuda/cublas.h"
#include "runtime/cuda/cuda_handles.h"
#include "runtime/cuda/staging.h"
#include "runtime/cuda/tensor_map.h"
#include "runtime/parallel_jobs.h"

namespace llmrt {
namespace {

namespace fb = llm::fb;
using llm::Error;
using llm::Result;
using llm::Status;

constexpr uint64_t kAlignment = 256;
// Small buffers share allocations of this size: the driver rounds each of its own up to 2 MiB.
constexpr uint64_t kPoolBytes = 8ull << 20;
constexpr uint64_t kPooledBytes = 1ull << 20;
constexpr size_t kMarks = 64;

struct CudaProgram : DeviceProgram {
  CudaGraphExec graph;
};

struct LoadedKernel {
  CUfunction function = nullptr;
  const fb::KernelT* description = nullptr;
  uint32_t cluster = 1;  // blocks that run together
};

class CudaDevice : public Device {
 public:
  static Result<std::unique_ptr<Device>> open(int index, bool separate_allocations) {
    std::unique_ptr<CudaDevice> device(new CudaDevice());
    device->separate_allocations_ = separate_allocations;
    LLM_ASSIGN(device->context_, CudaContext::open(index));
    LLM_ASSIGN(const CudaDeviceInfo found, device->context_->info());
    device->info_.name = found.name;
    device->info_.kind = fb::TargetKind::cuda;
    device->info_.compute_capability = static_cast<uint32_t>(found.compute_capability);
    device->info_.units = found.sm_count;
    device->info_.total_bytes = found.total_bytes;
    device->info_.free_bytes = found.free_bytes;
    LLM_ASSIGN(device->stream_, make_stream(device->context_));
    for (size_t i = 0; i < kMarks; ++i) {
      LLM_ASSIGN(CudaEvent event, make_event(device->context_, EventKind::kSync));
      device->marks_.push_back(std::move(event));
    }
    return std::unique_ptr<Device>(std::move(device));
  }

  ~CudaDevice() override {
    // Nothing may be released that a queued launch still uses.
    if (context_ && stream_) {
      context_->make_current();
      context_->driver().cuStreamSynchronize(stream_.get());
    }
  }

  const DeviceInfo& info() const override { return info_; }

  Result<DeviceAddress> allocate(uint64_t bytes, const std::string& what) override {
    LLM_TRY(enter());
    const uint64_t size = (std::max<uint64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    if (!separate_allocations_ && size <= kPooledBytes) {
      if (pool_left_ < size) {
        LLM_ASSIGN(pool_next_, take(kPoolBytes, what));
        pool_left_ = kPoolBytes;
      }
      const DeviceAddress address = pool_next_;
      pool_next_ += size;
      pool_left_ -= size;
      return address;
    }
    return take(size, what);
  }

  void release(DeviceAddress address) override {
    std::erase_if(memory_, [&](const DeviceMemory& m) { return m.address() == address; });
  }

  Result<HostBuffer> allocate_host(uint64_t bytes, const std::string& what) override {
    LLM_TRY(enter());
    auto memory = PinnedMemory::allocate(context_, bytes);
    if (!memory) return Error{what + ": " + memory.error().message};
    std::memset(memory->host(), 0, bytes);
    const HostBuffer buffer{memory->host(), memory->device_address(), bytes};
    pinned_.push_back(std::move(*memory));
    return buffer;
  }

  // PTX is compiled by the driver here, on several threads: a kernel takes tens to hundreds of milliseconds.
  Status load_code(const llm::PlanFile& plan, const fb::TargetT& target, CodeForm form) override {
    LLM_TRY(enter());
    modules_.resize(target.modules.size());
    LLM_TRY(parallel(target.modules.size(), std::max(1u, std::thread::hardware_concurrency()), [&](size_t i) -> Status {
      const fb::ModuleT& module = *target.modules[i];
      const int32_t segment = form == CodeForm::kExact ? module.cubin : module.ptx;
      const std::string name = target.name + (form == CodeForm::kExact ? " cubin " : " PTX ") + std::to_string(i);
      if (segment < 0) return Error{"the plan has no " + name};
      LLM_ASSIGN(std::vector<std::byte> image, plan.read(static_cast<uint32_t>(segment)));
      image.push_back(std::byte{0});  // ends PTX
      LLM_ASSIGN(modules_[i], load_module(context_, image, name));
      return {};
    }));
    for (const auto& kernel : target.kernels) {
      LLM_ASSIGN(const CUfunction function, find_kernel(context_, modules_[kernel->module_index], kernel->name,
                                                        static_cast<int>(kernel->shared_bytes)));
      int cluster = 0;
      LLM_TRY(check(driver().cuFuncGetAttribute(&cluster, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH, function), "asking for a kernel's clusters"));
      kernels_.push_back({function, kernel.get(), static_cast<uint32_t>(std::max(cluster, 1))});
    }
    bool external = false;
    for (const auto& program : target.programs)
      for (const auto& launch : program->launches) external |= launch->external != nullptr;
    if (external) {
      LLM_ASSIGN(cublas_, Cublas::open(context_));
    }
    return {};
  }

  Result<std::vector<std::byte>> encode(const TensorMap& map) override {
    LLM_TRY(enter());
    LLM_ASSIGN(const CUtensorMap encoded, encode_tensor_map(driver(), map));
    std::vector<std::byte> bytes(sizeof(encoded));
    std::memcpy(bytes.data(), &encoded, sizeof(encoded));
    return bytes;
  }

  Result<std::unique_ptr<DeviceProgram>> build(std::span<const ResolvedLaunch> launches) override {
    LLM_TRY(enter());
    auto program = std::make_unique<CudaProgram>();
    for (const ResolvedLaunch& l : launches)
      if (l.gemm) LLM_TRY(cublas_->warm_up(stream_.get(), l));
    LLM_ASSIGN(program->graph, build_graph(context_, stream_.get(), cuda_launches(launches)));
    return std::unique_ptr<DeviceProgram>(std::move(program));
  }

  Status launch(DeviceProgram& program) override {
    LLM_TRY(enter());
    return check(driver().cuGraphLaunch(static_cast<CudaProgram&>(program).graph.get(), stream_.get()),
                 "launching a program");
  }

  Status upload(DeviceAddress destination, const void* source, uint64_t bytes) override {
    LLM_TRY(enter());
    if (bytes == 0) return {};
    return check(driver().cuMemcpyHtoDAsync(destination, source, bytes, stream_.get()), "copying to the device");
  }

  // Events are reused in turn. A later mark in the same event only makes an old wait longer: the queue is in order.
  Result<uint64_t> record() override {
    LLM_TRY(enter());
    const uint64_t mark = next_mark_++;
    LLM_TRY(check(driver().cuEventRecord(marks_[mark % kMarks].get(), stream_.get()), "marking the queue"));
    return mark;
  }

  Status wait(uint64_t mark) override {
    LLM_TRY(enter());
    return check(driver().cuEventSynchronize(marks_[mark % kMarks].get()), "running a step");
  }

  Result<bool> reached(uint64_t mark) override {
    LLM_TRY(enter());
    const CUresult status = driver().cuEventQuery(marks_[mark % kMarks].get());
    if (status == CUDA_ERROR_NOT_READY) return false;
    LLM_TRY(check(status, "running a step"));
    return true;
  }

  Status synchronize() override {
    LLM_TRY(enter());
    return check(driver().cuStreamSynchronize(stream_.get()), "waiting for the device");
  }

  Status download(void* destination, DeviceAddress source, uint64_t bytes) override {
    LLM_TRY(enter());
    if (bytes == 0) return {};
    LLM_TRY(check(driver().cuMemcpyDtoHAsync(destination, source, bytes, stream_.get()), "copying from the device"));
    return synchronize();
  }

  using Device::copy_in;
  Status copy_in(std::span<const HostCopy> copies) override {
    LLM_TRY(enter());
    LLM_TRY(staging_.copy(context_, stream_.get(), copies));
    return synchronize();
  }

  Status run_once(const ResolvedLaunch& one) override {
    LLM_TRY(enter());
    LLM_TRY(llmrt::launch(context_, stream_.get(), cuda_launch(one)));
    return synchronize();
  }

  Result<std::vector<double>> time_launches(std::span<const ResolvedLaunch> launches, int repeats) override {
    LLM_TRY(enter());
    return llmrt::time_launches(context_, stream_.get(), cuda_launches(launches), repeats);
  }

  // The best of several copies between buffers well beyond the L2, or as large as what is left allows.
  Result<double> measure_bandwidth() override {
    LLM_TRY(enter());
    constexpr size_t kWantedBytes = 1ull << 30;
    constexpr int kPasses = 8;
    LLM_ASSIGN(const CudaDeviceInfo now, context_->info());
    const size_t bytes = std::min(kWantedBytes, now.free_bytes / 4);
    LLM_ASSIGN(const DeviceMemory from, DeviceMemory::allocate(context_, bytes));
    LLM_ASSIGN(const DeviceMemory to, DeviceMemory::allocate(context_, bytes));
    LLM_ASSIGN(const CudaEvent begin, make_event(context_, EventKind::kTiming));
    LLM_ASSIGN(const CudaEvent end, make_event(context_, EventKind::kTiming));
    double best = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      LLM_TRY(check(driver().cuEventRecord(begin.get(), stream_.get()), "measuring the bandwidth"));
      LLM_TRY(check(driver().cuMemcpyDtoDAsync(to.address(), from.address(), bytes, stream_.get()),
                    "measuring the bandwidth"));
      LLM_TRY(check(driver().cuEventRecord(end.get(), stream_.get()), "measuring the bandwidth"));
      LLM_TRY(synchronize());
      float ms = 0.0f;
      driver().cuEventElapsedTime(&ms, begin.get(), end.get());
      if (ms > 0.0f) best = std::max(best, 2.0 * static_cast<double>(bytes) / ms * 1e-6);
    }
    return best;
  }

 private:
  CudaDevice() = default;

  const Driver& driver() const { return context_->driver(); }

  // Makes the context current; after an error that lost it, says so instead of failing in some later call's name.
  Status enter() const {
    context_->make_current();
    if (!is_lost_) return {};
    const std::lock_guard lock(lost_mutex_);
    return Error{"the CUDA context was lost earlier (" + lost_ + "): restart the program"};
  }

  Status check(CUresult status, const char* what) {
    if (is_sticky(status)) {
      const std::lock_guard lock(lost_mutex_);
      lost_ = std::string(what) + ": " + driver().error_text(status);
      is_lost_ = true;
    }
    return driver().check(status, what);
  }

  Result<DeviceAddress> take(uint64_t bytes, const std::string& what) {
    auto memory = DeviceMemory::allocate(context_, bytes);
    if (!memory) return Error{what + ": " + memory.error().message};
    const DeviceAddress address = memory->address();
    LLM_TRY(check(driver().cuMemsetD8Async(address, 0, bytes, stream_.get()), "clearing device memory"));
    memory_.push_back(std::move(*memory));
    return address;
  }

  CudaLaunch cuda_launch(const ResolvedLaunch& l) const {
    CudaLaunch launch;
    if (l.gemm) {
      launch.external = [this, l](CUstream stream) { return cublas_->run(stream, l); };
      launch.after = l.after;
      launch.name = "cuBLAS";
      return launch;
    }
    const LoadedKernel& kernel = kernels_[l.kernel];
    launch.function = kernel.function;
    std::copy(l.grid, l.grid + 3, launch.grid);
    launch.grid[0] -= launch.grid[0] % kernel.cluster;  // an odd number of SMs
    launch.threads = kernel.description->threads;
    launch.shared_bytes = kernel.description->shared_bytes;
    launch.arguments = l.slots;
    launch.after = l.after;
    launch.programmatic = l.programmatic;
    launch.cooperative = l.cooperative;
    launch.name = kernel.description->name;
    return launch;
  }

  std::vector<CudaLaunch> cuda_launches(std::span<const ResolvedLaunch> launches) const {
    std::vector<CudaLaunch> out;
    for (const ResolvedLaunch& l : launches) out.push_back(cuda_launch(l));
    return out;
  }

  // Destroyed from the last to the first: the context outlives all.
  CudaContextPtr context_;
  DeviceInfo info_;
  bool separate_allocations_ = false;
  CudaStream stream_;
  std::vector<DeviceMemory> memory_;
  std::vector<PinnedMemory> pinned_;
  DeviceAddress pool_next_ = 0;
  uint64_t pool_left_ = 0;
  std::vector<CudaModule> modules_;
  std::vector<LoadedKernel> kernels_;
  std::unique_ptr<Cublas> cublas_;  // null if the plan has no external calls
  Staging staging_;
  std::vector<CudaEvent> marks_;
  uint64_t next_mark_ = 0;
  std::atomic<bool> is_lost_{false};
  mutable std::mutex lost_mutex_;
  std::string lost_;  // the error that lost the context
};

}  // namespace

int cuda_device_count() {
  const auto driver = Driver::load();
  int count = 0;
  if (!driver || (*driver)->cuDeviceGetCount(&count) != CUDA_SUCCESS) return 0;
  return count;
}

Result<std::unique_ptr<Device>> make_cuda_device(int index, bool separate_allocations) {
  return CudaDevice::open(index, separate_allocations);
}

}  // namespace llmrt
