#include "compiler/frontend/model_config.h"

#include <filesystem>

#include "compiler/frontend/config_keys.h"
#include "compiler/frontend/config_reader.h"
#include "compiler/frontend/families/families.h"
#include "compiler/frontend/quote.h"
#include "compiler/frontend/rope_config.h"
#include "plan/mapped_file.h"

namespace llmc {
namespace {

constexpr int64_t kMaxSize = (int64_t{1} << 31) - 1;
constexpr int64_t kMaxLayers = 10'000;  // 80 times what the deepest model has; 9 tensors each stay below 100,000
constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int64_t kLlamaDefaultLength = 2048;  // transformers, LlamaConfig: files of Llama 1 lack the key

// `architectures[0]` names the class, `model_type` the family; where both stand they must agree.
const FamilyInfo* read_family(ConfigReader& reader) {
  const std::vector<std::string> architectures = reader.strings("architectures");
  const std::string model_type = reader.string_or("model_type", "");
  const FamilyInfo* by_type = nullptr;
  const FamilyInfo* by_architecture = nullptr;
  for (const FamilyInfo* info : families()) {
    if (info->model_type == model_type) by_type = info;
    if (!architectures.empty() && info->architecture == architectures[0]) by_architecture = info;
  }
  if (!architectures.empty() && !by_architecture) {
    reader.refuse("architectures", "the causal-LM class of a supported family: " + family_names());
  } else if (!model_type.empty() && !by_type) {
    reader.refuse("model_type", "a supported family: " + family_names());
  } else if (by_type && by_architecture && by_type != by_architecture) {
    reader.refuse("model_type",
                  "the family of " + quote(architectures[0]) + ": '" + std::string(by_architecture->model_type) + "'");
  } else if (!by_type && !by_architecture) {
    reader.fail("required key 'architectures' is missing, expected the class of a supported family: " + family_names());
  }
  return by_architecture ? by_architecture : by_type;
}

// From config.json, or else from an older file beside it.
llm::Status read_quantization(ConfigReader& reader, const std::optional<QuantizationFile>& file, ModelConfig& config) {
  if (reader.has("quantization_config")) {
    config.quantization = read_quantization_config(reader.object("quantization_config"));
    return reader.status();
  }
  reader.value("quantization_config");
  if (!file) return {};
  auto json = nlohmann::json::parse(file->text, nullptr, false);
  if (!json.is_object()) return llm::Error{file->path + ": not a JSON object"};
  if (!json.contains("quant_method") && !json.contains("w_bit"))
    json["quant_method"] = "gptq";  // AutoGPTQ's file does not name it
  LLM_ASSIGN(ConfigReader own, ConfigReader::parse(json.dump(), file->path));
  config.quantization = read_quantization_config(own);
  for (const std::string& warning : own.warnings()) config.warnings.push_back(warning);
  return own.status();
}

void read_dimensions(ConfigReader& reader, ModelConfig& config) {
  config.vocab_size = reader.integer("vocab_size", 1, kMaxSize);
  config.hidden_size = reader.integer("hidden_size", 1, kMaxSize);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMaxSize);
  config.num_layers = reader.integer("num_hidden_layers", 1, kMaxLayers);
  config.num_heads = reader.integer("num_attention_heads", 1, kMaxSize);
  config.rms_norm_eps = reader.number("rms_norm_eps", 0.0, 1.0);
  config.tie_word_embeddings = reader.boolean_or("tie_word_embeddings", false);
  if (config.family == Family::kLlama && !reader.has("max_position_embeddings")) {
    config.max_position_embeddings = kLlamaDefaultLength;
    reader.warn("key 'max_position_embeddings' is missing: took " + std::to_string(kLlamaDefaultLength));
  } else {
    config.max_position_embeddings = reader.integer("max_position_embeddings", 1, kMaxSize);
  }
}

void read_activation(ConfigReader& reader, ModelConfig& config) {
  const std::string act = reader.string_or("hidden_act", "silu");
  if (act != "silu" && act != "swish") reader.refuse("hidden_act", "'silu'");  // swish is its other name
  config.hidden_act = "silu";
}

void read_dtype(ConfigReader& reader, ModelConfig& config) {
  const std::string old_name = reader.string_or("torch_dtype", "");
  const std::string new_name = reader.string_or("dtype", "");
  if (!old_name.empty() && !new_name.empty() && old_name != new_name) {
    reader.refuse("dtype", "the same as 'torch_dtype', " + quote(old_name));
    return;
  }
  std::string_view name = new_name.empty() ? old_name : new_name;
  if (name.starts_with("torch.")) name.remove_prefix(6);
  if (name.empty() || name == "auto") return;
  if (name == "float32") {
    config.dtype = DType::kF32;
  } else if (name == "float16") {
    config.dtype = DType::kF16;
  } else if (name == "bfloat16") {
    config.dtype = DType::kBF16;
  } else {
    reader.refuse(new_name.empty() ? "torch_dtype" : "dtype", "float32, float16 or bfloat16");
  }
}

// Ids outside the vocabulary are never produced; real configs carry some (pad_token_id -1), so they only warn.
std::vector<int64_t> read_token_ids(ConfigReader& reader, std::string_view key, int64_t vocab_size) {
  std::vector<int64_t> inside;
  for (int64_t id : reader.integer_or_list(key, INT64_MIN, INT64_MAX)) {
    if (id >= 0 && id < vocab_size) {
      inside.push_back(id);
    } else {
      reader.warn("key " + quote(key) + ": " + std::to_string(id) + " is outside the vocabulary of " +
                  std::to_string(vocab_size) + " and was ignored");
    }
  }
  return inside;
}

std::optional<int64_t> read_token_id(ConfigReader& reader, std::string_view key, int64_t vocab_size) {
  const std::vector<int64_t> ids = read_token_ids(reader, key, vocab_size);
  if (ids.size() > 1) reader.refuse(key, "one integer");
  return ids.empty() ? std::nullopt : std::optional(ids[0]);
}

}  // namespace

llm::Result<ModelConfig> parse_model_config(std::string_view json, const std::string& path,
                                            const ConfigOptions& options,
                                            const std::optional<QuantizationFile>& quantization) {
  LLM_ASSIGN(ConfigReader reader, ConfigReader::parse(json, path));
  ModelConfig config;
  const FamilyInfo* family = read_family(reader);
  LLM_TRY(reader.status());
  config.family = family->family;
  config.architecture = family->architecture;
  LLM_TRY(read_quantization(reader, quantization, config));
  read_dimensions(reader, config);
  read_activation(reader, config);
  LLM_TRY(reader.status());

  family->read(reader, config);
  LLM_TRY(reader.status());
  config.rope = read_rope(reader, config.head_dim, config.max_position_embeddings, options.max_context);
  read_dtype(reader, config);
  config.eos_token_ids = read_token_ids(reader, "eos_token_id", config.vocab_size);
  config.bos_token_id = read_token_id(reader, "bos_token_id", config.vocab_size);
  config.pad_token_id = read_token_id(reader, "pad_token_id", config.vocab_size);
  check_remaining_keys(reader);
  LLM_TRY(reader.status());
  config.warnings.insert(config.warnings.end(), reader.warnings().begin(), reader.warnings().end());
  return config;
}

llm::Result<ModelConfig> load_model_config(const std::string& model_dir, const ConfigOptions& options) {
  const std::string path = model_dir + "/config.json";
  LLM_ASSIGN(std::string text, llm::read_text_file(path, kMaxConfigBytes));
  std::optional<QuantizationFile> quantization;
  for (const char* name : {"/quantize_config.json", "/quant_config.json"}) {
    std::error_code error;
    if (quantization || !std::filesystem::exists(model_dir + name, error)) continue;
    LLM_ASSIGN(std::string other, llm::read_text_file(model_dir + name, kMaxConfigBytes));
    quantization = QuantizationFile{std::move(other), model_dir + name};
  }
  return parse_model_config(text, path, options, quantization);
}

}  // namespace llmc
