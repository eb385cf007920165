// Owners of CUDA objects: context, memory, streams, events, modules, graphs. Each releases what it holds; none is
// copied.
//
// All of them make the context current on the calling thread first, so that any thread may use or destroy them.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/cuda/driver.h"

namespace llmrt {

struct CudaDeviceInfo {
  int index = 0;
  std::string name;
  int compute_capability = 0;  // 90: 9.0
  int sm_count = 0;
  size_t total_bytes = 0;
  size_t free_bytes = 0;     // when it was asked
  int max_shared_bytes = 0;  // that one block may opt in to
  int driver_version = 0;    // 12090
};

// The primary context of one device.
class CudaContext {
 public:
  static llm::Result<std::shared_ptr<const CudaContext>> open(int device_index);
  ~CudaContext();
  CudaContext(const CudaContext&) = delete;
  CudaContext& operator=(const CudaContext&) = delete;

  const Driver& driver() const { return *driver_; }
  void make_current() const { driver_->cuCtxSetCurrent(context_); }
  llm::Result<CudaDeviceInfo> info() const;

 private:
  CudaContext() = default;
  const Driver* driver_ = nullptr;
  CUdevice device_ = 0;
  int index_ = 0;
  CUcontext context_ = nullptr;
};

using CudaContextPtr = std::shared_ptr<const CudaContext>;

// One allocation on the device; `zeroed` memory where asked for.
class DeviceMemory {
 public:
  static llm::Result<DeviceMemory> allocate(CudaContextPtr context, size_t bytes);
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceMemory();

  CUdeviceptr address() const { return address_; }
  void* pointer() const { return reinterpret_cast<void*>(address_); }
  size_t bytes() const { return bytes_; }

 private:
  void swap(DeviceMemory& other) {
    std::swap(context_, other.context_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
  }
  CudaContextPtr context_;
  CUdeviceptr address_ = 0;
  size_t bytes_ = 0;
};

// Page-locked host memory that the device reads and writes: staging for copies, and the ring that sampled ids go to.
class PinnedMemory {
 public:
  static llm::Result<PinnedMemory> allocate(CudaContextPtr context, size_t bytes);
  PinnedMemory() = default;
  PinnedMemory(PinnedMemory&& other) noexcept { swap(other); }
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~PinnedMemory();

  std::byte* host() const { return host_; }
  CUdeviceptr device_address() const { return device_; }  // the same memory, as kernels address it
  size_t bytes() const { return bytes_; }

 private:
  void swap(PinnedMemory& other) {
    std::swap(context_, other.context_);
    std::swap(host_, other.host_);
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
  }
  CudaContextPtr context_;
  std::byte* host_ = nullptr;
  CUdeviceptr device_ = 0;
  size_t bytes_ = 0;
};

// Stream, event, module and graphs differ only in the handle and the call that destroys it.
template <typename Handle>
class CudaHandle {
 public:
  using Destroy = CUresult(CUDAAPI*)(Handle);
  CudaHandle() = default;
  CudaHandle(CudaContextPtr context, Handle handle, Destroy destroy)
      : context_(std::move(context)), handle_(handle), destroy_(destroy) {}
  CudaHandle(CudaHandle&& other) noexcept { swap(other); }
  CudaHandle& operator=(CudaHandle&& other) noexcept {
    swap(other);
    return *this;
  }
  ~CudaHandle() {
    if (!handle_) return;
    context_->make_current();
    destroy_(handle_);
  }
  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  void swap(CudaHandle& other) {
    std::swap(context_, other.context_);
    std::swap(handle_, other.handle_);
    std::swap(destroy_, other.destroy_);
  }
  CudaContextPtr context_;
  Handle handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

using CudaStream = CudaHandle<CUstream>;
using CudaEvent = CudaHandle<CUevent>;
using CudaModule = CudaHandle<CUmodule>;
using CudaGraph = CudaHandle<CUgraph>;
using CudaGraphExec = CudaHandle<CUgraphExec>;

llm::Result<CudaStream> make_stream(const CudaContextPtr& context);
// `timing`: the event records a time that cuEventElapsedTime can read; without, it is cheaper.
enum class EventKind { kSync, kTiming };
llm::Result<CudaEvent> make_event(const CudaContextPtr& context, EventKind kind);
// `image`: a cubin, or PTX ending in a zero byte, which the driver compiles.
llm::Result<CudaModule> load_module(const CudaContextPtr& context, std::span<const std::byte> image,
                                    const std::string& name);

// A kernel's entry point, with the dynamic shared memory that it needs granted.
llm::Result<CUfunction> find_kernel(const CudaContextPtr& context, const CudaModule& module, const std::string& entry,
                                    int shared_bytes);

// --- Launches and graphs
// ---------------------------------------------------------------------------------------------------

// One kernel launch with its argument block (an image of a struct of kernels_templates/abi.h), or a library's work.
struct CudaLaunch {
  std::function<llm::Status(CUstream)> external;  // queues the library's work, in place of all up to `arguments`
  CUfunction function = nullptr;
  unsigned grid[3] = {1, 1, 1};
  unsigned threads = 1;
  unsigned shared_bytes = 0;
  std::vector<uint64_t> arguments;
  std::vector<uint32_t> after;  // earlier launches of the list that must have finished
  bool programmatic = false;    // starts before its only predecessor has finished, where the driver has such edges
  bool cooperative = false;     // all blocks must run at once; graphs only
  std::string name;             // for messages
};

llm::Status launch(const CudaContextPtr& context, CUstream stream, const CudaLaunch& launch);

// An executable graph with one node a launch (a kernel, or a child graph captured from the external work, which has to
// be warmed up) and an edge for each entry of `after`; uploaded, ready to be launched.
llm::Result<CudaGraphExec> build_graph(const CudaContextPtr& context, CUstream stream,
                                       std::span<const CudaLaunch> launches);

// Runs the launches in order, `repeats` times over, and returns each one's median microseconds between two events.
llm::Result<std::vector<double>> time_launches(const CudaContextPtr& context, CUstream stream,
                                               std::span<const CudaLaunch> launches, int repeats);

}  // namespace llmrt
