// The fixed head of a plan file and its version. docs/plan-format.md is the prose.
#pragma once

#include <cstdint>

namespace llm {

inline constexpr char kPlanMagic[8] = {'L', 'L', 'M', 'P', 'L', 'A', 'N', '\n'};
inline constexpr uint16_t kPlanMajor = 1;  // another major version is refused
inline constexpr uint16_t kPlanMinor = 2;  // a newer minor version is read; fields it adds are ignored
inline constexpr uint64_t kSegmentAlignment = 4096;
inline constexpr uint64_t kSignatureAlignment = 8;
inline constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 30;

struct PlanHash {
  uint64_t low = 0, high = 0;
  bool operator==(const PlanHash&) const = default;
};

// Little-endian, at offset 0. Segments follow from segment_base on, then the index (so that a writer can stream the
// segments), then the signature if there is one.
struct PlanHead {
  char magic[8];
  uint16_t major;
  uint16_t minor;
  uint32_t head_bytes;
  uint64_t file_bytes;
  uint64_t index_offset;
  uint64_t index_bytes;
  uint64_t segment_base;
  PlanHash root_hash;  // XXH3-128 of the index, which holds the hash of every segment
};
static_assert(sizeof(PlanHead) == 64);

}  // namespace llm
