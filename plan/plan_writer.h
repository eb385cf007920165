// Writes a plan file: segments as they come, then the index, then the head; atomically. Same calls, same bytes.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "plan/file_io.h"
#include "plan/plan_generated.h"
#include "plan/result.h"

namespace llm {

class PlanWriter {
 public:
  static Result<std::unique_ptr<PlanWriter>> create(const std::string& path);

  // Adds a segment and returns its number. Equal bytes of the same kind are stored once.
  Result<uint32_t> add(fb::SegmentKind kind, std::span<const std::byte> bytes, fb::Compression compression);

  // Adds an uncompressed segment of `bytes` bytes that `fill` produces piece by piece (a piece is at most 64 MiB, pieces in order).
  // Used for embedded weights, which need not fit in memory.
  using Fill = std::function<Status(uint64_t offset, std::span<std::byte> piece)>;
  Result<uint32_t> add_streamed(fb::SegmentKind kind, uint64_t bytes, const Fill& fill);

  // Writes the index (whose `segments` are set here) and publishes the file.
  Status finish(fb::PlanT& plan);

 private:
  explicit PlanWriter(std::unique_ptr<AtomicFile> file) : file_(std::move(file)) {}
  std::unique_ptr<AtomicFile> file_;
  std::vector<fb::Segment> segments_;
};

}  // namespace llm
