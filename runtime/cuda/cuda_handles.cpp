#include "runtime/cuda/cuda_handles.h"

#include "runtime/median.h"

namespace llmrt {

using llm::Error;
using llm::Result;
using llm::Status;

llm::Result<CudaContextPtr> CudaContext::open(int device_index) {
  LLM_ASSIGN(const Driver* driver, Driver::load());
  int count = 0;
  LLM_TRY(driver->check(driver->cuDeviceGetCount(&count), "counting CUDA devices"));
  if (device_index < 0 || device_index >= count) {
    return Error{"CUDA device " + std::to_string(device_index) + " does not exist: this machine has " +
                 std::to_string(count) + " (choose with --device, or see CUDA_VISIBLE_DEVICES)"};
  }
  std::shared_ptr<CudaContext> context(new CudaContext());
  context->index_ = device_index;
  LLM_TRY(driver->check(driver->cuDeviceGet(&context->device_, device_index), "opening the CUDA device"));
  LLM_TRY(driver->check(driver->cuDevicePrimaryCtxRetain(&context->context_, context->device_),
                        "creating the CUDA context"));
  context->driver_ = driver;
  context->make_current();
  return CudaContextPtr(std::move(context));
}

CudaContext::~CudaContext() {
  if (driver_) driver_->cuDevicePrimaryCtxRelease(device_);
}

Result<CudaDeviceInfo> CudaContext::info() const {
  make_current();
  const auto attribute = [this](CUdevice_attribute which) {
    int value = 0;
    driver_->cuDeviceGetAttribute(&value, which, device_);
    return value;
  };
  CudaDeviceInfo info;
  info.index = index_;
  char name[256] = {};
  LLM_TRY(driver_->check(driver_->cuDeviceGetName(name, sizeof(name) - 1, device_), "asking the device's name"));
  info.name = name;
  info.compute_capability = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) * 10 +
                            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.sm_count = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  info.max_shared_bytes = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  LLM_TRY(driver_->check(driver_->cuMemGetInfo(&info.free_bytes, &info.total_bytes), "asking for free device memory"));
  info.driver_version = driver_->version;
  return info;
}

Result<DeviceMemory> DeviceMemory::allocate(CudaContextPtr context, size_t bytes) {
  context->make_current();
  DeviceMemory memory;
  const Driver& driver = context->driver();
  if (bytes > 0) {
    LLM_TRY(driver.check(driver.cuMemAlloc(&memory.address_, bytes),
                         "allocating " + std::to_string(bytes >> 20) + " MiB of device memory"));
  }
  memory.bytes_ = bytes;
  memory.context_ = std::move(context);
  return memory;
}

DeviceMemory::~DeviceMemory() {
  if (!address_) return;
  context_->make_current();
  context_->driver().cuMemFree(address_);
}

Result<PinnedMemory> PinnedMemory::allocate(CudaContextPtr context, size_t bytes) {
  context->make_current();
  PinnedMemory memory;
  const Driver& driver = context->driver();
  void* host = nullptr;
  LLM_TRY(driver.check(
      driver.cuMemHostAlloc(&host, bytes ? bytes : 1, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE),
      "allocating " + std::to_string(bytes >> 10) + " KiB of pinned memory"));
  memory.host_ = static_cast<std::byte*>(host);
  memory.bytes_ = bytes;
  memory.context_ = std::move(context);
  LLM_TRY(driver.check(driver.cuMemHostGetDevicePointer(&memory.device_, host, 0), "mapping pinned memory"));
  return memory;
}

PinnedMemory::~PinnedMemory() {
  if (!host_) return;
  context_->make_current();
  context_->driver().cuMemFreeHost(host_);
}

Result<CudaStream> make_stream(const CudaContextPtr& context) {
  context->make_current();
  const Driver& driver = context->driver();
  CUstream stream = nullptr;
  LLM_TRY(driver.check(driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "creating a CUDA stream"));
  return CudaStream(context, stream, driver.cuStreamDestroy);
}

Result<CudaEvent> make_event(const CudaContextPtr& context, EventKind kind) {
  context->make_current();
  const Driver& driver = context->driver();
  CUevent event = nullptr;
  const unsigned flags = kind == EventKind::kTiming ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING;
  LLM_TRY(driver.check(driver.cuEventCreate(&event, flags), "creating a CUDA event"));
  return CudaEvent(context, event, driver.cuEventDestroy);
}

Result<CudaModule> load_module(const CudaContextPtr& context, std::span<const std::byte> image,
                               const std::string& name) {
  context->make_current();
  const Driver& driver = context->driver();
  // The driver reads up to the end of an ELF image, or to a zero byte of PTX; the log explains PTX that it rejects.
  char log[4096] = {};
  CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
  void* values[] = {log, reinterpret_cast<void*>(sizeof(log) - 1)};
  CUmodule module = nullptr;
  const CUresult status = driver.cuModuleLoadDataEx(&module, image.data(), 2, options, values);
  if (status != CUDA_SUCCESS) {
    const std::string detail = *log ? std::string("; ") + log : "";
    return Error{"loading kernel code " + name + ": " + driver.error_text(status) + detail};
  }
  return CudaModule(context, module, driver.cuModuleUnload);
}

Result<CUfunction> find_kernel(const CudaContextPtr& context, const CudaModule& module, const std::string& entry,
                               int shared_bytes) {
  constexpr int kDefaultSharedBytes = 48 * 1024;  // more has to be asked for
  context->make_current();
  const Driver& driver = context->driver();
  CUfunction function = nullptr;
  LLM_TRY(driver.check(driver.cuModuleGetFunction(&function, module.get(), entry.c_str()), "finding kernel " + entry));
  if (shared_bytes > kDefaultSharedBytes) {
    LLM_TRY(
        driver.check(driver.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared_bytes),
                     "granting kernel " + entry + " " + std::to_string(shared_bytes) + " bytes of shared memory"));
  }
  return function;
}

Status launch(const CudaContextPtr& context, CUstream stream, const CudaLaunch& launch) {
  if (launch.external) return launch.external(stream);
  const Driver& driver = context->driver();
  void* parameters[] = {const_cast<uint64_t*>(launch.arguments.data())};
  return driver.check(driver.cuLaunchKernel(launch.function, launch.grid[0], launch.grid[1], launch.grid[2],
                                            launch.threads, 1, 1, launch.shared_bytes, stream, parameters, nullptr),
                      "launching " + launch.name);
}

// What `work` queues on the stream, as a graph.
static Result<CudaGraph> capture(const CudaContextPtr& context, CUstream stream,
                                 const std::function<Status(CUstream)>& work, const std::string& name) {
  const Driver& driver = context->driver();
  LLM_TRY(driver.check(driver.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capturing " + name));
  const Status worked = work(stream);
  CUgraph raw = nullptr;
  const CUresult ended = driver.cuStreamEndCapture(stream, &raw);  // in any case: the stream is to be usable again
  CudaGraph graph(context, raw, driver.cuGraphDestroy);
  LLM_TRY(worked);
  LLM_TRY(driver.check(ended, "capturing " + name));
  return graph;
}

Result<CudaGraphExec> build_graph(const CudaContextPtr& context, CUstream stream,
                                  std::span<const CudaLaunch> launches) {
  context->make_current();
  const Driver& driver = context->driver();
  CUgraph raw = nullptr;
  LLM_TRY(driver.check(driver.cuGraphCreate(&raw, 0), "creating a CUDA graph"));
  const CudaGraph graph(context, raw, driver.cuGraphDestroy);

  std::vector<CUgraphNode> nodes;
  for (const CudaLaunch& launch : launches) {
    std::vector<CUgraphNode> predecessors;
    for (uint32_t before : launch.after) {
      if (before >= nodes.size()) return Error{"launch " + launch.name + " waits for one that comes later"};
      predecessors.push_back(nodes[before]);
    }
    if (launch.external) {
      LLM_ASSIGN(const CudaGraph child, capture(context, stream, launch.external, launch.name));
      CUgraphNode added = nullptr;  // holds a copy of the child
      const CUresult status = driver.cuGraphAddChildGraphNode(&added, graph.get(), predecessors.data(),
                                                              predecessors.size(), child.get());
      LLM_TRY(driver.check(status, "adding " + launch.name + " to a CUDA graph"));
      nodes.push_back(added);
      continue;
    }
    void* parameters[] = {const_cast<uint64_t*>(launch.arguments.data())};
    CUDA_KERNEL_NODE_PARAMS node = {};
    node.func = launch.function;
    node.gridDimX = launch.grid[0];
    node.gridDimY = launch.grid[1];
    node.gridDimZ = launch.grid[2];
    node.blockDimX = launch.threads;
    node.blockDimY = node.blockDimZ = 1;
    node.sharedMemBytes = launch.shared_bytes;
    node.kernelParams = parameters;  // copied by the call
    CUgraphNode added = nullptr;
    const bool programmatic = launch.programmatic && predecessors.size() == 1 && driver.cuGraphAddDependencies_v2;
    LLM_TRY(driver.check(driver.cuGraphAddKernelNode(&added, graph.get(), predecessors.data(),
                                                     programmatic ? 0 : predecessors.size(), &node),
                         "adding " + launch.name + " to a CUDA graph"));
    if (launch.cooperative) {
      if (!driver.cuGraphKernelNodeSetAttribute)
        return Error{"launching " + launch.name + ": this NVIDIA driver cannot launch cooperative kernels from graphs; update it"};
      CUlaunchAttributeValue value = {};
      value.cooperative = 1;
      LLM_TRY(driver.check(driver.cuGraphKernelNodeSetAttribute(added, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value),
                           "asking for all blocks of " + launch.name + " at once"));
    }
    if (programmatic) {
      CUgraphEdgeData edge = {};
      edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
      edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
      LLM_TRY(driver.check(driver.cuGraphAddDependencies_v2(graph.get(), predecessors.data(), &added, &edge, 1),
                           "adding the edge of " + launch.name + " to a CUDA graph"));
    }
    nodes.push_back(added);
  }
  CUgraphExec exec = nullptr;
  LLM_TRY(driver.check(driver.cuGraphInstantiate(&exec, graph.get(), 0), "instantiating a CUDA graph"));
  CudaGraphExec owned(context, exec, driver.cuGraphExecDestroy);
  LLM_TRY(driver.check(driver.cuGraphUpload(exec, stream), "uploading a CUDA graph"));
  return owned;
}

Result<std::vector<double>> time_launches(const CudaContextPtr& context, CUstream stream,
                                          std::span<const CudaLaunch> launches, int repeats) {
  context->make_current();
  const Driver& driver = context->driver();
  std::vector<CudaEvent> events;
  for (size_t i = 0; i <= launches.size(); ++i) {
    LLM_ASSIGN(CudaEvent event, make_event(context, EventKind::kTiming));
    events.push_back(std::move(event));
  }
  std::vector<std::vector<double>> samples(launches.size());
  for (int r = 0; r < repeats; ++r) {
    LLM_TRY(driver.check(driver.cuEventRecord(events[0].get(), stream), "recording an event"));
    for (size_t i = 0; i < launches.size(); ++i) {
      LLM_TRY(launch(context, stream, launches[i]));
      LLM_TRY(driver.check(driver.cuEventRecord(events[i + 1].get(), stream), "recording an event"));
    }
    LLM_TRY(driver.check(driver.cuEventSynchronize(events.back().get()), "running the launches one by one"));
    for (size_t i = 0; i < launches.size(); ++i) {
      float ms = 0.0f;
      driver.cuEventElapsedTime(&ms, events[i].get(), events[i + 1].get());
      samples[i].push_back(ms * 1e3);
    }
  }
  return medians(samples);
}

}  // namespace llmrt
