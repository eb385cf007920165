// One safetensors file, by its header alone: 8 bytes little-endian header length, JSON header, byte buffer.
// Format: the safetensors README, section "Format". A header that breaks any rule of it is refused; nothing is
// repaired.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/frontend/dtype.h"
#include "plan/result.h"

namespace llmc {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // safetensors, MAX_HEADER_SIZE
inline constexpr size_t kMaxSafetensorsTensors = 100'000;            // per model: 50 times what the largest one has

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // row-major; empty for a scalar; dimensions of 0 are legal
  uint64_t begin = 0;          // bytes from the start of the byte buffer, which is at SafetensorsFile::data_offset
  uint64_t end = 0;
  size_t file = 0;  // index into Checkpoint::files()

  uint64_t bytes() const { return end - begin; }
};

struct SafetensorsFile {
  std::string path;
  uint64_t file_size = 0;
  uint64_t data_offset = 0;  // of the byte buffer in the file; not always aligned to the dtypes
  std::array<uint8_t, 16>
      header_hash{};                // XXH3-128, canonical (big-endian) form, of bytes [0, data_offset) of the file
  std::vector<TensorInfo> tensors;  // by ascending offset; together they cover the byte buffer exactly
};

// Parses and checks a header. `head` is the start of the file: at least the length and the JSON, or as much of them as
// the file has; `file_size` is the size of the whole file; `path` only names it in errors.
llm::Result<SafetensorsFile> parse_safetensors(std::span<const std::byte> head, uint64_t file_size,
                                               const std::string& path);

// Maps the file and parses its header; the weights are not read.
llm::Result<SafetensorsFile> open_safetensors(const std::string& path);

}  // namespace llmc
