// What a device can do for the runtime: memory, code, programs of launches, and one in-order queue. Everything that
// knows plans, weights or sequences stands above this interface; everything that knows CUDA or threads below it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels_templates/variant.h"
#include "plan/plan_reader.h"
#include "plan/result.h"
#include "runtime/tensor_map.h"

namespace llmrt {

using DeviceAddress = uint64_t;

struct DeviceInfo {
  std::string name;  // "NVIDIA H200", "x86-64 CPU, 16 threads"
  llm::fb::TargetKind kind = llm::fb::TargetKind::x86;
  uint32_t compute_capability = 0;  // CUDA: 90 for 9.0
  uint32_t features = 0;            // x86: llm::Feature bits
  int units = 1;                    // SMs or threads
  uint64_t total_bytes = 0, free_bytes = 0;
  bool host_addressable = false;  // device addresses are host pointers: files can be used where they are mapped
};

// Pinned memory that host and device both see.
struct HostBuffer {
  std::byte* host = nullptr;
  DeviceAddress device = 0;
  uint64_t bytes = 0;
};

// Bytes for the device. `file`: the mapped file that they lie in, if any; they may then be read instead of touched.
struct HostCopy {
  DeviceAddress destination = 0;
  std::span<const std::byte> source;
  const llm::MappedFile* file = nullptr;
};

// A matrix product by cuBLAS; its slots are x, w, out and workspace (see ExternalCall in plan/plan.fbs).
struct GemmCall {
  llm::ScalarType type = llm::ScalarType::kF32;  // of x and w
  uint32_t rows = 0, cols = 0, k = 0;
  uint64_t workspace_bytes = 0;
};

// A launch with every argument final.
struct ResolvedLaunch {
  uint32_t kernel = 0;           // index into the target's kernels
  std::optional<GemmCall> gemm;  // in place of a kernel; CUDA only
  uint32_t grid[3] = {1, 1, 1};
  std::vector<uint64_t> slots;  // the argument block
  std::vector<uint32_t> after;  // earlier launches of the same program that must have finished
  bool cooperative = false;     // all blocks must run at once
  bool programmatic = false;    // may start before its only predecessor has finished, and waits for it by itself
};

class DeviceProgram {
 public:
  virtual ~DeviceProgram() = default;
};

// How CUDA code is loaded. x86 ignores it.
enum class CodeForm { kExact, kPtx };

class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;

  // Zeroed memory, aligned to 256 bytes, that lives as long as the device or until it is released. `what` names it in
  // errors.
  virtual llm::Result<DeviceAddress> allocate(uint64_t bytes, const std::string& what) = 0;
  // Gives back memory that nothing queued uses any more. (Small pieces may stay taken: they share blocks.)
  virtual void release(DeviceAddress address) = 0;
  virtual llm::Result<HostBuffer> allocate_host(uint64_t bytes, const std::string& what) = 0;

  // Loads the kernels of a target; called once, on any thread.
  virtual llm::Status load_code(const llm::PlanFile& plan, const llm::fb::TargetT& target, CodeForm form) = 0;

  // The form that kernels take, to be copied to device memory at a multiple of 64 bytes; its size is a multiple of
  // that. CUDA only.
  virtual llm::Result<std::vector<std::byte>> encode(const TensorMap& map) = 0;

  virtual llm::Result<std::unique_ptr<DeviceProgram>> build(std::span<const ResolvedLaunch> launches) = 0;

  // The queue: each call returns at once and takes effect after all earlier ones. `source` of an upload must stay
  // unchanged until then and be pinned for it to be asynchronous.
  virtual llm::Status launch(DeviceProgram& program) = 0;
  virtual llm::Status upload(DeviceAddress destination, const void* source, uint64_t bytes) = 0;
  // A mark behind everything queued so far.
  virtual llm::Result<uint64_t> record() = 0;
  virtual llm::Status wait(uint64_t mark) = 0;
  virtual llm::Result<bool> reached(uint64_t mark) = 0;

  // Blocking.
  virtual llm::Status synchronize() = 0;
  virtual llm::Status download(void* destination, DeviceAddress source, uint64_t bytes) = 0;
  // Copies from pageable (mapped) memory through pinned staging, all pieces at once; for weights. load_code may run on
  // another thread meanwhile.
  virtual llm::Status copy_in(std::span<const HostCopy> copies) = 0;
  llm::Status copy_in(DeviceAddress destination, std::span<const std::byte> source) {
    const HostCopy one{destination, source, nullptr};
    return copy_in(std::span(&one, 1));
  }
  virtual llm::Status run_once(const ResolvedLaunch& launch) = 0;

  // Microseconds of each launch on its own, the median of `repeats`; runs them in order, so that each sees real inputs.
  virtual llm::Result<std::vector<double>> time_launches(std::span<const ResolvedLaunch> launches, int repeats) = 0;

  // Measured memory bandwidth in GB/s: a read of a buffer far larger than the caches (CPU), a device-to-device copy
  // counting bytes read and written (CUDA). The ceiling that benchmarks compare with.
  virtual llm::Result<double> measure_bandwidth() = 0;
};

}  // namespace llmrt
