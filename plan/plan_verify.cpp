// Every range, index, enum value and size of an unpacked index. Sizes are computed with overflow checks.
#include <cinttypes>

#include "kernels_templates/abi.h"
#include "kernels_templates/variant.h"
#include "plan/plan_reader.h"

namespace llm {
namespace {

constexpr uint64_t kMaxDim = uint64_t{1} << 40;
constexpr uint64_t kMaxGridExtent = 0x7fffffff;
constexpr uint32_t kMaxSlots = 512;

bool mul(uint64_t a, uint64_t b, uint64_t& out) { return !__builtin_mul_overflow(a, b, &out); }

bool dtype_bytes(uint8_t dtype, uint64_t& bytes) {
  switch (static_cast<ScalarType>(dtype)) {
    case ScalarType::kF32: bytes = 4; return true;
    case ScalarType::kF16:
    case ScalarType::kBF16: bytes = 2; return true;
  }
  return false;
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
    for (const auto& field : plan_.io_fields)
      if (!field || field->offset > plan_.limits->io_bytes || field->bytes > plan_.limits->io_bytes - field->offset || field->offset % 16)
        return bad("an io field lies outside of the io set");
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
      if (!file || file->name.empty() || file->name.find('/') != std::string::npos || file->name[0] == '.')
        return bad("a weight file name that leaves the model folder");
      if (file->header_bytes > file->bytes) return bad("a weight file with a header larger than itself");
    }
    for (const auto& tensor : plan_.tensors) {
      uint64_t element, count, bytes;
      if (!tensor || tensor->file >= plan_.files.size()) return bad("a tensor of a missing file");
      if (!dtype_bytes(tensor->dtype, element)) return bad("tensor " + tensor->key + " of unknown type");
      const uint64_t file_bytes = plan_.files[tensor->file]->bytes;
      if (!mul(tensor->rows, tensor->cols, count) || !mul(count, element, bytes) || tensor->offset > file_bytes ||
          bytes > file_bytes - tensor->offset)
        return bad("tensor " + tensor->key + " lies outside of its file");
    }
    return {};
  }

  Status limits() {
    const fb::LimitsT& l = *plan_.limits;
    for (uint64_t n : {l.max_context, l.max_batch, l.max_step_tokens, l.max_logits, l.block_tokens, l.table_stride, l.ring_entries})
      if (n == 0 || n > (uint64_t{1} << 31)) return bad("a limit of " + number(n));
    if (l.io_bytes > (uint64_t{1} << 34)) return bad("an io set of " + number(l.io_bytes) + " bytes");
    uint64_t positions;
    if (!mul(l.table_stride, l.block_tokens, positions) || positions < l.max_context) return bad("block tables shorter than the context");
    const fb::ModelT& m = *plan_.model;
    for (uint64_t n : {m.vocab, m.hidden, m.layers, m.heads, m.kv_heads, m.head_dim})
      if (n == 0 || n > (uint64_t{1} << 31)) return bad("a model dimension of " + number(n));
    return {};
  }

  Status kv_groups() {
    std::vector<bool> seen(plan_.model->layers);
    for (const auto& group : plan_.kv_groups) {
      uint64_t element, bytes;
      if (!group || !dtype_bytes(group->dtype, element)) return bad("a KV group of unknown type");
      if (!mul(group->kv_heads, group->head_dim, bytes) || !mul(bytes, group->block_tokens, bytes) || !mul(bytes, 2 * element, bytes) ||
          bytes != group->block_bytes || bytes == 0)
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

  Status weight(const fb::WeightT& w, const fb::TargetT& target) {
    uint64_t element, count, bytes;
    if (!dtype_bytes(w.dtype, element) || w.layout > fb::WeightLayout::MAX) return bad("weight " + w.name + " of unknown type or layout");
    if (w.rows == 0 || w.cols == 0 || w.rows > kMaxDim || w.cols > kMaxDim) return bad("weight " + w.name + " of impossible shape");
    uint64_t rows = w.rows, cols = w.cols;
    if (w.layout == fb::WeightLayout::interleaved16) {
      rows = (rows + 15) / 16 * 16;
      const uint64_t group = 4 / element;
      cols = (cols + group - 1) / group * group;
    }
    if (!mul(rows, cols, count) || !mul(count, element, bytes) || bytes != w.bytes)
      return bad("weight " + w.name + ": " + number(w.bytes) + " bytes, its shape needs " + number(bytes));
    if (w.segment >= 0) {
      if (static_cast<uint64_t>(w.segment) >= plan_.segments.size() || plan_.segments[w.segment].stored_bytes() != w.bytes)
        return bad("weight " + w.name + " names a segment of another size");
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

  Status slot(const fb::Slot& s, const fb::TargetT& t) {
    const auto in = [&](uint64_t size) { return s.value() <= size; };
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
    }
    return bad("an argument of unknown kind");
  }

  Status target(const fb::TargetT& t) {
    if (t.kind > fb::TargetKind::MAX) return bad("unknown kind");
    for (const auto& m : t.modules)
      for (int32_t segment : {m->cubin, m->ptx, m->object})
        if (segment < -1 || (segment >= 0 && static_cast<uint64_t>(segment) >= plan_.segments.size())) return bad("a module without its segment");
    for (const auto& k : t.kernels) {
      if (!k || k->module_index >= t.modules.size() || k->name.empty()) return bad("a kernel of a missing module");
      if (k->threads > 1024 || k->shared_bytes > (1u << 20)) return bad("kernel " + k->name + " with impossible launch bounds");
    }
    for (const auto& c : t.constants)
      if (!c || c->segment >= plan_.segments.size() || plan_.segments[c->segment].raw_bytes() != c->bytes)
        return bad("a constant that does not match its segment");
    for (const auto& s : t.states)
      if (!s || s->bytes > (uint64_t{1} << 44)) return bad("a state buffer of impossible size");
    if (t.arena_bytes > (uint64_t{1} << 44)) return bad("an arena of impossible size");
    for (const auto& w : t.weights) {
      if (!w) return bad("empty weight entry");
      LLM_TRY(weight(*w, t));
    }
    if (t.programs.empty()) return bad("no programs");
    for (const auto& p : t.programs) LLM_TRY(program(*p, t));
    return {};
  }

  Status program(const fb::ProgramT& p, const fb::TargetT& t) {
    if (p.kind > fb::ProgramKind::MAX) return bad("a program of unknown kind");
    const fb::LimitsT& l = *plan_.limits;
    if (p.logits == 0 || p.logits > l.max_logits) return bad("a program with more logit rows than the limits allow");
    if (p.kind == fb::ProgramKind::forward && (p.tokens == 0 || p.seqs == 0 || p.tokens > l.max_step_tokens || p.seqs > l.max_batch))
      return bad("a program beyond the limits");
    for (size_t i = 0; i < p.launches.size(); ++i) {
      const auto& launch = p.launches[i];
      if (!launch || launch->kernel >= t.kernels.size()) return bad("a launch of a missing kernel");
      for (uint64_t extent : {launch->grid_x, launch->grid_y, launch->grid_z})
        if (extent == 0 || extent > kMaxGridExtent) return bad("a launch with an impossible grid");
      if (launch->slots.size() > kMaxSlots) return bad("a launch with too many arguments");
      for (const fb::Slot& s : launch->slots) LLM_TRY(slot(s, t));
      for (uint32_t before : launch->after)
        if (before >= i) return bad("a launch that waits for a later one");
      if (!launch->bytes || !launch->flops) return bad("a launch without costs");
    }
    return {};
  }

  const fb::PlanT& plan_;
  uint64_t area_;
};

}  // namespace

Status verify_plan(const fb::PlanT& plan, uint64_t segment_area_bytes) { return Verifier(plan, segment_area_bytes).run(); }

}  // namespace llm
