#include "test/x86/loaded_kernels.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>

#include "test/gpu/emulator/fibers.h"

namespace llm_test {
namespace {

using namespace llm;  // Feature and TypeMask names of the table

struct LoadedKernel : EmulatedKernel {
  X86Kernel function;
};

std::map<std::string, LoadedKernel>& loaded() {
  static std::map<std::string, LoadedKernel> kernels;
  return kernels;
}

}  // namespace

const std::vector<Variant>& x86_variants() {
  static const std::vector<Variant> kVariants = {
#include "kernels_templates/x86/variants.inl"
  };
  return kVariants;
}

Status load_x86_kernels(const llmc::Target& target, const std::vector<KernelInstance>& instances,
                        const llmc::CodegenOptions& options) {
  std::vector<llmc::KernelRequest> requests;
  for (const KernelInstance& k : instances)
    requests.push_back({k.entry(), k.variant->family, k.variant->name, k.variant->file, k.instantiation(), 1});
  LLM_ASSIGN(const llmc::CompiledTarget code, llmc::compile_kernels(target, requests, options));
  const int fd = memfd_create("x86_kernels", MFD_CLOEXEC);
  const std::string& object = code.shared_object;
  if (fd < 0 || write(fd, object.data(), object.size()) != static_cast<ssize_t>(object.size()))
    return Error{"cannot write the kernels to memory"};
  void* library = dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW | RTLD_LOCAL);  // stays loaded
  close(fd);
  if (!library) return Error{std::string("cannot load the kernels: ") + dlerror()};
  for (const KernelInstance& k : instances) {
    void* function = dlsym(library, k.entry().c_str());
    if (!function) return Error{"the code has no kernel " + k.entry()};
    loaded().emplace(k.entry(), LoadedKernel{{k.entry().c_str(), nullptr, 0, 1}, reinterpret_cast<X86Kernel>(function)});
  }
  return {};
}

X86Kernel x86_kernel(const std::string& entry) { return loaded().at(entry).function; }

EmulatedKernel::EmulatedKernel(const char*, EmulatedBody function, size_t bytes, unsigned blocks)
    : body(function), argument_bytes(bytes), cluster(blocks) {}

const EmulatedKernel* find_emulated(const std::string& entry) {
  const auto it = loaded().find(entry);
  return it == loaded().end() ? nullptr : &it->second;
}

// The tiles of a launch in the runtime's order (runtime/cpu/cpu_device.cpp).
void run_emulated(const EmulatedKernel& kernel, const void* args, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                  unsigned, size_t, Blocks) {
  const auto function = static_cast<const LoadedKernel&>(kernel).function;
  for (unsigned z = 0; z < grid_z; ++z)
    for (unsigned y = 0; y < grid_y; ++y)
      for (unsigned x = 0; x < grid_x; ++x) function(args, x, y, z);
}

}  // namespace llm_test
