// A small valid plan with at least one of everything, and ways to write it as the bytes of a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "plan/format.h"
#include "plan/plan_generated.h"

namespace llm {

// A folder of its own for one test, removed at the end.
class TestFolder {
 public:
  TestFolder();
  ~TestFolder();
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }
  size_t count() const;  // entries of the folder

 private:
  std::filesystem::path path_;
};

// Segments in the order of the index: text, code, constant, weight.
enum SampleSegment : uint32_t { kTextSegment, kCodeSegment, kConstantSegment, kWeightSegment, kSampleSegments };

// The index, with segments that match segment_area().
fb::PlanT sample_plan();

// The raw bytes of segment `index` of sample_plan().
std::string sample_segment(uint32_t index);

// What a file holds between head and index.
std::string segment_area();

// The file around an index: head, segments, index, without any check.
std::string file_bytes(const fb::PlanT& plan);
std::string file_bytes(const std::string& area, const std::string& index);
std::string index_bytes(const fb::PlanT& plan);

void write_file(const std::string& path, const std::string& bytes);
std::string read_file(const std::string& path);

// The message with which a file of these bytes is refused; "" if it opens.
std::string refusal(const std::string& bytes);

}  // namespace llm
