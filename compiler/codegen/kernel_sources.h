// The texts of kernels_templates/, embedded in the program; named as an #include names them: "cuda/linear_gemv.h", "abi.h".
#pragma once

#include "compiler/codegen/embedded_text.h"

namespace llmc {

std::span<const EmbeddedText> kernel_sources();

}  // namespace llmc
