// The texts of kernels_templates/, embedded in the program, so that llmc needs no files of its own at run time.
#pragma once

#include <span>
#include <string_view>

namespace llmc {

struct KernelSource {
  std::string_view name;  // as an #include names it: "cuda/linear_gemv.h", "abi.h"
  std::string_view text;
};

std::span<const KernelSource> kernel_sources();

}  // namespace llmc
