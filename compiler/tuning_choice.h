// `--tuning`: where a compile takes measured times from.
#pragma once

#include <string>
#include <vector>

#include "passes/Tuning.h"

namespace llmc {

// `name`: a file; "none"; or "" for the files that come with llmc.
llm::Result<Tuning> load_tuning(const std::string& name, std::vector<std::string>& warnings);

}  // namespace llmc
