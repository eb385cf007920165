#include "compiler/codegen/nvrtc.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>

namespace llmc {
namespace {

constexpr const char* kLibraryName = "libnvrtc.so.12";
// libnvrtc opens this one by soname during the first compile; loading it beforehand spares an LD_LIBRARY_PATH.
constexpr const char* kBuiltinsName = "libnvrtc-builtins.so.12.9";
constexpr const char* kProgramName = "kernel.cu";
constexpr int kSuccess = 0;

struct Program;  // nvrtcProgram is a pointer to an opaque struct

bool is_directory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

std::string folder_of(const std::string& file) {
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

// Each compile for an architecture below sm_75 says that such are deprecated, which no option turns off; the rest of
// the log stays.
void drop_deprecation_notice(std::string* log) {
  while (!log->empty() && (log->back() == '\0' || log->back() == '\n')) log->pop_back();
  const size_t at = log->find("nvrtc: warning: Architectures prior to");
  if (at == std::string::npos) return;
  const size_t end = log->find('\n', at);
  log->erase(at, end == std::string::npos ? std::string::npos : end + 1 - at);
}

}  // namespace

struct Nvrtc::Api {
  void* library = nullptr;
  void* builtins = nullptr;

  int (*Version)(int*, int*) = nullptr;
  const char* (*GetErrorString)(int) = nullptr;
  int (*CreateProgram)(Program**, const char*, const char*, int, const char* const*, const char* const*) = nullptr;
  int (*DestroyProgram)(Program**) = nullptr;
  int (*CompileProgram)(Program*, int, const char* const*) = nullptr;
  int (*GetProgramLogSize)(Program*, size_t*) = nullptr;
  int (*GetProgramLog)(Program*, char*) = nullptr;
  int (*GetCUBINSize)(Program*, size_t*) = nullptr;
  int (*GetCUBIN)(Program*, char*) = nullptr;
  int (*GetPTXSize)(Program*, size_t*) = nullptr;
  int (*GetPTX)(Program*, char*) = nullptr;

  ~Api() {
    if (library) dlclose(library);
    if (builtins) dlclose(builtins);
  }

  // Empty on success, else what went wrong.
  std::string open(const std::string& file) {
    if (file.find('/') != std::string::npos) {
      builtins = dlopen((folder_of(file) + "/" + kBuiltinsName).c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* message = dlerror();
      return message ? message : "dlopen failed";
    }
    return resolve("nvrtcVersion", Version) + resolve("nvrtcGetErrorString", GetErrorString) +
           resolve("nvrtcCreateProgram", CreateProgram) + resolve("nvrtcDestroyProgram", DestroyProgram) +
           resolve("nvrtcCompileProgram", CompileProgram) + resolve("nvrtcGetProgramLogSize", GetProgramLogSize) +
           resolve("nvrtcGetProgramLog", GetProgramLog) + resolve("nvrtcGetCUBINSize", GetCUBINSize) +
           resolve("nvrtcGetCUBIN", GetCUBIN) + resolve("nvrtcGetPTXSize", GetPTXSize) + resolve("nvrtcGetPTX", GetPTX);
  }

  template <typename Function>
  std::string resolve(const char* symbol, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, symbol));
    return function ? "" : std::string(symbol) + " is missing; ";
  }

  // Reads one of the program's byte strings (log, PTX, cubin).
  template <typename Size, typename Get>
  int read(Program* program, Size size_of, Get get, std::string* out) const {
    size_t size = 0;
    if (int status = size_of(program, &size); status != kSuccess) return status;
    out->resize(size);
    return get(program, out->data());
  }
};

Nvrtc::Nvrtc() : api_(std::make_unique<Api>()) {}
Nvrtc::~Nvrtc() = default;

llm::Result<std::shared_ptr<const Nvrtc>> Nvrtc::load(const std::string& path, const std::string& exe_dir) {
  std::vector<std::string> candidates;
  const auto file_in = [](const std::string& place) {
    if (!is_directory(place)) return place;
    const std::string direct = place + "/" + kLibraryName;
    return exists(direct) ? direct : place + "/lib/" + kLibraryName;
  };
  const char* environment = std::getenv("LLMC_NVRTC");
  if (!path.empty()) {
    candidates.push_back(file_in(path));
  } else if (environment && *environment) {
    candidates.push_back(file_in(environment));
  } else {
    for (const char* place : {"/../lib", "/../../deps/nvrtc/lib", "/../../deps/nvrtc"}) {
      const std::string file = exe_dir + place + "/" + kLibraryName;
      if (exists(file)) candidates.push_back(file);
    }
    candidates.push_back(kLibraryName);
  }

  std::string tried;
  for (const std::string& file : candidates) {
    std::shared_ptr<Nvrtc> nvrtc(new Nvrtc());
    const std::string problem = nvrtc->api_->open(file);
    if (!problem.empty()) {
      tried += (tried.empty() ? "" : "; ") + file + ": " + problem;
      continue;
    }
    int major = 0, minor = 0;
    nvrtc->api_->Version(&major, &minor);
    nvrtc->version_ = std::to_string(major) + "." + std::to_string(minor);
    if (major != 12) {
      tried += (tried.empty() ? "" : "; ") + file + ": found NVRTC " + nvrtc->version_ + ", expected 12.x";
      continue;
    }
    return std::shared_ptr<const Nvrtc>(std::move(nvrtc));
  }
  return llm::Error{"cannot load NVRTC 12 (" + tried + "): run the set-up script, or set LLMC_NVRTC to the folder of " +
                    kLibraryName};
}

llm::Result<CudaCode> Nvrtc::compile(const CudaCompileRequest& request, const std::vector<CudaHeader>& headers) const {
  const std::string who = "CUDA kernel " + request.kernel + " (" + request.instantiation + ") for " + request.arch;
  std::vector<const char*> header_names, header_texts;
  for (const CudaHeader& header : headers) {
    header_names.push_back(header.name.c_str());
    header_texts.push_back(header.text.c_str());
  }
  Program* program = nullptr;
  int status = api_->CreateProgram(&program, request.text.c_str(), kProgramName, static_cast<int>(headers.size()),
                                   header_texts.data(), header_names.data());
  if (status != kSuccess) return llm::Error{who + ": NVRTC refused the source: " + api_->GetErrorString(status)};
  struct Destroy {
    const Api& api;
    Program** program;
    ~Destroy() { api.DestroyProgram(program); }
  } destroy{*api_, &program};

  std::vector<std::string> options = {"-arch=" + request.arch, "-std=c++17",          "-default-device",
                                      "--fmad=true",           "--no-source-include", "-w"};
  options.insert(options.end(), request.options.begin(), request.options.end());
  std::vector<const char*> option_texts;
  for (const std::string& option : options) option_texts.push_back(option.c_str());

  status = api_->CompileProgram(program, static_cast<int>(option_texts.size()), option_texts.data());
  CudaCode code;
  api_->read(program, api_->GetProgramLogSize, api_->GetProgramLog, &code.log);
  drop_deprecation_notice(&code.log);
  if (status != kSuccess) {
    return llm::Error{who + " does not compile: " + api_->GetErrorString(status) + "\n" + code.log};
  }
  status = api_->read(program, api_->GetCUBINSize, api_->GetCUBIN, &code.cubin);
  if (status == kSuccess) status = api_->read(program, api_->GetPTXSize, api_->GetPTX, &code.ptx);
  if (status != kSuccess) return llm::Error{who + ": NVRTC gave no code: " + api_->GetErrorString(status)};
  // The size that NVRTC reports for PTX counts the terminating zero.
  while (!code.ptx.empty() && code.ptx.back() == '\0') code.ptx.pop_back();
  return code;
}

}  // namespace llmc
