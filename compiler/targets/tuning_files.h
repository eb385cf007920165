// The measured times that come with llmc: compiler/targets/tuning/TARGET.txt, embedded in the program.
#pragma once

#include "compiler/codegen/embedded_text.h"

namespace llmc {

std::span<const EmbeddedText> tuning_files();

}  // namespace llmc
