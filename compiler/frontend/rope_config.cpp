#include "compiler/frontend/rope_config.h"

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr double kMaxNumber = 1e30;
constexpr int64_t kMaxLength = (int64_t{1} << 31) - 1;

std::optional<RopeKind> rope_kind(std::string_view name) {
  for (RopeKind kind : {RopeKind::kDefault, RopeKind::kLinear, RopeKind::kDynamic, RopeKind::kLlama3, RopeKind::kYarn,
                        RopeKind::kLongrope}) {
    if (rope_kind_name(kind) == name) return kind;
  }
  if (name == "su") return RopeKind::kLongrope;  // its name in the first Phi-3 configs
  return std::nullopt;
}

bool is_empty(const nlohmann::json& value) { return value.is_null() || (value.is_object() && value.empty()); }

// `rope_type`, or its old name `type`.
RopeKind read_kind(ConfigReader& rope) {
  const std::string name = rope.string_or("rope_type", "");
  const std::string old_name = rope.string_or("type", "");
  const char* key = name.empty() ? "type" : "rope_type";
  if (!name.empty() && !old_name.empty() && name != old_name) {
    rope.refuse("type", "the same as 'rope_type', " + quote(name));
    return RopeKind::kDefault;
  }
  if (name.empty() && old_name.empty()) {
    for (const std::string& other : rope.unread_keys()) {
      if (other == "rope_theta" || other == "partial_rotary_factor") continue;
      rope.refuse("rope_type", "a string: there is a key " + quote(rope.full_key(other)));
    }
    return RopeKind::kDefault;
  }
  const std::optional<RopeKind> kind = rope_kind(name.empty() ? old_name : name);
  if (!kind) rope.refuse(key, "default, linear, dynamic, llama3, yarn or longrope");
  return kind.value_or(RopeKind::kDefault);
}

// transformers: the key at the top wins, then the one of the rope object, then max_position_embeddings.
int64_t read_original_length(ConfigReader& reader, ConfigReader& rope, int64_t max_position_embeddings) {
  constexpr std::string_view kKey = "original_max_position_embeddings";
  const int64_t nested = rope.integer_or(kKey, 1, kMaxLength, max_position_embeddings);
  return reader.integer_or(kKey, 1, kMaxLength, nested);
}

void read_yarn(ConfigReader& rope, RopeParameters& p) {
  if (!rope.present("factor")) rope.number("factor", 0.0, kMaxNumber);  // null is legal, absent is not
  if (rope.has("factor")) p.factor = rope.number("factor", 0.0, kMaxNumber);
  rope.value("factor");
  if (rope.has("attention_factor")) p.attention_factor = rope.number("attention_factor", 0.0, kMaxNumber);
  p.beta_fast = rope.number_or("beta_fast", 0.0, kMaxNumber, p.beta_fast);
  p.beta_slow = rope.number_or("beta_slow", 0.0, kMaxNumber, p.beta_slow);
  p.mscale = rope.number_or("mscale", -kMaxNumber, kMaxNumber, 0.0);
  p.mscale_all_dim = rope.number_or("mscale_all_dim", -kMaxNumber, kMaxNumber, 0.0);
  p.truncate = rope.boolean_or("truncate", true);
}

void read_longrope(ConfigReader& rope, RopeParameters& p) {
  if (rope.has("factor")) p.factor = rope.number("factor", 0.0, kMaxNumber);
  if (rope.has("attention_factor")) p.attention_factor = rope.number("attention_factor", 0.0, kMaxNumber);
  p.short_factor = rope.numbers("short_factor", 0.0, kMaxNumber);
  p.long_factor = rope.numbers("long_factor", 0.0, kMaxNumber);
}

void read_llama3(ConfigReader& rope, RopeParameters& p) {
  p.factor = rope.number("factor", 0.0, kMaxNumber);
  p.low_freq_factor = rope.number("low_freq_factor", 0.0, kMaxNumber);
  p.high_freq_factor = rope.number("high_freq_factor", 0.0, kMaxNumber);
  if (rope.ok() && p.high_freq_factor <= p.low_freq_factor) {
    rope.refuse("high_freq_factor", "more than low_freq_factor");
  }
}

void read_kind_parameters(ConfigReader& reader, ConfigReader& rope, int64_t max_position_embeddings,
                          RopeParameters& p) {
  switch (p.kind) {
    case RopeKind::kDefault:
      break;
    case RopeKind::kLinear:
    case RopeKind::kDynamic:
      p.factor = rope.number("factor", 0.0, kMaxNumber);
      break;
    case RopeKind::kLlama3:
      read_llama3(rope, p);
      break;
    case RopeKind::kYarn:
      read_yarn(rope, p);
      break;
    case RopeKind::kLongrope:
      read_longrope(rope, p);
      break;
  }
  if (p.kind == RopeKind::kLlama3 || p.kind == RopeKind::kYarn || p.kind == RopeKind::kLongrope) {
    p.original_max_position_embeddings = read_original_length(reader, rope, max_position_embeddings);
  }
}

void refuse_partial_rotary(ConfigReader& reader) {
  const double factor = reader.number_or("partial_rotary_factor", 0.0, kMaxNumber, 1.0);
  if (factor != 1.0) reader.refuse("partial_rotary_factor", "1.0: these families rotate the whole head");
}

RopeParameters read_rope_object(ConfigReader& reader, std::string_view object_key, int64_t max_position_embeddings) {
  ConfigReader rope = reader.object(object_key);
  RopeParameters p;
  for (const char* layer_type : {"full_attention", "sliding_attention", "mrope_section"}) {
    if (rope.has(layer_type)) rope.refuse(layer_type, "no such key: one rope for all layers, in one dimension");
  }
  p.kind = read_kind(rope);
  read_kind_parameters(reader, rope, max_position_embeddings, p);
  refuse_partial_rotary(rope);

  const double flat_theta = reader.number_or("rope_theta", 1.0, kMaxNumber, p.theta);
  p.theta = rope.number_or("rope_theta", 1.0, kMaxNumber, flat_theta);
  if (reader.has("rope_theta") && p.theta != flat_theta) {
    rope.refuse("rope_theta", "the same as the key 'rope_theta' at the top");
  }
  for (const std::string& key : rope.unread_keys()) {
    // transformers writes null for parameters that a kind does not have
    if (!rope.has(key)) continue;
    reader.warn("key " + quote(rope.full_key(key)) + " has no effect with rope_type '" +
                std::string(rope_kind_name(p.kind)) + "'");
  }
  return p;
}

}  // namespace

Rope read_rope(ConfigReader& reader, int64_t head_dim, int64_t max_position_embeddings, int64_t max_context) {
  refuse_partial_rotary(reader);
  const nlohmann::json& scaling = reader.value("rope_scaling");
  const nlohmann::json& parameters = reader.value("rope_parameters");
  if (!is_empty(scaling) && !is_empty(parameters) && scaling != parameters) {
    reader.refuse("rope_scaling", "the same as 'rope_parameters', or only one of the two");
  }
  RopeParameters p;
  const char* key = !is_empty(scaling) ? "rope_scaling" : !is_empty(parameters) ? "rope_parameters" : nullptr;
  if (key) {
    p = read_rope_object(reader, key, max_position_embeddings);
  } else {
    p.theta = reader.number_or("rope_theta", 1.0, kMaxNumber, p.theta);
  }
  if (!reader.ok()) return {};
  llm::Result<Rope> rope = compute_rope(p, head_dim, max_position_embeddings, max_context);
  if (!rope.ok()) {
    reader.fail(rope.error().message);
    return {};
  }
  return std::move(*rope);
}

}  // namespace llmc
