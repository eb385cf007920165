// `llmc tune --check`: how good the cost model is, by what was measured.
#pragma once

#include <string>
#include <vector>

#include "plan/result.h"

namespace llmc {

// For every shape of the files of which more than one variant was measured: how much slower the variant that the cost model would choose
// is than the fastest; worst and mean. Needs no device.
llm::Status check_tuning(const std::vector<std::string>& files, bool json, std::string& out);

}  // namespace llmc
