// cublasGemmEx as a plain loop on the fake driver, for LLMRT_CUBLAS.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "test/gpu/emulator/fake_stream.h"

namespace {

struct Call {
  int m, n, k, type;
  const void *a, *b;
  float* c;
};

constexpr int kReal32F = 0, kReal16F = 2, kReal16BF = 14, kCompute32F = 68, kInvalidValue = 7;

float value(const void* data, size_t i, int type) {
  if (type == kReal32F) return static_cast<const float*>(data)[i];
  const uint16_t bits = static_cast<const uint16_t*>(data)[i];
  if (type == kReal16F) {
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    return static_cast<float>(half);
  }
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float single;
  std::memcpy(&single, &wide, sizeof single);
  return single;
}

// Column-major c [m, n] = a [k, m]^T b [k, n].
void multiply(const void* data) {
  const Call& call = *static_cast<const Call*>(data);
  const auto k = static_cast<size_t>(call.k);
  for (size_t j = 0; j < static_cast<size_t>(call.n); ++j) {
    for (size_t i = 0; i < static_cast<size_t>(call.m); ++i) {
      float sum = 0.0f;
      // Backwards, so that the bits differ from our kernels': compare_cublas.py sees by them that it was called.
      for (size_t l = k; l-- > 0;) sum += value(call.a, i * k + l, call.type) * value(call.b, j * k + l, call.type);
      call.c[j * static_cast<size_t>(call.m) + i] = sum;
    }
  }
}

size_t workspace_bytes = 0;

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) { return *handle = std::malloc(1), 0; }
int cublasDestroy_v2(void* handle) { return std::free(handle), 0; }
int cublasSetStream_v2(void*, void*) { return workspace_bytes = 0, 0; }
int cublasSetWorkspace_v2(void*, void* workspace, size_t bytes) {
  std::memset(workspace, 0xff, bytes < 4096 ? bytes : 4096);  // it is the library's to write
  return workspace_bytes = bytes, 0;
}
const char* cublasGetStatusString(int) { return "a call that the fake does not know"; }

int cublasGemmEx(void*, int transa, int transb, int m, int n, int k, const void* alpha, const void* a, int a_type,
                 int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type, int ldc,
                 int compute_type, int algorithm) {
  const bool known = transa == 1 && transb == 0 && *static_cast<const float*>(alpha) == 1.0f &&
                     *static_cast<const float*>(beta) == 0.0f && lda == k && ldb == k && ldc == m && a_type == b_type &&
                     (a_type == kReal32F || a_type == kReal16F || a_type == kReal16BF) && c_type == kReal32F &&
                     compute_type == kCompute32F && algorithm == -1 && workspace_bytes > 0;
  if (!known) return kInvalidValue;
  const Call call{m, n, k, a_type, a, b, static_cast<float*>(c)};
  llm_test_enqueue(multiply, &call, sizeof call);
  return 0;
}

}  // extern "C"
