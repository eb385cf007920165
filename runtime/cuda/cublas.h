// cuBLAS through dlopen, for the plans that call it.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "runtime/cuda/cuda_handles.h"
#include "runtime/device.h"

namespace llmrt {

class Cublas {
 public:
  // Loads LLMRT_CUBLAS (the library or its folder) if set, else libcublas.so.12 or .13 where the system finds it, as it
  // suits driver and GPU. The error says what to install.
  static llm::Result<std::unique_ptr<Cublas>> open(const CudaContextPtr& context);
  ~Cublas();
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  // Queues launch.gemm, whose slots are x, w, out and workspace.
  llm::Status run(CUstream stream, const ResolvedLaunch& launch);
  // Runs it once if no call of its shape ran before: the library loads code on the first, which a capture forbids.
  llm::Status warm_up(CUstream stream, const ResolvedLaunch& launch);

 private:
  Cublas() = default;
  llm::Status check(int status, const std::string& what) const;

  // The functions of cublas_v2.h that are called; enumerations are passed as int.
  using Handle = struct cublasContext*;
  struct Functions {
    int (*cublasCreate_v2)(Handle*) = nullptr;
    int (*cublasDestroy_v2)(Handle) = nullptr;
    int (*cublasSetStream_v2)(Handle, CUstream) = nullptr;
    int (*cublasSetWorkspace_v2)(Handle, void*, size_t) = nullptr;
    int (*cublasGemmEx)(Handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a,
                        int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type,
                        int ldc, int compute_type, int algorithm) = nullptr;
    const char* (*cublasGetStatusString)(int) = nullptr;
  };
  CudaContextPtr context_;
  Functions f_;
  Handle handle_ = nullptr;
  std::set<std::string> warm_;
};

}  // namespace llmrt
