#include "tools/model_folder_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <vector>

#include "compiler/frontend/families/families.h"

namespace llmc {
namespace {

namespace fs = std::filesystem;

struct PlacedTensor {
  WeightSpec spec;
  uint64_t elements = 0;
  uint64_t bytes = 0;
  size_t shard = 0;
  uint64_t offset = 0;  // in the byte buffer of its shard
};

struct Shard {
  std::string name;
  std::string head;  // header length and header
  uint64_t data_bytes = 0;
  int fd = -1;
};

llm::Error system_error(const std::string& path, const char* action) {
  return {path + ": cannot " + action + ": " + std::strerror(errno)};
}

llm::Result<std::vector<PlacedTensor>> list_tensors(const ModelConfig& config, DType dtype) {
  std::vector<PlacedTensor> out;
  for (WeightSpec& spec : family_info(config.family).weights(config)) {
    PlacedTensor tensor;
    tensor.elements = 1;
    for (int64_t dim : spec.shape) {
      if (__builtin_mul_overflow(tensor.elements, static_cast<uint64_t>(dim), &tensor.elements)) {
        return llm::Error{"tensor '" + spec.name + "' has more than 2^64 elements"};
      }
    }
    if (__builtin_mul_overflow(tensor.elements, static_cast<uint64_t>(dtype_bits(dtype) / 8), &tensor.bytes) ||
        tensor.bytes > static_cast<uint64_t>(INT64_MAX) / 2) {
      return llm::Error{"tensor '" + spec.name + "' has more bytes than a file can hold"};
    }
    tensor.spec = std::move(spec);
    out.push_back(std::move(tensor));
  }
  return out;
}

// Fills shards in graph order, each up to `limit` bytes.
size_t place_tensors(std::vector<PlacedTensor>& tensors, uint64_t limit) {
  size_t shard = 0;
  uint64_t used = 0;
  for (PlacedTensor& tensor : tensors) {
    if (used > 0 && (tensor.bytes > limit || used > limit - tensor.bytes)) {
      ++shard;
      used = 0;
    }
    tensor.shard = shard;
    tensor.offset = used;
    used += tensor.bytes;
  }
  return shard + 1;
}

// The smallest limit that needs at most `count` shards, so that they come out about equal.
uint64_t limit_for_count(std::vector<PlacedTensor>& tensors, uint64_t count, uint64_t total_bytes) {
  uint64_t low = total_bytes / count;
  uint64_t high = total_bytes;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (place_tensors(tensors, middle) > count) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::string shard_name(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

std::vector<Shard> make_shards(const std::vector<PlacedTensor>& tensors, size_t count, DType dtype) {
  std::vector<nlohmann::ordered_json> headers(count, {{"__metadata__", {{"format", "pt"}}}});
  std::vector<Shard> shards(count);
  for (const PlacedTensor& tensor : tensors) {
    headers[tensor.shard][tensor.spec.name] = {{"dtype", dtype_name(dtype)},
                                               {"shape", tensor.spec.shape},
                                               {"data_offsets", {tensor.offset, tensor.offset + tensor.bytes}}};
    shards[tensor.shard].data_bytes = tensor.offset + tensor.bytes;
  }
  for (size_t i = 0; i < count; ++i) {
    std::string text = headers[i].dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // the byte buffer begins at a multiple of 8
    std::string length(8, '\0');
    for (size_t b = 0; b < 8; ++b) length[b] = static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * b));
    shards[i].name = shard_name(i, count);
    shards[i].head = length + text;
  }
  return shards;
}

llm::Status prepare_folder(const ModelFolderOptions& options) {
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) return llm::Error{options.folder + ": cannot make the folder: " + error.message()};
  for (const fs::directory_entry& entry : fs::directory_iterator(options.folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("model") || name.find(".safetensors") == std::string::npos) continue;
    if (!options.overwrite) {
      return llm::Error{options.folder + ": holds " + name + " already; choose another folder, or give --force"};
    }
    fs::remove(entry.path(), error);
    if (error) return llm::Error{entry.path().string() + ": cannot remove: " + error.message()};
  }
  if (error) return llm::Error{options.folder + ": cannot list the folder: " + error.message()};
  return {};
}

llm::Status write_all(int fd, const std::byte* data, uint64_t size, uint64_t offset, const std::string& path) {
  while (size > 0) {
    const ssize_t wrote = ::pwrite(fd, data, size, static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return system_error(path, "write");
    data += wrote;
    offset += static_cast<uint64_t>(wrote);
    size -= static_cast<uint64_t>(wrote);
  }
  return {};
}

llm::Status write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) return system_error(path, "write");
  return {};
}

llm::Status open_shard(Shard& shard, const std::string& folder) {
  const std::string path = folder + "/" + shard.name;
  shard.fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (shard.fd < 0) return system_error(path, "make the file");
  const uint64_t size = shard.head.size() + shard.data_bytes;
  if (::ftruncate(shard.fd, static_cast<off_t>(size)) != 0) return system_error(path, "set the file's size");
  return write_all(shard.fd, reinterpret_cast<const std::byte*>(shard.head.data()), shard.head.size(), 0, path);
}

struct Chunk {
  size_t tensor = 0;
  uint64_t first = 0;  // element
  uint64_t count = 0;
};

constexpr uint64_t kChunkElements = uint64_t{1} << 20;

std::vector<Chunk> make_chunks(const std::vector<PlacedTensor>& tensors) {
  std::vector<Chunk> chunks;
  for (size_t t = 0; t < tensors.size(); ++t) {
    for (uint64_t first = 0; first < tensors[t].elements; first += kChunkElements) {
      chunks.push_back({t, first, std::min(kChunkElements, tensors[t].elements - first)});
    }
  }
  return chunks;
}

llm::Status fill_shards(const ModelConfig& config, const std::vector<PlacedTensor>& tensors,
                        const std::vector<Shard>& shards, const ModelFolderOptions& options) {
  const std::vector<Chunk> chunks = make_chunks(tensors);
  const uint64_t element_bytes = static_cast<uint64_t>(dtype_bits(options.dtype) / 8);
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  std::mutex error_mutex;
  std::optional<llm::Error> error;
  auto work = [&] {
    std::vector<std::byte> buffer(kChunkElements * element_bytes);
    for (size_t i = next++; i < chunks.size() && !failed; i = next++) {
      const Chunk& chunk = chunks[i];
      const PlacedTensor& tensor = tensors[chunk.tensor];
      const Shard& shard = shards[tensor.shard];
      fill_random(tensor_key(options.seed, tensor.spec.name), chunk.first, chunk.count,
                  weight_distribution(tensor.spec.role, config, options.std_mode), options.dtype, buffer.data());
      const uint64_t offset = shard.head.size() + tensor.offset + chunk.first * element_bytes;
      llm::Status status = write_all(shard.fd, buffer.data(), chunk.count * element_bytes, offset, shard.name);
      if (!status.ok()) {
        const std::lock_guard lock(error_mutex);
        error = status.error();
        failed = true;
      }
    }
  };
  std::vector<std::jthread> threads;
  const size_t count = std::min<size_t>(std::max(1u, options.threads), chunks.size());
  for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
  work();
  threads.clear();  // joins
  if (error) return *error;
  return {};
}

std::string index_text(const std::vector<PlacedTensor>& tensors, const std::vector<Shard>& shards, uint64_t bytes) {
  nlohmann::ordered_json index = {{"metadata", {{"total_size", bytes}}},
                                  {"weight_map", nlohmann::ordered_json::object()}};
  for (const PlacedTensor& tensor : tensors) index["weight_map"][tensor.spec.name] = shards[tensor.shard].name;
  return index.dump(2) + "\n";
}

}  // namespace

llm::Result<ModelFolderSummary> write_model_folder(const ModelConfig& config, const std::string& config_text,
                                                   const ModelFolderOptions& options) {
  LLM_ASSIGN(std::vector<PlacedTensor> tensors, list_tensors(config, options.dtype));
  ModelFolderSummary summary;
  summary.tensors = tensors.size();
  for (const PlacedTensor& tensor : tensors) {
    summary.parameters += tensor.elements;
    summary.bytes += tensor.bytes;
  }
  uint64_t limit = options.max_shard_bytes;
  if (options.shard_count > 0) limit = limit_for_count(tensors, options.shard_count, summary.bytes);
  summary.shards = place_tensors(tensors, limit);

  LLM_TRY(prepare_folder(options));
  std::vector<Shard> shards = make_shards(tensors, summary.shards, options.dtype);
  llm::Status status;
  for (Shard& shard : shards) {
    if (status.ok()) status = open_shard(shard, options.folder);
  }
  if (status.ok() && !options.headers_only) status = fill_shards(config, tensors, shards, options);
  for (const Shard& shard : shards) {
    if (shard.fd >= 0 && ::close(shard.fd) != 0 && status.ok()) status = system_error(shard.name, "close the file");
  }
  LLM_TRY(status);
  if (shards.size() > 1) {
    LLM_TRY(write_text(options.folder + "/model.safetensors.index.json", index_text(tensors, shards, summary.bytes)));
  }
  LLM_TRY(write_text(options.folder + "/config.json", config_text));
  return summary;
}

}  // namespace llmc
