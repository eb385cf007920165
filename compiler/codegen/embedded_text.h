// A file that is part of the program, so that llmc needs no files of its own at run time.
#pragma once

#include <span>
#include <string_view>

namespace llmc {

struct EmbeddedText {
  std::string_view name;  // below the folder that was embedded: "cuda/linear_gemv.h"
  std::string_view text;
};

}  // namespace llmc
