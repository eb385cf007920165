// Every range, index, enum value and size of an unpacked index. Sizes are computed with overflow checks.
#include <limits>
#include <map>
#include <set>

#include "kernels_templates/abi.h"
#include "kernels_templates/variant.h"
#include "plan/plan_reader.h"
#include "plan/plan_tensors.h"
#include "plan/quantized_layout.h"

namespace llm {
namespace {

constexpr uint64_t kMaxDim = uint64_t{1} << 40;
constexpr uint64_t kMaxGridExtent = 0x7fffffff;
constexpr uint32_t kMaxSlots = 512;
constexpr uint64_t kMaxLimit = uint64_t{1} << 31;
constexpr uint64_t kMaxLayers = uint64_t{1} << 20;
constexpr uint64_t kMaxBufferBytes = uint64_t{1} << 44;
constexpr uint64_t kMaxBlockBytes = uint64_t{1} << 34;  // of one layer; all layers together still fit in 64 bits

bool mul(uint64_t a, uint64_t b, uint64_t& out) { return !__builtin_mul_overflow(a, b, &out); }

// Beyond every bound that it is compared with, where the product does not fit.
uint64_t saturating_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  return mul(a, b, product) ? product : ~uint64_t{0};
}

// Of a type that kernels compute with.
bool dtype_bytes(uint8_t dtype, uint64_t& bytes) {
  bytes = element_bytes(dtype);
  return bytes > 0 && dtype <= static_cast<uint8_t>(ScalarType::kBF16);
}

Error bad(const std::string& what) { return Error{what}; }
std::string number(uint64_t n) { return std::to_string(n); }

class Verifier {
 public:
  Verifier(const fb::PlanT& plan, uint64_t area) : plan_(plan), area_(area) {}

  Status run() {
    if (!plan_.model || !plan_.limits) return bad("model or limits missing");
    LLM_TRY(segments());
    LLM_TRY(sources());
    LLM_TRY(limits());
    LLM_TRY(kv_groups());
    LLM_TRY(io_fields());
    for (const auto& asset : plan_.text)
      if (!asset || asset->segment >= plan_.segments.size()) return bad("a text asset names a missing segment");
    if (plan_.targets.empty()) return bad("no targets");
    for (const auto& target : plan_.targets) {
      if (!target) return bad("empty target entry");
      if (Status s = this->target(*target); !s) return bad("target " + target->name + ": " + s.error().message);
    }
    return {};
  }

 private:
  Status segments() {
    for (const fb::Segment& s : plan_.segments) {
      if (s.offset() % kSegmentAlignment || s.offset() > area_ || s.stored_bytes() > area_ - s.offset())
        return bad("a segment lies outside of the file");
      if (s.kind() > fb::SegmentKind::MAX || s.compression() > fb::Compression::MAX) return bad("a segment of unknown kind or compression");
      if (s.compression() == fb::Compression::none && s.stored_bytes() != s.raw_bytes()) return bad("a segment with two sizes");
    }
    return {};
  }

  Status sources() {
    for (const auto& file : plan_.files) {
      if (!file || file->name.empty() || file->name.find_first_of(std::string_view("/\0", 2)) != std::string::npos || file->name[0] == '.')
        return bad("a weight file name that leaves the model folder");
      if (file->header_bytes > file->bytes) return bad("a weight file with a header larger than itself");
    }
    for (const auto& tensor : plan_.tensors) {
      uint64_t element, count, bytes;
      if (!tensor || tensor->file >= plan_.files.size()) return bad("a tensor of a missing file");
      element = element_bytes(tensor->dtype);
      if (element == 0) return bad("tensor " + tensor->key + " of unknown type");
      const uint64_t file_bytes = plan_.files[tensor->file]->bytes;
      if (!mul(tensor->rows, tensor->cols, count) || !mul(count, element, bytes) || tensor->offset > file_bytes ||
          bytes > file_bytes - tensor->offset)
        return bad("tensor " + tensor->key + " lies outside of its file");
    }
    return {};
  }

  Status limits() {
    const fb::LimitsT& l = *plan_.limits;
    for (uint64_t n : {l.max_context, l.max_batch, l.max_step_tokens, l.max_logits, l.block_tokens, l.table_stride, l.ring_entries,
                       l.max_block_updates, l.max_bias_pairs, l.mask_words})
      if (n == 0 || n > kMaxLimit) return bad("a limit of " + number(n));
    if (l.io_bytes > (uint64_t{1} << 34)) return bad("an io set of " + number(l.io_bytes) + " bytes");
    uint64_t positions;
    if (!mul(l.table_stride, l.block_tokens, positions) || positions < l.max_context) return bad("block tables shorter than the context");
    const fb::ModelT& m = *plan_.model;
    for (uint64_t n : {m.vocab, m.hidden, m.layers, m.heads, m.kv_heads, m.head_dim})
      if (n == 0 || n > kMaxLimit) return bad("a model dimension of " + number(n));
    if (m.layers > kMaxLayers) return bad("a model of " + number(m.layers) + " layers");
    if (l.mask_words * 32 < m.vocab) return bad("vocabulary masks shorter than the vocabulary");
    return {};
  }

  // What the host fills: every field is there, once, and holds what the limits allow.
  Status io_fields() {
    const fb::LimitsT& l = *plan_.limits;
    const std::map<std::string, uint64_t> least = {
        {"counts", sizeof(llm_abi::StepCounts)},
        {"query_start", (l.max_batch + 1) * sizeof(int32_t)},
        {"kv_len", l.max_batch * sizeof(int32_t)},
        {"seq_slot", l.max_batch * sizeof(int32_t)},
        {"seq_flags", l.max_batch * sizeof(int32_t)},
        {"logit_rows", l.max_logits * sizeof(int32_t)},
        {"sample_params", l.max_logits * sizeof(llm_abi::SampleParams)},
        {"tokens", l.max_step_tokens * sizeof(int32_t)},
        {"positions", l.max_step_tokens * sizeof(int32_t)},
        {"kv_index", l.max_step_tokens * sizeof(int32_t)},
        {"token_seq", l.max_step_tokens * sizeof(int32_t)},
        {"block_updates", l.max_block_updates * sizeof(llm_abi::BlockUpdate)},
        {"bias_pairs", l.max_bias_pairs * sizeof(llm_abi::BiasPair)},
        {"mask", saturating_mul(l.max_logits * l.mask_words, sizeof(int32_t))},
    };
    std::set<std::string> seen;
    for (const auto& field : plan_.io_fields) {
      if (!field || field->offset > l.io_bytes || field->bytes > l.io_bytes - field->offset || field->offset % 16)
        return bad("an io field lies outside of the io set");
      const auto it = least.find(field->name);
      if (it != least.end() && field->bytes < it->second)
        return bad("io field " + field->name + " has " + number(field->bytes) + " bytes, the limits need " + number(it->second));
      if (!seen.insert(field->name).second) return bad("io field " + field->name + " is listed twice");
    }
    for (const auto& [name, bytes] : least)
      if (!seen.count(name)) return bad("no io field " + name);
    return {};
  }

  // What outlives a step and the host reads or fills, once each and large enough.
  Status states(const fb::TargetT& t) {
    const fb::LimitsT& l = *plan_.limits;
    const uint64_t vocab = plan_.model->vocab, hidden = plan_.model->hidden, word = sizeof(int32_t);
    const std::map<std::string, uint64_t> least = {
        {"prev", l.max_logits * word},
        {"block_table", saturating_mul(saturating_mul(plan_.kv_groups.size(), l.max_batch), l.table_stride * word)},
        {"penalty_counts", saturating_mul(l.max_batch * vocab, word)},
        {"logits", saturating_mul(l.max_logits * vocab, word)},
        {"hidden", saturating_mul(l.max_logits * hidden, word)},
        {"ring", saturating_mul(l.ring_entries * l.max_logits, sizeof(llm_abi::SampleOut))},
    };
    std::set<std::string> seen;
    for (const auto& s : t.states) {
      if (!s || s->bytes > kMaxBufferBytes) return bad("a state buffer of impossible size");
      const auto it = least.find(s->name);
      if (it != least.end() && s->bytes < it->second)
        return bad("state buffer " + s->name + " has " + number(s->bytes) + " bytes, the limits need " + number(it->second));
      if (s->name == "ring" && !s->host) return bad("state buffer ring is not in host memory");
      if (!seen.insert(s->name).second) return bad("state buffer " + s->name + " is listed twice");
    }
    for (const auto& [name, bytes] : least)
      if (!seen.count(name)) return bad("no state buffer " + name);
    return {};
  }

  Status kv_groups() {
    std::vector<bool> seen(plan_.model->layers);
    for (const auto& group : plan_.kv_groups) {
      const bool int8 = group && group->dtype == static_cast<uint8_t>(ScalarType::kInt8);
      uint64_t element = 1, bytes = 0;
      if (!group || (!int8 && !dtype_bytes(group->dtype, element))) return bad("a KV group of unknown type");
      const uint64_t scale = int8 ? sizeof(float) : 0;  // of each entry
      if (group->block_tokens != plan_.limits->block_tokens) return bad("a KV group whose blocks differ from the limits");
      if (!mul(group->head_dim, element, bytes) || bytes > kMaxBlockBytes || !mul(bytes + scale, group->kv_heads, bytes) ||
          !mul(bytes, group->block_tokens, bytes) || !mul(bytes, 2, bytes) || bytes != group->block_bytes || bytes == 0 || bytes > kMaxBlockBytes)
        return bad("a KV group whose block size does not match its shape");
      for (uint32_t layer : group->layers) {
        if (layer >= seen.size() || seen[layer]) return bad("KV layer " + number(layer) + " is out of range or listed twice");
        seen[layer] = true;
      }
    }
    for (bool s : seen)
      if (!s) return bad("a layer without a KV group");
    return {};
  }

  Status weight(const fb::WeightT& w, size_t index, const fb::TargetT& target) {
    uint64_t element = 0, count = 0, bytes = 0;
    if (w.layout == fb::WeightLayout::quantized || w.layout == fb::WeightLayout::order) return init_weight(w);
    if (w.quantization) return bad("weight " + w.name + " is quantized, but not its layout");
    if (!dtype_bytes(w.dtype, element) || w.layout > fb::WeightLayout::MAX) return bad("weight " + w.name + " of unknown type or layout");
    if (w.rows == 0 || w.cols == 0 || w.rows > kMaxDim || w.cols > kMaxDim) return bad("weight " + w.name + " of impossible shape");
    uint64_t rows = w.rows, cols = w.cols;
    if (w.layout == fb::WeightLayout::interleaved16) {
      rows = (rows + 15) / 16 * 16;
      const uint64_t group = 4 / element;
      cols = (cols + group - 1) / group * group;
    }
    if (w.layout == fb::WeightLayout::row_scale) {
      cols = 1;
      if (w.source < 0 || static_cast<size_t>(w.source) >= index || target.weights[static_cast<size_t>(w.source)]->rows != w.rows ||
          target.weights[static_cast<size_t>(w.source)]->cols != w.cols || element != 4 || w.segment >= 0 || !w.parts.empty())
        return bad("weight " + w.name + " is computed from an impossible source");
    } else if (w.source != -1) {
      return bad("weight " + w.name + " names a source that its layout does not take");
    }
    if (!mul(rows, cols, count) || !mul(count, element, bytes) || bytes != w.bytes)
      return bad("weight " + w.name + ": " + number(w.bytes) + " bytes, its shape needs " + number(bytes));
    if (w.segment >= 0) {
      LLM_TRY(embedded(w));
    } else if (w.segment != -1 || (w.parts.empty() && w.layout != fb::WeightLayout::row_scale)) {
      return bad("weight " + w.name + " comes from nowhere");
    }
    if (w.init_kernel < -1 || (w.init_kernel >= 0 && static_cast<uint64_t>(w.init_kernel) >= target.kernels.size()))
      return bad("weight " + w.name + " names a missing kernel");
    if ((w.layout == fb::WeightLayout::rows) != (w.init_kernel < 0)) return bad("weight " + w.name + ": layout and init kernel disagree");
    for (const fb::WeightPart& p : w.parts) {
      if (p.tensor() >= plan_.tensors.size()) return bad("weight " + w.name + " names a missing tensor");
      const fb::SourceTensorT& t = *plan_.tensors[p.tensor()];
      if (t.dtype != w.dtype) return bad("weight " + w.name + " and tensor " + t.key + " differ in type");
      if (p.row_begin() >= p.row_end() || p.row_end() > t.rows || p.col_begin() >= p.col_end() || p.col_end() > t.cols ||
          p.col_end() - p.col_begin() != w.cols || p.dst_row() > w.rows || p.row_end() - p.row_begin() > w.rows - p.dst_row())
        return bad("weight " + w.name + " takes a range outside of tensor " + t.key);
    }
    return {};
  }

  Status embedded(const fb::WeightT& w) {
    if (static_cast<uint64_t>(w.segment) >= plan_.segments.size() || plan_.segments[w.segment].stored_bytes() != w.bytes ||
        plan_.segments[w.segment].compression() != fb::Compression::none)
      return bad("weight " + w.name + " names a segment of another size, or a compressed one");
    return {};
  }

  // Weights that the program init fills, which has no other way to know their shape.
  Status init_weight(const fb::WeightT& w) {
    uint64_t element = 0, bytes = 0;
    if (w.layout == fb::WeightLayout::order) {
      if (w.dtype != kInt32Dtype || w.quantization || w.cols != 1 || w.rows == 0 || w.rows > kMaxDim) return bad("order " + w.name + " of impossible shape");
      bytes = w.rows * sizeof(int32_t);
    } else {
      const auto& q = w.quantization;
      if (!q || !dtype_bytes(w.dtype, element) || q->code > static_cast<uint8_t>(CodeType::kFp4) || (q->interleave != 1 && q->interleave != 8 && q->interleave != 16))
        return bad("weight " + w.name + " of unknown type or layout");
      const auto layout = quantized_layout({static_cast<CodeType>(q->code), w.rows, w.cols, q->group, element, q->zeros, q->interleave});
      if (!layout) return bad("weight " + w.name + " of impossible shape");
      bytes = layout->bytes;
    }
    if (bytes != w.bytes) return bad("weight " + w.name + ": " + number(w.bytes) + " bytes, its shape needs " + number(bytes));
    if (!w.parts.empty() || w.init_kernel != -1 || w.source != -1 || w.segment < -1)
      return bad("weight " + w.name + " is filled by the program init, and in another way");
    return w.segment >= 0 ? embedded(w) : Status();
  }

  // A library checks nothing: what it reads and writes must lie inside.
  Status external_call(const fb::ExternalCallT& c, const std::vector<fb::Slot>& slots, const fb::TargetT& t) {
    if (t.kind != fb::TargetKind::cuda) return bad("an external call of a target without the library");
    if (c.kind > fb::ExternalKind::MAX) return bad("an external call of unknown kind");
    uint64_t element = 0;
    if (!dtype_bytes(c.dtype, element)) return bad("an external call of unknown type");
    constexpr uint32_t kMaxExtent = std::numeric_limits<int32_t>::max();  // what the library takes
    for (uint32_t extent : {c.rows, c.cols, c.k})
      if (extent == 0 || extent > kMaxExtent) return bad("an external call of impossible shape");
    if (slots.size() != 4) return bad("an external call with " + number(slots.size()) + " arguments");
    const uint64_t extents[] = {saturating_mul(uint64_t{c.rows} * c.k, element), saturating_mul(uint64_t{c.cols} * c.k, element),
                                saturating_mul(uint64_t{c.rows} * c.cols, sizeof(float)), c.workspace_bytes};
    for (size_t i = 0; i < slots.size(); ++i) {
      const fb::SlotKind kind = slots[i].kind();
      if (kind == fb::SlotKind::value || kind == fb::SlotKind::kv_base || kind == fb::SlotKind::tensor_map || (i >= 2 && kind == fb::SlotKind::weight))
        return bad("an external call with an impossible argument");
      LLM_TRY(slot(slots[i], t, extents[i]));
    }
    return {};
  }

  // The driver checks a map, too, but not that it lies in one object: nor does the copy engine.
  Status tensor_map(const fb::TensorMapT& m, const fb::TargetT& t) {
    constexpr uint64_t kAlignment = 16, kMaxMapDim = uint64_t{1} << 32, kMaxStride = uint64_t{1} << 40;
    constexpr uint32_t kMaxBox = 256;
    uint64_t element = 0, extent = 0;
    if (t.kind != fb::TargetKind::cuda) return bad("a tensor map of a target without the copy engine");
    if (!dtype_bytes(m.dtype, element)) return bad("a tensor map of unknown type");
    if (m.dims.empty() || m.dims.size() > 5 || m.strides.size() + 1 != m.dims.size() || m.box.size() != m.dims.size())
      return bad("a tensor map of impossible rank");
    for (uint64_t d : m.dims)
      if (d == 0 || d > kMaxMapDim) return bad("a tensor map with a dimension of " + number(d));
    for (uint64_t s : m.strides)
      if (s == 0 || s >= kMaxStride || s % kAlignment != 0) return bad("a tensor map with a stride of " + number(s) + " bytes");
    for (uint32_t b : m.box)
      if (b == 0 || b > kMaxBox) return bad("a tensor map with a box extent of " + number(b));
    if (m.swizzle != 0 && m.swizzle != 32 && m.swizzle != 64 && m.swizzle != 128) return bad("a tensor map with an unknown swizzle");
    const uint64_t inner = m.box[0] * element;
    if (inner % kAlignment != 0 || (m.swizzle != 0 && inner > m.swizzle)) return bad("a tensor map with box rows of " + number(inner) + " bytes");
    if (!m.base || m.base->kind() == fb::SlotKind::value || m.base->kind() == fb::SlotKind::kv_base || m.base->value() % kAlignment != 0)
      return bad("a tensor map with an impossible base");
    extent = m.dims[0] * element;  // below 2^35; each term below 2^72 saturates
    for (size_t i = 0; i < m.strides.size(); ++i)
      if (__builtin_add_overflow(extent, saturating_mul(m.dims[i + 1] - 1, m.strides[i]), &extent)) return bad("a tensor map of impossible size");
    return slot(*m.base, t, extent);
  }

  // A pointer with `extent` bytes behind it inside of its object.
  Status slot(const fb::Slot& s, const fb::TargetT& t, uint64_t extent = 0) {
    const auto in = [&](uint64_t size) { return s.value() <= size && extent <= size - s.value(); };
    switch (s.kind()) {
      case fb::SlotKind::value: return {};
      case fb::SlotKind::arena: return in(t.arena_bytes) ? Status() : bad("an argument outside of the arena");
      case fb::SlotKind::weight:
        return s.index() < t.weights.size() && in(t.weights[s.index()]->bytes) ? Status() : bad("an argument outside of its weight");
      case fb::SlotKind::constant:
        return s.index() < t.constants.size() && in(t.constants[s.index()]->bytes) ? Status() : bad("an argument outside of its constant");
      case fb::SlotKind::io:
        return s.index() < plan_.io_fields.size() && in(plan_.io_fields[s.index()]->bytes) ? Status()
                                                                                             : bad("an argument outside of its io field");
      case fb::SlotKind::state:
        return s.index() < t.states.size() && in(t.states[s.index()]->bytes) ? Status() : bad("an argument outside of its state buffer");
      case fb::SlotKind::kv_base: return s.index() < plan_.model->layers && s.value() == 0 ? Status() : bad("an argument of a missing layer");
      case fb::SlotKind::tensor_map:
      case fb::SlotKind::phases:
      case fb::SlotKind::source: return bad("an argument in an impossible place");  // launches look at their own
    }
    return bad("an argument of unknown kind");
  }

  Status target(const fb::TargetT& t) {
    if (t.kind > fb::TargetKind::MAX) return bad("unknown kind");
    for (const auto& m : t.modules) {
      if (!m) return bad("empty module entry");
      for (int32_t segment : {m->cubin, m->ptx, m->object})
        if (segment < -1 || (segment >= 0 && static_cast<uint64_t>(segment) >= plan_.segments.size())) return bad("a module without its segment");
      if (t.kind == fb::TargetKind::x86 ? m->object < 0 : m->cubin < 0 && m->ptx < 0) return bad("a module without code");
    }
    for (const auto& k : t.kernels) {
      if (!k || k->module_index >= t.modules.size() || k->name.empty()) return bad("a kernel of a missing module");
      if (k->threads > 1024 || k->shared_bytes > (1u << 20)) return bad("kernel " + k->name + " with impossible launch bounds");
    }
    for (const auto& c : t.constants)
      if (!c || c->segment >= plan_.segments.size() || plan_.segments[c->segment].raw_bytes() != c->bytes)
        return bad("a constant that does not match its segment");
    LLM_TRY(states(t));
    if (t.arena_bytes > kMaxBufferBytes) return bad("an arena of impossible size");
    for (const auto& w : t.weights)
      if (!w) return bad("empty weight entry");
    for (size_t i = 0; i < t.weights.size(); ++i) LLM_TRY(weight(*t.weights[i], i, t));
    if (t.programs.empty()) return bad("no programs");
    for (const auto& p : t.programs) {
      if (!p) return bad("empty program entry");
      LLM_TRY(program(*p, t));
    }
    return {};
  }

  Status program(const fb::ProgramT& p, const fb::TargetT& t) {
    if (p.kind > fb::ProgramKind::MAX) return bad("a program of unknown kind");
    if (p.kind == fb::ProgramKind::init)
      for (const auto& launch : p.launches)
        if (launch && (launch->external || !launch->maps.empty())) return bad("a program init with more than kernels");
    const fb::LimitsT& l = *plan_.limits;
    if (p.logits == 0 || p.logits > l.max_logits) return bad("a program with more logit rows than the limits allow");
    if (p.kind == fb::ProgramKind::forward && (p.tokens == 0 || p.seqs == 0 || p.tokens > l.max_step_tokens || p.seqs > l.max_batch))
      return bad("a program beyond the limits");
    for (size_t i = 0; i < p.launches.size(); ++i) {
      if (!p.launches[i]) return bad("a launch of a missing kernel");
      const fb::LaunchT& l = *p.launches[i];
      LLM_TRY(launch(l, t, p, false));
      for (uint32_t before : l.after)
        if (before >= i) return bad("a launch that waits for a later one");
      if (l.programmatic && (l.after.size() != 1 || l.external || p.launches[l.after[0]]->external))
        return bad("a programmatic launch without a kernel as its only predecessor");
    }
    if (!p.persistent) return {};
    if (p.persistent->external || !p.persistent->after.empty()) return bad("a persistent launch that is no kernel, or waits for others");
    if (t.kind != fb::TargetKind::cuda) return bad("a persistent kernel of another target than CUDA");
    for (const auto& l : p.launches)
      if (l->external || l->phase_body == llm_abi::kPhaseNone || l->phase_body > llm_abi::kPhaseLinearRope || l->slots.size() > llm_abi::kPhaseSlots)
        return bad("a launch that is no phase of its persistent kernel");
    return launch(*p.persistent, t, p, true);
  }

  // A launch of program `p`, or its persistent one, whose phases are the others.
  Status launch(const fb::LaunchT& l, const fb::TargetT& t, const fb::ProgramT& p, bool persistent) {
    if (!l.external && l.kernel >= t.kernels.size()) return bad("a launch of a missing kernel");
    for (uint64_t extent : {l.grid_x, l.grid_y, l.grid_z})
      if (extent == 0 || extent > kMaxGridExtent) return bad("a launch with an impossible grid");
    if (l.slots.size() > kMaxSlots) return bad("a launch with too many arguments");
    for (const auto& map : l.maps) {
      if (!map) return bad("an empty tensor map");
      LLM_TRY(tensor_map(*map, t));
    }
    for (const fb::Slot& s : l.slots) {
      if (s.kind() == fb::SlotKind::phases) {
        if (!persistent || s.index() != 0 || s.value() != 0) return bad("phases in an impossible place");
      } else if (s.kind() == fb::SlotKind::source) {
        if (p.kind != fb::ProgramKind::init) return bad("a source tensor in an impossible place");
        if (s.index() >= plan_.tensors.size() || s.value() != 0) return bad("an argument names a missing source tensor");
      } else if (s.kind() != fb::SlotKind::tensor_map) {
        LLM_TRY(slot(s, t));
      } else if (s.index() >= l.maps.size() || s.value() != 0) {
        return bad("an argument names a missing tensor map");
      }
    }
    if (l.external) LLM_TRY(external_call(*l.external, l.slots, t));
    if (!l.bytes || !l.flops) return bad("a launch without costs");
    return {};
  }

  const fb::PlanT& plan_;
  uint64_t area_;
};

}  // namespace

Status verify_plan(const fb::PlanT& plan, uint64_t segment_area_bytes) { return Verifier(plan, segment_area_bytes).run(); }

}  // namespace llm
