#include "compiler/frontend/checkpoint.h"

#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

namespace dom = simdjson::dom;

constexpr size_t kMaxIndexBytes = 100'000'000;

struct ShardIndex {
  std::map<std::string, std::string> shard_of_tensor;
  std::map<std::string, std::string> first_tensor_of_shard;  // its keys are the shards, in name order
};

bool exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// A shard is a plain file name in the model folder: anything with a separator could leave it.
bool is_plain_shard_name(std::string_view name) {
  return name.ends_with(".safetensors") && name.size() > std::strlen(".safetensors") && name.front() != '.' &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

llm::Result<ShardIndex> read_index(const std::string& path) {
  LLM_ASSIGN(std::string text, llm::read_text_file(path, kMaxIndexBytes));
  dom::parser parser;
  dom::element document;
  if (simdjson::error_code error = parser.parse(text).get(document)) {
    return llm::Error{path + ": not valid JSON: " + simdjson::error_message(error)};
  }
  dom::object weight_map;
  if (document["weight_map"].get(weight_map)) {
    return llm::Error{path + ": found no object 'weight_map', expected {tensor name: shard file name}"};
  }
  ShardIndex index;
  for (auto [tensor, value] : weight_map) {
    std::string_view shard;
    if (value.get(shard)) return llm::Error{path + ": tensor " + quote(tensor) + ": the shard name is not a string"};
    if (!is_plain_shard_name(shard)) {
      return llm::Error{path + ": tensor " + quote(tensor) + ": found shard name " + quote(shard) +
                        ", expected the name of a .safetensors file in the model folder itself"};
    }
    if (!index.shard_of_tensor.emplace(tensor, shard).second) {
      return llm::Error{path + ": tensor " + quote(tensor) + " appears twice"};
    }
    if (index.shard_of_tensor.size() > kMaxSafetensorsTensors) {
      return llm::Error{path + ": found more than " + std::to_string(kMaxSafetensorsTensors) +
                        " tensors, expected at most that many"};
    }
    index.first_tensor_of_shard.emplace(shard, tensor);
  }
  if (index.shard_of_tensor.empty()) return llm::Error{path + ": 'weight_map' is empty"};
  return index;
}

}  // namespace

llm::Result<Checkpoint> Checkpoint::open(const std::string& model_dir) {
  const std::string single = model_dir + "/model.safetensors";
  const std::string index = model_dir + "/model.safetensors.index.json";
  Checkpoint checkpoint;
  if (exists(single)) {
    LLM_TRY(checkpoint.add_file(single));
  } else if (exists(index)) {
    LLM_TRY(checkpoint.add_shards(model_dir, index));
  } else if (exists(model_dir + "/pytorch_model.bin") || exists(model_dir + "/pytorch_model.bin.index.json")) {
    return llm::Error{model_dir +
                      ": found pytorch_model.bin only, expected safetensors: a .bin file is a program, and " +
                      "is not read; convert it with transformers' save_pretrained"};
  } else {
    return llm::Error{model_dir + ": found neither model.safetensors nor model.safetensors.index.json, expected one"};
  }
  return checkpoint;
}

llm::Status Checkpoint::add_file(const std::string& path) {
  LLM_ASSIGN(SafetensorsFile file, open_safetensors(path));
  const size_t file_index = files_.size();
  for (TensorInfo& tensor : file.tensors) tensor.file = file_index;
  files_.push_back(std::move(file));
  const std::vector<TensorInfo>& tensors = files_.back().tensors;
  for (size_t i = 0; i < tensors.size(); ++i) {
    auto [found, inserted] = by_name_.emplace(tensors[i].name, std::pair(file_index, i));
    if (!inserted) {
      return llm::Error{path + ": tensor " + quote(tensors[i].name) + " is also in " +
                        files_[found->second.first].path + ", expected it in one shard"};
    }
    if (by_name_.size() > kMaxSafetensorsTensors) {
      return llm::Error{path + ": found more than " + std::to_string(kMaxSafetensorsTensors) +
                        " tensors in the shards together, expected at most that many"};
    }
  }
  return {};
}

llm::Status Checkpoint::add_shards(const std::string& model_dir, const std::string& index_path) {
  LLM_ASSIGN(ShardIndex index, read_index(index_path));
  for (const auto& [shard, tensor] : index.first_tensor_of_shard) {
    const std::string path = model_dir + "/" + shard;
    if (!exists(path)) {
      return llm::Error{index_path + ": shard " + quote(shard) + " (of tensor " + quote(tensor) +
                        ") is missing from the model folder: download it"};
    }
    LLM_TRY(add_file(path));
    for (const TensorInfo& found : files_.back().tensors) {
      auto entry = index.shard_of_tensor.find(found.name);
      if (entry == index.shard_of_tensor.end()) {
        return llm::Error{path + ": tensor " + quote(found.name) + " is not in " + index_path};
      }
      if (entry->second != shard) {
        return llm::Error{path + ": tensor " + quote(found.name) + " stands in " + index_path + " as in shard " +
                          quote(entry->second)};
      }
    }
  }
  for (const auto& [tensor, shard] : index.shard_of_tensor) {
    if (!find(tensor)) {
      return llm::Error{index_path + ": tensor " + quote(tensor) + " is not in its shard " + quote(shard)};
    }
  }
  return {};
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  const auto [file, tensor] = found->second;
  return &files_[file].tensors[tensor];
}

llm::Result<std::vector<std::byte>> Checkpoint::read_range(const TensorInfo& tensor, uint64_t offset,
                                                           uint64_t length) const {
  const SafetensorsFile& file = files_[tensor.file];
  const std::string where = file.path + ": tensor " + quote(tensor.name) + ": ";
  if (offset > tensor.bytes() || length > tensor.bytes() - offset) {
    return llm::Error{where + "asked for bytes " + std::to_string(offset) + " to " + std::to_string(offset + length) +
                      " of " + std::to_string(tensor.bytes())};
  }
  const int fd = ::open(file.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return llm::Error{where + "cannot open the file: " + std::strerror(errno)};
  std::vector<std::byte> bytes(length);
  uint64_t done = 0;
  while (done < length) {
    const auto position = static_cast<off_t>(file.data_offset + tensor.begin + offset + done);
    const ssize_t got = ::pread(fd, bytes.data() + done, length - done, position);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      const std::string reason = got == 0 ? "the file became shorter" : std::strerror(errno);
      ::close(fd);
      return llm::Error{where + "cannot read: " + reason};
    }
    done += static_cast<uint64_t>(got);
  }
  ::close(fd);
  return bytes;
}

}  // namespace llmc
