// What `llmc keygen`, `llmc sign` and `llmc verify` do. `out` is what they print.
#pragma once

#include <string>
#include <vector>

#include "plan/result.h"

namespace llmc {

// Makes NAME.key and NAME.pub.
llm::Status make_keys(const std::string& name, std::string& out);
llm::Status sign_plan(const std::string& path, const std::string& key_path, std::string& out);
// That one of the keys signed the plan, and that every byte of it is what was signed. Reads the whole file.
llm::Status verify_plan(const std::string& path, const std::vector<std::string>& trusted, std::string& out);

}  // namespace llmc
