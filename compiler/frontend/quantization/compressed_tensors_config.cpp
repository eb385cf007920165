#include "compiler/frontend/quantization/compressed_tensors_config.h"

#include <algorithm>

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr int64_t kMaxGroup = int64_t{1} << 31;
constexpr std::string_view kRegexPrefix = "re:";

// Keys of a group of weights that change nothing here: `actorder` is seen from the tensors, the others say how scales
// were found.
constexpr std::string_view kObserverKeys[] = {"actorder", "observer", "observer_kwargs", "scale_dtype", "zp_dtype"};

PackingFormat read_format(ConfigReader& reader, const std::string& format, bool is_float) {
  if (format == "pack-quantized") return PackingFormat::kPacked;
  if (format == "int-quantized") return PackingFormat::kInteger;
  if (format == "float-quantized") return PackingFormat::kFloat;
  if (format == "naive-quantized") return is_float ? PackingFormat::kFloat : PackingFormat::kInteger;
  reader.refuse("format", "'pack-quantized', 'int-quantized' or 'float-quantized'");
  return PackingFormat::kPacked;
}

QuantizationScheme read_weights(ConfigReader& group, ConfigReader& top) {
  ConfigReader weights = group.object("weights");
  QuantizationScheme scheme;
  scheme.bits = weights.integer("num_bits", 1, 64);
  const std::string type = weights.string_or("type", "int");
  if (type != "int" && type != "float") weights.refuse("type", "'int' or 'float'");
  scheme.symmetric = weights.boolean_or("symmetric", true);
  const std::string strategy = weights.string_or("strategy", weights.has("group_size") ? "group" : "tensor");
  if (strategy == "group") {
    scheme.group = weights.integer("group_size", 1, kMaxGroup);
  } else if (strategy == "block") {
    const std::vector<int64_t> block = weights.integer_or_list("block_structure", 1, kMaxGroup);
    if (block.size() == 2) {
      scheme.block_rows = block[0], scheme.group = block[1];
    } else {
      weights.refuse("block_structure", "two numbers: rows and columns");
    }
  } else if (strategy != "channel" && strategy != "tensor") {
    weights.refuse("strategy", "'tensor', 'channel', 'group' or 'block'");
  }
  if (weights.has("dynamic") && weights.value("dynamic") != false) weights.refuse("dynamic", "false for weights");
  weights.value("group_size"), weights.value("block_structure");
  const bool own = group.has("format");
  scheme.format = read_format(own ? group : top, (own ? group : top).string_or("format", ""), type == "float");
  const bool whole_bytes = scheme.format != PackingFormat::kPacked;
  const bool known =
      whole_bytes ? scheme.bits == 8 : scheme.bits == 2 || scheme.bits == 3 || scheme.bits == 4 || scheme.bits == 8;
  if (weights.ok() && !known) weights.refuse("num_bits", whole_bytes ? "8 in this format" : "2, 3, 4 or 8");
  if (weights.ok() && (scheme.format == PackingFormat::kFloat) != (type == "float"))
    weights.refuse("type", type == "float" ? "'int' in this format" : "'float' in this format");
  for (const std::string& key : weights.unread_keys())
    if (std::find(std::begin(kObserverKeys), std::end(kObserverKeys), key) == std::end(kObserverKeys))
      weights.warn("key " + quote(weights.full_key(key)) + " is not known and was ignored");
  return scheme;
}

}  // namespace

void read_compressed_tensors(ConfigReader& reader, QuantizationConfig& config) {
  for (const char* key : {"sparsity_config", "transform_config"}) {
    const nlohmann::json& value = reader.value(key);
    const bool dense =
        value.is_object() && value.value("format", nlohmann::json()) == "dense";  // measured, but not used to compress
    if (!value.is_null() && !value.empty() && !dense) reader.refuse(key, "no such key: only quantization is read");
  }
  if (reader.has("kv_cache_scheme"))
    reader.warn("key 'quantization_config.kv_cache_scheme': the cache keeps the type of --kv-dtype");
  reader.value("ignore"), reader.value("version"), reader.value("quantization_status"),
      reader.value("global_compression_ratio");
  ConfigReader groups = reader.object("config_groups");
  bool activations = false;
  for (const std::string& name : groups.unread_keys()) {
    ConfigReader group = groups.object(name);
    if (!group.has("weights")) continue;  // activations only
    const QuantizationScheme scheme = read_weights(group, reader);
    activations |= group.has("input_activations");
    if (group.has("output_activations")) group.refuse("output_activations", "null");
    for (const std::string& target : group.strings("targets")) {
      QuantizationRule rule{QuantizationRule::Kind::kExact, target, scheme};
      if (target == "Linear") rule = {QuantizationRule::Kind::kEveryLinear, "Linear", scheme};
      if (target.starts_with(kRegexPrefix))
        rule = {QuantizationRule::Kind::kRegex, target.substr(kRegexPrefix.size()), scheme};
      config.rules.push_back(std::move(rule));
    }
  }
  reader.value("format");
  if (activations)
    reader.warn(
        "key 'quantization_config': activations are not quantized, only weights: results are closer to the model "
        "before quantization");
}

}  // namespace llmc
