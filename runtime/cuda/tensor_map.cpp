#include "runtime/cuda/tensor_map.h"

namespace llmrt {
namespace {

CUtensorMapDataType data_type(llm::ScalarType type) {
  switch (type) {
    case llm::ScalarType::kF16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case llm::ScalarType::kBF16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case llm::ScalarType::kF32:
    case llm::ScalarType::kBF16Panels:  // these two: of x86 alone
    case llm::ScalarType::kInt8:
      break;
  }
  return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
}

CUtensorMapSwizzle swizzle_of(uint32_t bytes) {
  switch (bytes) {
    case 32:
      return CU_TENSOR_MAP_SWIZZLE_32B;
    case 64:
      return CU_TENSOR_MAP_SWIZZLE_64B;
    case 128:
      return CU_TENSOR_MAP_SWIZZLE_128B;
    default:
      return CU_TENSOR_MAP_SWIZZLE_NONE;
  }
}

}  // namespace

llm::Result<CUtensorMap> encode_tensor_map(const Driver& driver, const TensorMap& map) {
  static_assert(sizeof(CUtensorMap) == kTensorMapBytes && alignof(CUtensorMap) == kTensorMapAlignment);
  if (!driver.cuTensorMapEncodeTiled)
    return llm::Error{
        "this plan's kernels take tensor maps, which the CUDA driver lacks: install one for CUDA 12.0 or later (525 or "
        "newer)"};
  CUtensorMap encoded;
  const std::vector<uint32_t> element_strides(map.dims.size(), 1);
  const CUresult status = driver.cuTensorMapEncodeTiled(
      &encoded, data_type(map.type), static_cast<cuuint32_t>(map.dims.size()), reinterpret_cast<void*>(map.base),
      map.dims.data(), map.strides.data(), map.box.data(), element_strides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE,
      swizzle_of(map.swizzle), CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  LLM_TRY(driver.check(status, "encoding a tensor map"));
  return encoded;
}

}  // namespace llmrt
