// Small safetensors files and config.json texts for the frontend tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "compiler/frontend/model_config.h"

namespace llmc::test {

// The bytes of a file: length, header text, `data_bytes` zero bytes.
inline std::string safetensors_bytes(const std::string& header, size_t data_bytes) {
  std::string out(8, '\0');
  for (size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  return out + header + std::string(data_bytes, '\0');
}

struct TestTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype = "F32";
};

inline size_t element_bytes(const std::string& dtype) { return dtype == "F32" || dtype == "I32" ? 4 : 2; }

// A well-formed file of the tensors in this order. Byte i of the data is i * 7, so that no two tensors look alike.
inline std::string safetensors_bytes(const std::vector<TestTensor>& tensors) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  size_t offset = 0;
  for (const TestTensor& tensor : tensors) {
    size_t bytes = element_bytes(tensor.dtype);
    for (int64_t dim : tensor.shape) bytes *= static_cast<size_t>(dim);
    header[tensor.name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string out = safetensors_bytes(header.dump(), offset);
  for (size_t i = 0; i < offset; ++i) out[out.size() - offset + i] = static_cast<char>(i * 7 % 251);
  return out;
}

inline std::span<const std::byte> as_bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A folder that goes away with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string pattern = ::testing::TempDir() + "llmc_frontend_XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
  }

 private:
  std::string path_;
};

// A config.json of the given family that parses; tests change single keys of it.
inline nlohmann::json config_json(const std::string& model_type) {
  const std::string architecture = model_type == "llama"     ? "LlamaForCausalLM"
                                   : model_type == "mistral" ? "MistralForCausalLM"
                                   : model_type == "qwen2"   ? "Qwen2ForCausalLM"
                                                             : "Qwen3ForCausalLM";
  return {{"architectures", {architecture}},
          {"model_type", model_type},
          {"vocab_size", 20},
          {"hidden_size", 16},
          {"intermediate_size", 24},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 4},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-5},
          {"rope_theta", 10000.0},
          {"sliding_window", nullptr},
          {"hidden_act", "silu"},
          {"torch_dtype", "float32"}};
}

inline llm::Result<ModelConfig> parse(const nlohmann::json& config, const ConfigOptions& options = {}) {
  return parse_model_config(config.dump(), "dir/config.json", options);
}

// Passes when `result` is an error of one line that contains every one of `parts`.
template <typename T>
::testing::AssertionResult fails_with(const llm::Result<T>& result, const std::vector<std::string>& parts) {
  if (result.ok()) return ::testing::AssertionFailure() << "no error";
  const std::string& message = result.error().message;
  if (message.find('\n') != std::string::npos) return ::testing::AssertionFailure() << "two lines: " << message;
  for (const std::string& part : parts) {
    if (message.find(part) == std::string::npos) {
      return ::testing::AssertionFailure() << "no \"" << part << "\" in: " << message;
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace llmc::test
