// Keys of a config.json that no family reads: which of them may be ignored, and which change a graph that none of the
// families has.
#pragma once

#include "compiler/frontend/config_reader.h"

namespace llmc {

// Refuses keys of other architectures that would change the graph (unless their value switches them off), passes over
// those that are known not to matter, and warns of every other key that was not read.
void check_remaining_keys(ConfigReader& reader);

}  // namespace llmc
