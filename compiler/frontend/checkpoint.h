// The tensors of a model folder: `model.safetensors`, or `model.safetensors.index.json` and its shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "compiler/frontend/safetensors.h"
#include "plan/mapped_file.h"
#include "plan/result.h"

namespace llmc {

class Checkpoint {
 public:
  // Reads headers only. `model.safetensors` wins over an index, as in transformers. Errors, besides those of each file:
  // no safetensors, a shard that is missing or whose name leaves the folder, an index and shards that disagree, a
  // tensor in two shards, more than 100,000 tensors.
  static llm::Result<Checkpoint> open(const std::string& model_dir);

  Checkpoint(Checkpoint&&) = default;
  Checkpoint& operator=(Checkpoint&&) = default;
  Checkpoint(const Checkpoint&) = delete;  // by_name_ views the names in files_
  Checkpoint& operator=(const Checkpoint&) = delete;

  // By file name; the tensors of each by offset. This order is the same on every machine.
  const std::vector<SafetensorsFile>& files() const { return files_; }
  size_t tensor_count() const { return by_name_.size(); }

  // The tensor, or null. Valid as long as this checkpoint.
  const TensorInfo* find(std::string_view name) const;

  // Calls visit(const TensorInfo&) for every tensor in the order of files().
  template <typename Visit>
  void for_each(Visit visit) const {
    for (const SafetensorsFile& file : files_) {
      for (const TensorInfo& tensor : file.tensors) visit(tensor);
    }
  }

  // Bytes [offset, offset + length) of a tensor, for the small ones that decide a layout.
  llm::Result<std::vector<std::byte>> read_range(const TensorInfo& tensor, uint64_t offset, uint64_t length) const;
  llm::Result<std::vector<std::byte>> read(const TensorInfo& tensor) const {
    return read_range(tensor, 0, tensor.bytes());
  }

  // Maps a whole file, for copying weights into a plan. A tensor lies at files()[file].data_offset + tensor.begin.
  llm::Result<llm::MappedFile> map(size_t file) const { return llm::MappedFile::open(files_[file].path); }

 private:
  Checkpoint() = default;
  llm::Status add_file(const std::string& path);
  llm::Status add_shards(const std::string& model_dir, const std::string& index_path);

  std::vector<SafetensorsFile> files_;
  std::unordered_map<std::string_view, std::pair<size_t, size_t>> by_name_;  // file, tensor
};

}  // namespace llmc
