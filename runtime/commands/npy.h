// Arrays as NumPy files (format 1.0: numpy.lib.format), little-endian float32.
#pragma once

#include <string>
#include <vector>

#include "plan/result.h"

namespace llmrt::commands {

// Writes data [rows, cols] in C order.
llm::Status write_npy(const std::string& path, const std::vector<float>& data, size_t rows, size_t cols);

}  // namespace llmrt::commands
