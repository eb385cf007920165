// A CUDA driver of host memory and emulated launches, in the place of runtime/cuda/driver.cpp: the kernel tests run on
// it unchanged.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/cuda/driver.h"
#include "test/gpu/emulator/fake_stream.h"
#include "test/gpu/emulator/fake_tensor_map.h"
#include "test/gpu/emulator/fibers.h"

namespace llmrt {
namespace {

template <typename Handle>
Handle some_handle() {
  static int object;
  return reinterpret_cast<Handle>(&object);
}

CUresult allocate(CUdeviceptr* p, size_t bytes) {
  *p = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return *p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

const llm_test::EmulatedKernel& kernel_of(CUfunction function) {
  return *reinterpret_cast<const llm_test::EmulatedKernel*>(function);
}

struct FakeLaunch {
  void (*library)(const void*);  // in place of a kernel; null: a kernel
  CUfunction function;
  unsigned grid[3], threads, shared_bytes;
  std::vector<std::byte> arguments;
  bool cooperative = false;
};

// Nodes are added in an order that respects their edges, so that running them in this order is one of the graph's
// orders.
struct FakeGraph {
  std::vector<FakeLaunch> launches;
};

CUresult add_kernel_node(CUgraphNode* node, CUgraph graph, const CUgraphNode*, size_t,
                         const CUDA_KERNEL_NODE_PARAMS* p) {
  auto* launches = &reinterpret_cast<FakeGraph*>(graph)->launches;
  const auto* arguments = static_cast<const std::byte*>(p->kernelParams[0]);
  launches->push_back({nullptr,
                       p->func,
                       {p->gridDimX, p->gridDimY, p->gridDimZ},
                       p->blockDimX,
                       p->sharedMemBytes,
                       std::vector<std::byte>(arguments, arguments + kernel_of(p->func).argument_bytes)});
  *node = reinterpret_cast<CUgraphNode>(launches->size());
  return CUDA_SUCCESS;
}

// Of the node that was added last, to the graph that was created last.
FakeGraph* newest = nullptr;
CUresult set_attribute(CUgraphNode node, CUlaunchAttributeID which, const CUlaunchAttributeValue* value) {
  if (!newest || reinterpret_cast<size_t>(node) != newest->launches.size() || which != CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
    return CUDA_ERROR_INVALID_VALUE;
  newest->launches.back().cooperative = value->cooperative != 0;
  return CUDA_SUCCESS;
}

FakeGraph* captured = nullptr;

CUresult begin_capture(CUstream, CUstreamCaptureMode) {
  if (captured) return CUDA_ERROR_ILLEGAL_STATE;
  return captured = new FakeGraph, CUDA_SUCCESS;
}

CUresult end_capture(CUstream, CUgraph* graph) {
  *graph = reinterpret_cast<CUgraph>(captured);
  return captured = nullptr, CUDA_SUCCESS;
}

CUresult add_child_graph_node(CUgraphNode* node, CUgraph graph, const CUgraphNode*, size_t, CUgraph child) {
  auto* launches = &reinterpret_cast<FakeGraph*>(graph)->launches;
  const auto& added = reinterpret_cast<FakeGraph*>(child)->launches;
  if (added.empty()) return CUDA_ERROR_INVALID_VALUE;
  launches->insert(launches->end(), added.begin(), added.end());
  *node = reinterpret_cast<CUgraphNode>(launches->size());
  return CUDA_SUCCESS;
}

CUresult launch_graph(CUgraphExec graph, CUstream) {
  if (captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  for (const FakeLaunch& l : reinterpret_cast<FakeGraph*>(graph)->launches) {
    if (l.library) {
      l.library(l.arguments.data());
      continue;
    }
    llm_test::run_emulated(kernel_of(l.function), l.arguments.data(), l.grid[0], l.grid[1], l.grid[2], l.threads,
                           l.shared_bytes, l.cooperative ? llm_test::Blocks::kTogether : llm_test::Blocks::kOneByOne);
  }
  return CUDA_SUCCESS;
}

CUresult device_attribute(int* value, CUdevice_attribute which, CUdevice) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return *value = 9, CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return *value = 0, CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return *value = 227 * 1024, CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return *value = 3, CUDA_SUCCESS;
    default:
      return *value = 1, CUDA_SUCCESS;
  }
}

CUresult encode_tensor_map(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* base,
                           const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t*, CUtensorMapInterleave,
                           CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  static_assert(sizeof(llm_test::FakeTensorMap) <= sizeof(CUtensorMap));
  if (rank < 1 || rank > 5 || reinterpret_cast<uintptr_t>(base) % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
  llm_test::FakeTensorMap map = {};
  map.element_bytes = type == CU_TENSOR_MAP_DATA_TYPE_FLOAT32 ? 4 : 2;
  map.swizzle_bytes = swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16u << swizzle;
  map.rank = rank, map.base = static_cast<const char*>(base);
  for (uint32_t i = 0; i < rank; ++i) {
    if (box[i] == 0 || box[i] > 256 || dims[i] == 0) return CUDA_ERROR_INVALID_VALUE;
    if (i > 0 && strides[i - 1] % 16 != 0) return CUDA_ERROR_INVALID_VALUE;
    map.box[i] = box[i], map.dims[i] = dims[i];
    if (i > 0) map.strides[i - 1] = strides[i - 1];
  }
  const uint32_t inner_bytes = box[0] * map.element_bytes;
  if (inner_bytes % 16 != 0 || (map.swizzle_bytes && inner_bytes > map.swizzle_bytes)) return CUDA_ERROR_INVALID_VALUE;
  std::memset(static_cast<void*>(out), 0, sizeof(*out));
  std::memcpy(static_cast<void*>(out), &map, sizeof(map));
  return CUDA_SUCCESS;
}

Driver make_driver() {
  Driver d;
  d.cuTensorMapEncodeTiled = encode_tensor_map;
  d.cuDeviceGet = [](CUdevice* device, int) { return *device = 0, CUDA_SUCCESS; };
  d.cuDevicePrimaryCtxRetain = [](CUcontext* context, CUdevice) {
    return *context = some_handle<CUcontext>(), CUDA_SUCCESS;
  };
  d.cuCtxSetCurrent = [](CUcontext) { return CUDA_SUCCESS; };
  d.cuStreamCreate = [](CUstream* stream, unsigned) { return *stream = some_handle<CUstream>(), CUDA_SUCCESS; };
  d.cuStreamSynchronize = [](CUstream) { return CUDA_SUCCESS; };
  d.cuDeviceGetName = [](char* name, int size, CUdevice) { return std::strncpy(name, "emulator", size), CUDA_SUCCESS; };
  d.cuDeviceGetAttribute = device_attribute;
  d.cuDeviceGetCount = [](int* count) { return *count = 1, CUDA_SUCCESS; };
  d.cuDevicePrimaryCtxRelease = [](CUdevice) { return CUDA_SUCCESS; };
  d.cuMemGetInfo = [](size_t* free, size_t* total) { return *free = *total = size_t{4} << 30, CUDA_SUCCESS; };
  d.cuMemHostAlloc = [](void** p, size_t bytes, unsigned) {
    return allocate(reinterpret_cast<CUdeviceptr*>(p), bytes);
  };
  d.cuMemFreeHost = [](void* p) { return std::free(p), CUDA_SUCCESS; };
  d.cuMemHostGetDevicePointer = [](CUdeviceptr* device, void* host, unsigned) {
    return *device = reinterpret_cast<CUdeviceptr>(host), CUDA_SUCCESS;
  };
  d.cuStreamDestroy = [](CUstream) { return CUDA_SUCCESS; };
  d.cuEventCreate = [](CUevent* event, unsigned) { return *event = some_handle<CUevent>(), CUDA_SUCCESS; };
  d.cuEventDestroy = [](CUevent) { return CUDA_SUCCESS; };
  d.cuEventRecord = [](CUevent, CUstream) { return CUDA_SUCCESS; };
  d.cuEventQuery = [](CUevent) { return CUDA_SUCCESS; };
  d.cuEventSynchronize = [](CUevent) { return CUDA_SUCCESS; };
  d.cuEventElapsedTime = [](float* ms, CUevent, CUevent) { return *ms = 1, CUDA_SUCCESS; };
  d.cuModuleLoadDataEx = [](CUmodule* module, const void*, unsigned, CUjit_option*, void**) {
    return *module = some_handle<CUmodule>(), CUDA_SUCCESS;
  };
  d.cuModuleUnload = [](CUmodule) { return CUDA_SUCCESS; };
  d.cuGraphCreate = [](CUgraph* graph, unsigned) {
    return *graph = reinterpret_cast<CUgraph>(newest = new FakeGraph), CUDA_SUCCESS;
  };
  d.cuGraphDestroy = [](CUgraph graph) { return delete reinterpret_cast<FakeGraph*>(graph), CUDA_SUCCESS; };
  d.cuGraphAddKernelNode = add_kernel_node;
  d.cuGraphKernelNodeSetAttribute = set_attribute;
  d.cuGraphAddChildGraphNode = add_child_graph_node;
  d.cuStreamBeginCapture = begin_capture;
  d.cuStreamEndCapture = end_capture;
  d.cuGraphInstantiate = [](CUgraphExec* exec, CUgraph graph, unsigned long long) {
    return *exec = reinterpret_cast<CUgraphExec>(new FakeGraph(*reinterpret_cast<FakeGraph*>(graph))), CUDA_SUCCESS;
  };
  d.cuGraphExecDestroy = [](CUgraphExec exec) { return delete reinterpret_cast<FakeGraph*>(exec), CUDA_SUCCESS; };
  d.cuGraphUpload = [](CUgraphExec, CUstream) { return CUDA_SUCCESS; };
  d.cuGraphLaunch = launch_graph;
  d.cuMemAlloc = allocate;
  d.cuMemFree = [](CUdeviceptr p) { return std::free(reinterpret_cast<void*>(p)), CUDA_SUCCESS; };
  d.cuMemsetD8Async = [](CUdeviceptr p, unsigned char value, size_t bytes, CUstream) {
    return std::memset(reinterpret_cast<void*>(p), value, bytes), CUDA_SUCCESS;
  };
  d.cuMemcpyHtoDAsync = [](CUdeviceptr to, const void* from, size_t bytes, CUstream) {
    return std::memcpy(reinterpret_cast<void*>(to), from, bytes), CUDA_SUCCESS;
  };
  d.cuMemcpyDtoDAsync = [](CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
    return std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes), CUDA_SUCCESS;
  };
  d.cuMemcpyDtoHAsync = [](void* to, CUdeviceptr from, size_t bytes, CUstream) {
    return std::memcpy(to, reinterpret_cast<const void*>(from), bytes), CUDA_SUCCESS;
  };
  d.cuFuncSetAttribute = [](CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; };
  d.cuFuncGetAttribute = [](int* value, CUfunction_attribute which, CUfunction function) {
    if (which != CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH) return CUDA_ERROR_INVALID_VALUE;
    const unsigned cluster = kernel_of(function).cluster;
    return *value = cluster > 1 ? static_cast<int>(cluster) : 0, CUDA_SUCCESS;
  };
  d.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* name) {
    *function = reinterpret_cast<CUfunction>(const_cast<llm_test::EmulatedKernel*>(llm_test::find_emulated(name)));
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
  };
  d.cuLaunchKernel = [](CUfunction function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                        unsigned shared_bytes, CUstream, void** parameters, void**) {
    llm_test::run_emulated(kernel_of(function), parameters[0], x, y, z, threads, shared_bytes);
    return CUDA_SUCCESS;
  };
  return d;
}

}  // namespace

llm::Result<const Driver*> Driver::load() {
  static const Driver driver = make_driver();
  return &driver;
}

std::string Driver::error_text(CUresult status) const { return "emulated CUDA error " + std::to_string(status); }

bool is_sticky(CUresult) { return false; }

llm::Status Driver::check(CUresult status, const std::string& what) const {
  if (status == CUDA_SUCCESS) return {};
  return llm::Error{what + ": " + error_text(status)};
}

}  // namespace llmrt

void llm_test_enqueue(void (*run)(const void*), const void* data, size_t bytes) {
  if (!llmrt::captured) return run(data);
  const auto* begin = static_cast<const std::byte*>(data);
  llmrt::captured->launches.push_back({run, nullptr, {1, 1, 1}, 1, 0, std::vector<std::byte>(begin, begin + bytes)});
}
