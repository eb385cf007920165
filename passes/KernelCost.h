// How fast kernels were seen to work on a target, beyond the shares of their variants.
#pragma once

#include <span>
#include <string_view>

#include "compiler/targets/target.h"
#include "kernels_templates/variant.h"

namespace llmc {

// An SM takes `at_once` tiles at a time, in passes over their K, each of which is as slow as the slowest of: memory, at the SM's share of the
// bandwidth; alone_us, of its latency and its own rate; and busy_us of each of its tiles.
struct Pace {
  int at_once;               // blocks that an SM holds, or units in the ring of a block that streams
  double alone_us;           // a pass over 1024 columns of K; of attention, over a block's entries
  double busy_us = 0;        // 1024 columns of a tile where all SMs are at work: instructions, power
  double tile_us = 0;        // from a tile's last product to its results in memory
  double group_columns = 0;  // columns of K that take as long as the end of a group of codes
  // Of codes: 1024 columns of a row of activations, which a block brings into the type that it multiplies. Else: the scale of a row behind a norm,
  // while products go on.
  double row_us = 0;
};

struct KernelPace {
  std::string_view family, variant;  // `*` in a variant's name stands for a type of 16 bits
  Pace pace;
};

// Those that were measured on the target.
std::span<const KernelPace> paces_of(const Target& target);

// Null: the variant's was not measured on the target.
const Pace* find_pace(const Target& target, const llm::Variant& variant);

}  // namespace llmc
