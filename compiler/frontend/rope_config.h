// Reads the rope part of a config.json in both spellings: `rope_theta` + `rope_scaling`, and `rope_parameters`.
#pragma once

#include "compiler/frontend/config_reader.h"
#include "compiler/frontend/rope.h"

namespace llmc {

// Failures are kept in the reader. `max_context`: see compute_rope().
Rope read_rope(ConfigReader& reader, int64_t head_dim, int64_t max_position_embeddings, int64_t max_context);

}  // namespace llmc
