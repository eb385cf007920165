#include "compiler/frontend/quantization/quantization_config.h"

#include <algorithm>
#include <array>
#include <regex>

#include "compiler/frontend/quantization/compressed_tensors_config.h"
#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr int64_t kMaxGroup = int64_t{1} << 31;
constexpr size_t kMaxPatternBytes = 4096;

// Keys that say how the quantization was made, or what a run time may do; none changes the weights.
constexpr std::string_view kIgnored[] = {
    "_load_in_4bit",
    "_load_in_8bit",
    "act_group_aware",
    "activation_scheme",
    "amp",
    "autoround_version",
    "backend",
    "batch_size",
    "block_name_to_quantize",
    "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_storage",
    "bnb_4bit_use_double_quant",
    "cache_block_outputs",
    "damp_auto_increment",
    "damp_percent",
    "data_type",
    "dataset",
    "do_fuse",
    "enable_quanted_input",
    "exllama_config",
    "fuse_max_seq_len",
    "gradient_accumulate_steps",
    "ignored_layers",
    "is_marlin_format",
    "iters",
    "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight",
    "llm_int8_skip_modules",
    "llm_int8_threshold",
    "lm_head",
    "low_gpu_mem_usage",
    "lr",
    "max_input_length",
    "meta",
    "minmax_lr",
    "model_file_base_name",
    "model_name_or_path",
    "model_seqlen",
    "module_name_preceding_first_block",
    "modules_in_block_to_quantize",
    "modules_to_fuse",
    "modules_to_not_convert",
    "mse",
    "nsamples",
    "offload_to_disk",
    "pack_dtype",
    "pad_token_id",
    "quantizer",
    "scale_dtype",
    "seqlen",
    "static_groups",
    "to_quant_block_names",
    "tokenizer",
    "train_bs",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
    "v2",
};

void every_linear(QuantizationConfig& config, const QuantizationScheme& scheme) {
  config.rules.push_back({QuantizationRule::Kind::kEveryLinear, "", scheme});
}

int64_t read_bits(ConfigReader& reader, std::string_view key, std::initializer_list<int64_t> known) {
  const int64_t bits = reader.integer(key, 1, 64);
  if (reader.ok() && std::find(known.begin(), known.end(), bits) == known.end()) {
    std::string expected;
    for (int64_t k : known) expected += (expected.empty() ? "" : ", ") + std::to_string(k);
    reader.refuse(key, known.size() == 1 ? expected : "one of " + expected);
  }
  return bits;
}

// -1, null and absence mean a whole row.
int64_t read_group(ConfigReader& reader, std::string_view key) {
  const int64_t group = reader.integer_or(key, -1, kMaxGroup, -1);
  if (group == 0) reader.refuse(key, "-1 or a positive number of columns");
  return std::max<int64_t>(group, 0);
}

// `dynamic` of GPTQModel: "-:" before a pattern excludes modules; "+:", or nothing, overrides their scheme.
void read_dynamic(ConfigReader reader, const QuantizationScheme& base, QuantizationConfig& config) {
  for (const std::string& key : reader.unread_keys()) {
    QuantizationRule rule{QuantizationRule::Kind::kRegex, key, base};
    if (key.starts_with("-:")) rule.scheme.reset();
    if (key.starts_with("-:") || key.starts_with("+:")) rule.pattern = key.substr(2);
    ConfigReader overrides = reader.object(key);
    if (rule.scheme) {
      if (overrides.has("bits")) rule.scheme->bits = read_bits(overrides, "bits", {2, 3, 4, 8});
      if (overrides.has("group_size")) rule.scheme->group = read_group(overrides, "group_size");
      rule.scheme->symmetric = overrides.boolean_or("sym", base.symmetric);
      rule.scheme->ordered = overrides.boolean_or("desc_act", base.ordered);
      for (const std::string& other : overrides.unread_keys())
        if (std::find(std::begin(kIgnored), std::end(kIgnored), other) == std::end(kIgnored))
          overrides.refuse(other, "bits, group_size, sym or desc_act");
    }
    config.rules.push_back(std::move(rule));
  }
}

void read_gptq(ConfigReader& reader, QuantizationConfig& config) {
  QuantizationScheme scheme;
  scheme.bits = read_bits(reader, "bits", {2, 3, 4, 8});
  scheme.group = read_group(reader, "group_size");
  scheme.symmetric = reader.boolean_or("sym", false);  // with any other value the zero points are read all the same
  scheme.ordered = reader.boolean_or("desc_act", false);
  const std::string format = reader.string_or("checkpoint_format", reader.string_or("format", "gptq"));
  if (format == "gptq_v2") {
    scheme.format = PackingFormat::kGptqV2;
  } else if (format != "gptq") {
    reader.refuse(reader.has("checkpoint_format") ? "checkpoint_format" : "format", "'gptq' or 'gptq_v2'");
  }
  every_linear(config, scheme);
  if (reader.has("dynamic") && !reader.value("dynamic").is_boolean())
    read_dynamic(reader.object("dynamic"), scheme, config);
}

void read_awq(ConfigReader& reader, QuantizationConfig& config) {
  QuantizationScheme scheme;
  const bool old_names = reader.has("w_bit");  // of AutoAWQ's quant_config.json
  scheme.bits = read_bits(reader, old_names ? "w_bit" : "bits", {4});
  scheme.group = read_group(reader, old_names ? "q_group_size" : "group_size");
  if (!reader.boolean_or("zero_point", true)) reader.refuse("zero_point", "true");
  std::string version = reader.string_or("version", "gemm");
  std::transform(version.begin(), version.end(), version.begin(), [](unsigned char c) { return std::tolower(c); });
  if (version == "gemm") {
    scheme.format = PackingFormat::kAwqGemm;
  } else if (version == "gemv") {
    scheme.format = PackingFormat::kAwqGemv;
  } else {
    reader.refuse("version", "'gemm' or 'gemv'");
  }
  every_linear(config, scheme);
}

void read_fp8(ConfigReader& reader, QuantizationConfig& config) {
  QuantizationScheme scheme{.format = PackingFormat::kFloat, .bits = 8};
  const std::string type = reader.string_or("fmt", "e4m3");
  if (type != "e4m3") reader.refuse("fmt", "'e4m3'");
  if (reader.has("weight_block_size")) {
    const std::vector<int64_t> block = reader.integer_or_list("weight_block_size", 1, kMaxGroup);
    if (block.size() == 2) {
      scheme.block_rows = block[0], scheme.group = block[1];
    } else {
      reader.refuse("weight_block_size", "two numbers: rows and columns");
    }
  }
  every_linear(config, scheme);
}

void read_bitsandbytes(ConfigReader& reader, QuantizationConfig& config) {
  const bool four = reader.boolean_or("load_in_4bit", false), eight = reader.boolean_or("load_in_8bit", false);
  if (four == eight) reader.fail("key 'quantization_config': expected exactly one of load_in_4bit and load_in_8bit");
  if (four) {
    const std::string type = reader.string_or("bnb_4bit_quant_type", "fp4");
    if (type != "nf4" && type != "fp4") reader.refuse("bnb_4bit_quant_type", "'nf4' or 'fp4'");
  } else {
    reader.value("bnb_4bit_quant_type");
  }
  every_linear(config, {.format = PackingFormat::kInteger, .bits = four ? 4 : 8});
}

bool matches(const QuantizationRule& rule, std::string_view module) {
  switch (rule.kind) {
    case QuantizationRule::Kind::kExact:
      return rule.pattern == module;
    case QuantizationRule::Kind::kRegex:
      return std::regex_search(module.begin(), module.end(), std::regex(rule.pattern),
                               std::regex_constants::match_continuous);
    case QuantizationRule::Kind::kEveryLinear:
      break;
  }
  return true;
}

// std::regex is ECMAScript: what of Python it does not know is refused.
void check_patterns(ConfigReader& reader, const QuantizationConfig& config) {
  for (const QuantizationRule& rule : config.rules) {
    if (rule.kind != QuantizationRule::Kind::kRegex) continue;
    try {
      if (rule.pattern.size() > kMaxPatternBytes) throw std::regex_error(std::regex_constants::error_complexity);
      std::regex compiled(rule.pattern);
    } catch (const std::regex_error& error) {
      reader.fail("key 'quantization_config': found the pattern " + quote(rule.pattern) +
                  ", expected a regular expression: " + error.what());
    }
  }
}

}  // namespace

llm::Result<std::optional<QuantizationScheme>> QuantizationConfig::scheme_of(std::string_view module) const {
  const QuantizationRule* found = nullptr;
  for (const QuantizationRule& rule : rules) {
    if ((found && rule.kind > found->kind) || !matches(rule, module)) continue;
    if (found && rule.kind == found->kind && rule.scheme != found->scheme)
      return llm::Error{"module " + quote(module) + " is named by " + quote(found->pattern) + " and by " +
                        quote(rule.pattern) + " of quantization_config, which differ; expected one of them"};
    found = &rule;
  }
  if (!found)
    return llm::Error{"module " + quote(module) + " is quantized, but no target of quantization_config names it"};
  return found->scheme;
}

QuantizationConfig read_quantization_config(ConfigReader reader) {
  struct Method {
    std::string_view name;
    QuantizationMethod method;
    void (*read)(ConfigReader&, QuantizationConfig&);
  };
  static constexpr std::array kMethods = {
      Method{"gptq", QuantizationMethod::kGptq, read_gptq},
      Method{"awq", QuantizationMethod::kAwq, read_awq},
      Method{"compressed-tensors", QuantizationMethod::kCompressedTensors, read_compressed_tensors},
      Method{"fp8", QuantizationMethod::kFp8, read_fp8},
      Method{"bitsandbytes", QuantizationMethod::kBitsandbytes, read_bitsandbytes},
  };
  QuantizationConfig config;
  const std::string name = reader.string_or("quant_method", reader.has("w_bit") ? "awq" : "");
  const auto method = std::find_if(kMethods.begin(), kMethods.end(), [&](const Method& m) { return m.name == name; });
  if (method == kMethods.end()) {
    reader.refuse("quant_method", "'gptq', 'awq', 'compressed-tensors', 'fp8' or 'bitsandbytes'");
    return config;
  }
  config.method = method->method;
  method->read(reader, config);
  if (reader.ok()) check_patterns(reader, config);
  for (const std::string& key : reader.unread_keys())
    if (std::find(std::begin(kIgnored), std::end(kIgnored), key) == std::end(kIgnored))
      reader.warn("key " + quote(reader.full_key(key)) + " is not known and was ignored");
  return config;
}

}  // namespace llmc
