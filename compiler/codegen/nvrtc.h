// NVRTC 12.9 through dlopen: CUDA C++ text to cubin and PTX, on a machine that needs neither a GPU nor a CUDA toolkit.
//
// 12.9 is the last NVRTC that targets Pascal and Volta, so it compiles for every CUDA target. Errors name the kernel,
// its instantiation and NVRTC's log.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan/result.h"

namespace llmc {

// One header that a kernel source may include, by the name written in its #include line.
struct CudaHeader {
  std::string name;
  std::string text;
};

struct CudaCompileRequest {
  std::string kernel;                // for messages: the variant, "linear/gemv_r4"
  std::string instantiation;         // for messages: "linear_gemv<bf16, float, 4>"
  std::string text;                  // the source
  std::string arch;                  // "sm_61", "sm_90a"
  std::vector<std::string> options;  // besides the defaults
};

struct CudaCode {
  std::string cubin;  // for exactly `arch`
  std::string ptx;    // of the same architecture: runs on every newer one
  std::string log;    // warnings, and ptxas output when asked for
};

class Nvrtc {
 public:
  // Loads the library, trying in this order:
  //   1. `path`: the library file or its folder, if not empty; 2. the same from the environment variable LLMC_NVRTC;
  //   3. <exe_dir>/../lib (an installed llmc); 4. <exe_dir>/../../deps/nvrtc/lib and <exe_dir>/../../deps/nvrtc (the
  //   build tree, build/release/bin); 5. the soname, as the dynamic linker finds it.
  // `exe_dir` is the folder of the running program. A library named by 1 or 2 must load: no later place is tried.
  static llm::Result<std::shared_ptr<const Nvrtc>> load(const std::string& path, const std::string& exe_dir);

  ~Nvrtc();
  Nvrtc(const Nvrtc&) = delete;
  Nvrtc& operator=(const Nvrtc&) = delete;

  // Compiles one source. The program name is fixed and nothing of the machine enters the result, so that the same
  // request gives the same bytes everywhere. May be called from several threads at once.
  llm::Result<CudaCode> compile(const CudaCompileRequest& request, const std::vector<CudaHeader>& headers) const;

  // "12.9"
  const std::string& version() const { return version_; }

 private:
  struct Api;
  Nvrtc();

  std::unique_ptr<Api> api_;
  std::string version_;
};

}  // namespace llmc
