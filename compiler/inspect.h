// What `llmc targets`, `llmc inspect` and `llmc diff` print.
#pragma once

#include <string>

#include "plan/result.h"

namespace llmc {

llm::Status print_targets(bool json, std::string& out);
llm::Status inspect_plan(const std::string& path, bool json, std::string& out);
// Lines with - and + as diff(1) writes them; empty if the plans describe the same.
llm::Status diff_plans(const std::string& a, const std::string& b, std::string& out);

}  // namespace llmc
