// The verifier: every field of a good index set to bad values is refused, with a message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "kernels_templates/abi.h"
#include "plan/plan_reader.h"
#include "test/plan/sample_plan.h"

namespace llm {
namespace {

using testing::HasSubstr;

constexpr uint64_t kHuge = ~uint64_t{0};

struct Corruption {
  const char* name;
  std::function<void(fb::PlanT&)> corrupt;
  const char* message;  // part of it
};

void PrintTo(const Corruption& c, std::ostream* out) { *out << c.name; }

// The first value that an enum does not have.
template <typename Enum>
Enum beyond() {
  return static_cast<Enum>(static_cast<int>(Enum::MAX) + 1);
}

fb::TargetT& target(fb::PlanT& p) { return *p.targets[0]; }
fb::ProgramT& forward(fb::PlanT& p) { return *target(p).programs[0]; }
fb::LaunchT& launch(fb::PlanT& p, size_t i) { return *forward(p).launches[i]; }

void set_segment(fb::PlanT& p, size_t i, uint64_t offset, uint64_t stored, uint64_t raw, int kind = 0,
                 int compression = 0) {
  p.segments[i] = fb::Segment(offset, stored, raw, fb::Hash128(0, 0), static_cast<fb::SegmentKind>(kind),
                              static_cast<fb::Compression>(compression));
}

void set_part(fb::PlanT& p, fb::WeightPart part) { target(p).weights[0]->parts[0] = part; }
void set_slot(fb::PlanT& p, uint64_t value, uint32_t index, int kind) {
  launch(p, 0).slots[0] = fb::Slot(value, index, static_cast<fb::SlotKind>(kind));
}
fb::IoFieldT& field(fb::PlanT& p, const std::string& name) {
  for (auto& f : p.io_fields)
    if (f->name == name) return *f;
  return *p.io_fields[0];
}
fb::StateBufferT& state(fb::PlanT& p, const std::string& name) {
  for (auto& s : target(p).states)
    if (s->name == name) return *s;
  return *target(p).states[0];
}

// Weight 0 becomes a quantized one, [12, 8], with a program init that fills it from tensor 0.
fb::WeightT& set_quantized(fb::PlanT& p) {
  fb::WeightT& w = *target(p).weights[0];
  w.layout = fb::WeightLayout::quantized, w.parts.clear();
  w.quantization = std::make_unique<fb::QuantizationT>();
  w.quantization->code = 1, w.quantization->group = 8, w.quantization->zeros = true, w.quantization->interleave = 16;
  w.bytes = 3 * 256;  // codes 16 x 16, scales 16 x 4 and zeros 16 x 1 bytes, each from a multiple of 256 on
  auto init = std::make_unique<fb::ProgramT>();
  init->kind = fb::ProgramKind::init, init->tokens = init->seqs = init->logits = 1;
  init->launches.push_back(std::make_unique<fb::LaunchT>(launch(p, 0)));
  init->launches[0]->slots = {fb::Slot(0, 0, fb::SlotKind::source), fb::Slot(512, 0, fb::SlotKind::weight)};
  target(p).programs.push_back(std::move(init));
  return w;
}
fb::LaunchT& init_launch(fb::PlanT& p) { return *target(p).programs.back()->launches[0]; }

// Launch 0 becomes an external call [4, 8] . [12, 8]^T with x, out, weight and workspace that it just fits into, of a CUDA target.
fb::ExternalCallT& set_external(fb::PlanT& p) {
  fb::TargetT& t = target(p);
  t.kind = fb::TargetKind::cuda;
  t.modules[0]->object = -1, t.modules[0]->cubin = kCodeSegment;
  fb::LaunchT& l = launch(p, 0);
  l.kernel = 0xffffffffu;
  l.slots = {fb::Slot(4096 - 128, 0, fb::SlotKind::arena), fb::Slot(0, 0, fb::SlotKind::weight), fb::Slot(4096 - 192, 0, fb::SlotKind::arena),
             fb::Slot(0, 5, fb::SlotKind::state)};
  l.external = std::make_unique<fb::ExternalCallT>();
  fb::ExternalCallT& c = *l.external;
  c.rows = 4, c.cols = 12, c.k = 8, c.workspace_bytes = state(p, "sample_scratch").bytes;
  return c;
}

// One kernel does the work of all launches of the program forward.
fb::LaunchT& set_persistent(fb::PlanT& p) {
  fb::TargetT& t = target(p);
  t.kind = fb::TargetKind::cuda;
  t.modules[0]->object = -1, t.modules[0]->cubin = kCodeSegment;
  for (auto& l : forward(p).launches) l->phase_body = llm_abi::kPhaseEmbed;
  auto l = std::make_unique<fb::LaunchT>();
  l->slots = {fb::Slot(0, 0, fb::SlotKind::phases)};
  l->bytes = std::make_unique<fb::Cost>(), l->flops = std::make_unique<fb::Cost>();
  forward(p).persistent = std::move(l);
  return *forward(p).persistent;
}

// Launch 0 takes a tensor map of the 4 rows x 32 bytes at the end of the arena, of a CUDA target.
fb::TensorMapT& set_map(fb::PlanT& p) {
  fb::TargetT& t = target(p);
  t.kind = fb::TargetKind::cuda;
  t.modules[0]->object = -1, t.modules[0]->cubin = kCodeSegment;
  fb::LaunchT& l = launch(p, 0);
  l.slots = {fb::Slot(0, 0, fb::SlotKind::tensor_map)};
  auto m = std::make_unique<fb::TensorMapT>();
  m->base = std::make_unique<fb::Slot>(4096 - 128, 0, fb::SlotKind::arena);
  m->dims = {8, 4}, m->strides = {32}, m->box = {8, 2}, m->swizzle = 32;
  l.maps.push_back(std::move(m));
  return *l.maps[0];
}

const Corruption kCorruptions[] = {
    // clang-format off
    // Segments
    {"segment_unaligned", [](auto& p) { set_segment(p, 0, 8, 13, 13); }, "a segment lies outside of the file"},
    {"segment_beyond", [](auto& p) { set_segment(p, 0, uint64_t{1} << 40, 13, 13); }, "a segment lies outside of the file"},
    {"segment_too_long", [](auto& p) { set_segment(p, 0, 0, uint64_t{1} << 40, uint64_t{1} << 40); }, "a segment lies outside of the file"},
    {"segment_wraps", [](auto& p) { set_segment(p, 0, 4096, kHuge - 4095, kHuge - 4095); }, "a segment lies outside of the file"},
    {"segment_kind", [](auto& p) { set_segment(p, 0, 0, 13, 13, int(beyond<fb::SegmentKind>())); }, "unknown kind or compression"},
    {"segment_compression", [](auto& p) { set_segment(p, 0, 0, 13, 13, 0, int(beyond<fb::Compression>())); }, "unknown kind or compression"},
    {"segment_two_sizes", [](auto& p) { set_segment(p, 0, 0, 13, 14); }, "a segment with two sizes"},
    // Source files and tensors
    {"file_leaves_folder", [](auto& p) { p.files[0]->name = "../model.safetensors"; }, "leaves the model folder"},
    {"file_absolute", [](auto& p) { p.files[0]->name = "/etc/passwd"; }, "leaves the model folder"},
    {"file_dot", [](auto& p) { p.files[0]->name = ".."; }, "leaves the model folder"},
    {"file_nameless", [](auto& p) { p.files[0]->name = ""; }, "leaves the model folder"},
    {"file_nul", [](auto& p) { p.files[0]->name = std::string("a\0b", 3); }, "leaves the model folder"},
    {"file_header", [](auto& p) { p.files[0]->header_bytes = 4097; }, "header larger than itself"},
    {"tensor_file", [](auto& p) { p.tensors[0]->file = 1; }, "a tensor of a missing file"},
    {"tensor_type", [](auto& p) { p.tensors[0]->dtype = 5; }, "tensor tensor0 of unknown type"},
    {"tensor_offset", [](auto& p) { p.tensors[0]->offset = 4096 - 383; }, "tensor tensor0 lies outside of its file"},
    {"tensor_offset_huge", [](auto& p) { p.tensors[0]->offset = kHuge; }, "tensor tensor0 lies outside of its file"},
    {"tensor_rows", [](auto& p) { p.tensors[0]->rows = 1000; }, "tensor tensor0 lies outside of its file"},
    {"tensor_overflow", [](auto& p) { p.tensors[0]->rows = uint64_t{1} << 33, p.tensors[0]->cols = uint64_t{1} << 33; }, "tensor tensor0 lies outside"},
    // Limits and model
    {"no_model", [](auto& p) { p.model.reset(); }, "model or limits missing"},
    {"no_limits", [](auto& p) { p.limits.reset(); }, "model or limits missing"},
    {"max_context_0", [](auto& p) { p.limits->max_context = 0; }, "a limit of 0"},
    {"max_batch_0", [](auto& p) { p.limits->max_batch = 0; }, "a limit of 0"},
    {"max_step_tokens_huge", [](auto& p) { p.limits->max_step_tokens = kHuge; }, "a limit of"},
    {"max_logits_huge", [](auto& p) { p.limits->max_logits = kHuge; }, "a limit of"},
    {"block_tokens_0", [](auto& p) { p.limits->block_tokens = 0; }, "a limit of 0"},
    {"ring_entries_0", [](auto& p) { p.limits->ring_entries = 0; }, "a limit of 0"},
    {"block_updates_huge", [](auto& p) { p.limits->max_block_updates = kHuge / 16 + 1; }, "a limit of"},
    {"bias_pairs_huge", [](auto& p) { p.limits->max_bias_pairs = kHuge / 8 + 1; }, "a limit of"},
    {"mask_words_huge", [](auto& p) { p.limits->mask_words = kHuge / 4 + 1; }, "a limit of"},
    {"mask_words_short", [](auto& p) { p.limits->mask_words = 1; }, "masks shorter than the vocabulary"},
    {"io_bytes_huge", [](auto& p) { p.limits->io_bytes = kHuge; }, "an io set of"},
    {"table_stride_short", [](auto& p) { p.limits->table_stride = 3; }, "block tables shorter than the context"},
    {"vocab_0", [](auto& p) { p.model->vocab = 0; }, "a model dimension of 0"},
    {"hidden_0", [](auto& p) { p.model->hidden = 0; }, "a model dimension of 0"},
    {"heads_huge", [](auto& p) { p.model->heads = kHuge; }, "a model dimension of"},
    {"layers_huge", [](auto& p) { p.model->layers = uint64_t{1} << 31; }, "a model of 2147483648 layers"},
    {"layers_more", [](auto& p) { p.model->layers = 3; }, "a layer without a KV group"},
    // KV groups
    {"kv_type", [](auto& p) { p.kv_groups[0]->dtype = 7; }, "a KV group of unknown type"},
    {"kv_block_bytes", [](auto& p) { p.kv_groups[0]->block_bytes += 4; }, "block size does not match"},
    {"kv_block_bytes_0", [](auto& p) { p.kv_groups[0]->block_bytes = p.kv_groups[0]->kv_heads = 0; }, "block size does not match"},
    {"kv_overflow", [](auto& p) { p.kv_groups[0]->kv_heads = p.kv_groups[0]->head_dim = uint64_t{1} << 33; }, "block size does not match"},
    {"kv_huge", [](auto& p) { p.kv_groups[0]->kv_heads = uint64_t{1} << 40, p.kv_groups[0]->block_bytes = uint64_t{1} << 49; }, "block size does not match"},
    {"kv_block_tokens", [](auto& p) { p.kv_groups[0]->block_tokens = 8, p.kv_groups[0]->block_bytes /= 2; }, "blocks differ from the limits"},
    {"kv_layer_out_of_range", [](auto& p) { p.kv_groups[0]->layers[1] = 2; }, "KV layer 2 is out of range or listed twice"},
    {"kv_layer_twice", [](auto& p) { p.kv_groups[0]->layers[1] = 0; }, "KV layer 0 is out of range or listed twice"},
    {"kv_no_groups", [](auto& p) { p.kv_groups.clear(); }, "a layer without a KV group"},
    // Io fields
    {"io_beyond", [](auto& p) { field(p, "mask").offset = p.limits->io_bytes; }, "an io field lies outside of the io set"},
    {"io_offset_huge", [](auto& p) { field(p, "mask").offset = kHuge - 15; }, "an io field lies outside of the io set"},
    {"io_bytes_wrap", [](auto& p) { field(p, "mask").bytes = kHuge; }, "an io field lies outside of the io set"},
    {"io_unaligned", [](auto& p) { field(p, "tokens").offset += 4; }, "an io field lies outside of the io set"},
    {"io_small", [](auto& p) { field(p, "tokens").bytes = 60; }, "io field tokens has 60 bytes, the limits need 64"},
    {"io_counts_small", [](auto& p) { field(p, "counts").bytes = 63; }, "io field counts has 63 bytes, the limits need 64"},
    {"io_limit_grown", [](auto& p) { p.limits->max_batch = 3; }, "io field query_start has"},
    {"io_missing", [](auto& p) { p.io_fields.pop_back(); }, "no io field mask"},
    {"io_renamed", [](auto& p) { field(p, "seq_slot").name = "seq_slots"; }, "no io field seq_slot"},
    {"io_twice", [](auto& p) { field(p, "kv_index").name = "positions"; }, "io field positions is listed twice"},
    // Text
    {"text_segment", [](auto& p) { p.text[0]->segment = kSampleSegments; }, "a text asset names a missing segment"},
    // Target
    {"no_targets", [](auto& p) { p.targets.clear(); }, "no targets"},
    {"target_kind", [](auto& p) { target(p).kind = beyond<fb::TargetKind>(); }, "target x86-64-v3: unknown kind"},
    {"module_segment", [](auto& p) { target(p).modules[0]->object = kSampleSegments; }, "a module without its segment"},
    {"module_negative", [](auto& p) { target(p).modules[0]->ptx = -2; }, "a module without its segment"},
    {"module_empty", [](auto& p) { target(p).modules[0]->object = -1; }, "a module without code"},
    {"module_wrong_kind", [](auto& p) { target(p).kind = fb::TargetKind::cuda; }, "a module without code"},
    {"kernel_module", [](auto& p) { target(p).kernels[0]->module_index = 1; }, "a kernel of a missing module"},
    {"kernel_nameless", [](auto& p) { target(p).kernels[0]->name = ""; }, "a kernel of a missing module"},
    {"kernel_threads", [](auto& p) { target(p).kernels[0]->threads = 1025; }, "impossible launch bounds"},
    {"kernel_shared", [](auto& p) { target(p).kernels[0]->shared_bytes = (1u << 20) + 1; }, "impossible launch bounds"},
    {"constant_segment", [](auto& p) { target(p).constants[0]->segment = kSampleSegments; }, "a constant that does not match its segment"},
    {"constant_bytes", [](auto& p) { target(p).constants[0]->bytes = 32; }, "a constant that does not match its segment"},
    {"arena_huge", [](auto& p) { target(p).arena_bytes = kHuge; }, "an arena of impossible size"},
    {"state_huge", [](auto& p) { state(p, "sample_scratch").bytes = kHuge; }, "a state buffer of impossible size"},
    {"state_small", [](auto& p) { state(p, "logits").bytes = 639; }, "state buffer logits has 639 bytes, the limits need 640"},
    {"state_ring_small", [](auto& p) { state(p, "ring").bytes -= 1; }, "state buffer ring has"},
    {"state_ring_on_device", [](auto& p) { state(p, "ring").host = false; }, "state buffer ring is not in host memory"},
    {"state_missing", [](auto& p) { state(p, "prev").name = "previous"; }, "no state buffer prev"},
    {"state_twice", [](auto& p) { state(p, "sample_scratch").name = "logits"; }, "state buffer logits is listed twice"},
    {"state_vocab_grown", [](auto& p) { p.model->vocab = 64; }, "state buffer penalty_counts has"},
    // Weights
    {"weight_type", [](auto& p) { target(p).weights[0]->dtype = 3; }, "weight rows of unknown type or layout"},
    {"weight_layout", [](auto& p) { target(p).weights[0]->layout = beyond<fb::WeightLayout>(); }, "weight rows of unknown type or layout"},
    {"weight_empty", [](auto& p) { target(p).weights[0]->rows = 0; }, "weight rows of impossible shape"},
    {"weight_huge", [](auto& p) { target(p).weights[0]->cols = kHuge; }, "weight rows of impossible shape"},
    {"weight_overflow", [](auto& p) { target(p).weights[0]->rows = target(p).weights[0]->cols = uint64_t{1} << 40; }, "its shape needs"},
    {"weight_bytes", [](auto& p) { target(p).weights[0]->bytes = 12 * 8 * 4 - 1; }, "weight rows: 383 bytes, its shape needs 384"},
    {"weight_unpadded", [](auto& p) { target(p).weights[1]->bytes = 12 * 8 * 4; }, "weight packed: 384 bytes, its shape needs 512"},
    {"weight_segment", [](auto& p) { target(p).weights[1]->segment = kSampleSegments; }, "names a segment of another size"},
    {"weight_segment_size", [](auto& p) { target(p).weights[1]->segment = kCodeSegment; }, "names a segment of another size"},
    {"weight_segment_negative", [](auto& p) { target(p).weights[0]->segment = -2; }, "weight rows comes from nowhere"},
    {"weight_compressed", [](auto& p) { const auto s = p.segments[kWeightSegment]; p.segments[kWeightSegment] = fb::Segment(s.offset(), s.stored_bytes(), s.raw_bytes(), s.hash(), s.kind(), fb::Compression::zstd); }, "or a compressed one"},
    {"weight_no_parts", [](auto& p) { target(p).weights[0]->parts.clear(); }, "weight rows comes from nowhere"},
    {"weight_init_kernel", [](auto& p) { target(p).weights[1]->init_kernel = 2; }, "weight packed names a missing kernel"},
    {"weight_init_negative", [](auto& p) { target(p).weights[1]->init_kernel = -2; }, "weight packed names a missing kernel"},
    {"weight_init_missing", [](auto& p) { target(p).weights[1]->init_kernel = -1; }, "layout and init kernel disagree"},
    {"quantized_code", [](auto& p) { set_quantized(p).quantization->code = 6; }, "weight rows of unknown type or layout"},
    {"quantized_type", [](auto& p) { set_quantized(p).dtype = 3; }, "weight rows of unknown type or layout"},
    {"quantized_interleave", [](auto& p) { set_quantized(p).quantization->interleave = 4; }, "weight rows of unknown type or layout"},
    {"quantized_how", [](auto& p) { set_quantized(p).quantization.reset(); }, "weight rows of unknown type or layout"},
    {"quantized_group", [](auto& p) { set_quantized(p).quantization->group = 0; }, "weight rows of impossible shape"},
    {"quantized_huge", [](auto& p) { auto& w = set_quantized(p); w.rows = w.cols = uint64_t{1} << 40; }, "weight rows of impossible shape"},
    {"quantized_bytes", [](auto& p) { set_quantized(p).bytes = 512; }, "weight rows: 512 bytes, its shape needs 768"},
    {"quantized_parts", [](auto& p) { set_quantized(p).parts = {fb::WeightPart(0, 8, 0, 8, 0, 0)}; }, "filled by the program init, and in another way"},
    {"quantized_kernel", [](auto& p) { set_quantized(p).init_kernel = 0; }, "filled by the program init, and in another way"},
    {"quantized_plain", [](auto& p) { set_quantized(p).layout = fb::WeightLayout::rows; }, "weight rows is quantized, but not its layout"},
    {"order_type", [](auto& p) { auto& w = set_quantized(p); w.layout = fb::WeightLayout::order, w.quantization.reset(); }, "order rows of impossible shape"},
    {"order_bytes", [](auto& p) { auto& w = set_quantized(p); w.layout = fb::WeightLayout::order, w.quantization.reset(), w.dtype = 3, w.cols = 1; }, "weight rows: 768 bytes, its shape needs 48"},
    {"init_tensor", [](auto& p) { set_quantized(p), init_launch(p).slots[0] = fb::Slot(0, 9, fb::SlotKind::source); }, "a missing source tensor"},
    {"init_tensor_offset", [](auto& p) { set_quantized(p), init_launch(p).slots[0] = fb::Slot(1, 0, fb::SlotKind::source); }, "a missing source tensor"},
    {"init_weight", [](auto& p) { set_quantized(p), init_launch(p).slots[1] = fb::Slot(769, 0, fb::SlotKind::weight); }, "an argument outside of its weight"},
    {"init_external", [](auto& p) { set_quantized(p), init_launch(p).external = std::make_unique<fb::ExternalCallT>(); }, "a program init with more than kernels"},
    {"source_elsewhere", [](auto& p) { set_slot(p, 0, 0, int(fb::SlotKind::source)); }, "a source tensor in an impossible place"},
    {"weight_init_superfluous", [](auto& p) { target(p).weights[0]->init_kernel = 0; }, "layout and init kernel disagree"},
    {"part_tensor", [](auto& p) { set_part(p, {0, 8, 0, 8, 0, 2}); }, "weight rows names a missing tensor"},
    {"part_type", [](auto& p) { p.tensors[0]->dtype = 1; }, "differ in type"},
    {"part_rows", [](auto& p) { set_part(p, {5, 13, 0, 8, 0, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_rows_reversed", [](auto& p) { set_part(p, {8, 8, 0, 8, 0, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_cols", [](auto& p) { set_part(p, {0, 8, 1, 9, 0, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_narrow", [](auto& p) { set_part(p, {0, 8, 0, 4, 0, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_cols_wrap", [](auto& p) { set_part(p, {0, 8, kHuge, 7, 0, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_dst", [](auto& p) { set_part(p, {0, 8, 0, 8, 5, 0}); }, "takes a range outside of tensor tensor0"},
    {"part_dst_huge", [](auto& p) { set_part(p, {0, 8, 0, 8, kHuge - 3, 0}); }, "takes a range outside of tensor tensor0"},
    // Programs and launches
    {"no_programs", [](auto& p) { target(p).programs.clear(); }, "no programs"},
    {"program_kind", [](auto& p) { forward(p).kind = beyond<fb::ProgramKind>(); }, "a program of unknown kind"},
    {"program_logits_0", [](auto& p) { forward(p).logits = 0; }, "more logit rows than the limits"},
    {"program_logits", [](auto& p) { forward(p).logits = 5; }, "more logit rows than the limits"},
    {"program_tokens_0", [](auto& p) { forward(p).tokens = 0; }, "a program beyond the limits"},
    {"program_tokens", [](auto& p) { forward(p).tokens = 17; }, "a program beyond the limits"},
    {"program_seqs", [](auto& p) { forward(p).seqs = 3; }, "a program beyond the limits"},
    {"launch_kernel", [](auto& p) { launch(p, 0).kernel = 2; }, "a launch of a missing kernel"},
    {"launch_grid_0", [](auto& p) { launch(p, 0).grid_y = 0; }, "a launch with an impossible grid"},
    {"launch_grid_huge", [](auto& p) { launch(p, 0).grid_x = 0x80000000u; }, "a launch with an impossible grid"},
    {"launch_slots", [](auto& p) { launch(p, 0).slots.resize(513); }, "a launch with too many arguments"},
    {"launch_after_itself", [](auto& p) { launch(p, 1).after = {1}; }, "a launch that waits for a later one"},
    {"launch_after_huge", [](auto& p) { launch(p, 1).after = {0xffffffffu}; }, "a launch that waits for a later one"},
    {"launch_no_bytes", [](auto& p) { launch(p, 0).bytes.reset(); }, "a launch without costs"},
    {"launch_no_flops", [](auto& p) { launch(p, 0).flops.reset(); }, "a launch without costs"},
    {"external_on_x86", [](auto& p) { set_external(p), target(p).kind = fb::TargetKind::x86, target(p).modules[0]->object = kCodeSegment; }, "an external call of a target without the library"},
    {"external_kind", [](auto& p) { set_external(p).kind = beyond<fb::ExternalKind>(); }, "an external call of unknown kind"},
    {"external_type", [](auto& p) { set_external(p).dtype = 3; }, "an external call of unknown type"},
    {"external_rows", [](auto& p) { set_external(p).rows = 0; }, "an external call of impossible shape"},
    {"external_cols", [](auto& p) { set_external(p).cols = 0x80000000u; }, "an external call of impossible shape"},
    {"external_k", [](auto& p) { set_external(p).k = 0xffffffffu; }, "an external call of impossible shape"},
    {"external_slots", [](auto& p) { set_external(p), launch(p, 0).slots.pop_back(); }, "an external call with 3 arguments"},
    {"external_value", [](auto& p) { set_external(p), set_slot(p, 0, 0, 0); }, "an external call with an impossible argument"},
    {"external_writes_weight", [](auto& p) { set_external(p), launch(p, 0).slots[2] = fb::Slot(0, 0, fb::SlotKind::weight); }, "an external call with an impossible argument"},
    {"external_x", [](auto& p) { set_external(p), set_slot(p, 4096 - 127, 0, 1); }, "an argument outside of the arena"},
    {"external_w", [](auto& p) { set_external(p).cols = 13; }, "an argument outside of its weight"},
    {"external_out", [](auto& p) { set_external(p), launch(p, 0).slots[2] = fb::Slot(4096 - 191, 0, fb::SlotKind::arena); }, "an argument outside of the arena"},
    {"external_huge", [](auto& p) { auto& c = set_external(p); c.rows = c.cols = c.k = 0x7fffffff; }, "an argument outside of the arena"},
    {"persistent_on_x86", [](auto& p) { set_persistent(p), target(p).kind = fb::TargetKind::x86, target(p).modules[0]->object = kCodeSegment; }, "a persistent kernel of another target than CUDA"},
    {"persistent_kernel", [](auto& p) { set_persistent(p).kernel = 2; }, "a launch of a missing kernel"},
    {"persistent_after", [](auto& p) { set_persistent(p).after = {0}; }, "a persistent launch that is no kernel, or waits for others"},
    {"persistent_no_costs", [](auto& p) { set_persistent(p).bytes.reset(); }, "a launch without costs"},
    {"persistent_phases_offset", [](auto& p) { set_persistent(p).slots = {fb::Slot(8, 0, fb::SlotKind::phases)}; }, "phases in an impossible place"},
    {"phases_of_a_launch", [](auto& p) { set_persistent(p), launch(p, 0).slots = {fb::Slot(0, 0, fb::SlotKind::phases)}; }, "phases in an impossible place"},
    {"phase_none", [](auto& p) { set_persistent(p), launch(p, 1).phase_body = llm_abi::kPhaseNone; }, "a launch that is no phase of its persistent kernel"},
    {"phase_unknown", [](auto& p) { set_persistent(p), launch(p, 1).phase_body = llm_abi::kPhaseLinearRope + 1; }, "a launch that is no phase of its persistent kernel"},
    {"phase_arguments", [](auto& p) { set_persistent(p), launch(p, 1).slots.resize(llm_abi::kPhaseSlots + 1); }, "a launch that is no phase of its persistent kernel"},
    {"map_on_x86", [](auto& p) { set_map(p), target(p).kind = fb::TargetKind::x86, target(p).modules[0]->object = kCodeSegment; }, "a tensor map of a target without the copy engine"},
    {"map_missing", [](auto& p) { set_map(p), launch(p, 0).slots = {fb::Slot(0, 1, fb::SlotKind::tensor_map)}; }, "an argument names a missing tensor map"},
    {"map_offset", [](auto& p) { set_map(p), launch(p, 0).slots = {fb::Slot(64, 0, fb::SlotKind::tensor_map)}; }, "an argument names a missing tensor map"},
    {"map_type", [](auto& p) { set_map(p).dtype = 3; }, "a tensor map of unknown type"},
    {"map_rank", [](auto& p) { set_map(p).strides = {32, 32}; }, "a tensor map of impossible rank"},
    {"map_no_dims", [](auto& p) { auto& m = set_map(p); m.dims.clear(), m.strides.clear(), m.box.clear(); }, "a tensor map of impossible rank"},
    {"map_dim", [](auto& p) { set_map(p).dims = {8, (uint64_t{1} << 32) + 1}; }, "a tensor map with a dimension of 4294967297"},
    {"map_stride", [](auto& p) { set_map(p).strides = {40}; }, "a tensor map with a stride of 40 bytes"},
    {"map_box", [](auto& p) { set_map(p).box = {8, 257}; }, "a tensor map with a box extent of 257"},
    {"map_box_empty", [](auto& p) { set_map(p).box = {8, 0}; }, "a tensor map with a box extent of 0"},
    {"map_swizzle", [](auto& p) { set_map(p).swizzle = 48; }, "a tensor map with an unknown swizzle"},
    {"map_box_rows", [](auto& p) { set_map(p).box = {6, 2}; }, "a tensor map with box rows of 24 bytes"},
    {"map_beyond_swizzle", [](auto& p) { set_map(p).box = {16, 2}; }, "a tensor map with box rows of 64 bytes"},
    {"map_base_unaligned", [](auto& p) { set_map(p).base = std::make_unique<fb::Slot>(4096 - 136, 0, fb::SlotKind::arena); }, "a tensor map with an impossible base"},
    {"map_base_value", [](auto& p) { set_map(p).base = std::make_unique<fb::Slot>(0, 0, fb::SlotKind::value); }, "a tensor map with an impossible base"},
    {"map_base_missing", [](auto& p) { set_map(p).base.reset(); }, "a tensor map with an impossible base"},
    {"map_of_map", [](auto& p) { set_map(p).base = std::make_unique<fb::Slot>(0, 0, fb::SlotKind::tensor_map); }, "an argument in an impossible place"},
    {"map_beyond", [](auto& p) { set_map(p).dims = {8, 5}; }, "an argument outside of the arena"},
    {"map_beyond_inner", [](auto& p) { set_map(p).dims = {9, 4}; }, "an argument outside of the arena"},
    {"map_huge", [](auto& p) { auto& m = set_map(p); m.dims = {8, uint64_t{1} << 32, uint64_t{1} << 32}, m.strides = {(uint64_t{1} << 40) - 16, (uint64_t{1} << 40) - 16}, m.box = {8, 1, 1}; }, "a tensor map of impossible size"},
    {"external_map", [](auto& p) { set_external(p), launch(p, 0).slots[0] = fb::Slot(0, 0, fb::SlotKind::tensor_map); }, "an argument names a missing tensor map"},
    {"external_workspace", [](auto& p) { set_external(p).workspace_bytes += 1; }, "an argument outside of its state buffer"},
    {"slot_kind", [](auto& p) { set_slot(p, 0, 0, int(beyond<fb::SlotKind>())); }, "an argument of unknown kind"},
    {"slot_arena", [](auto& p) { set_slot(p, 4097, 0, 1); }, "an argument outside of the arena"},
    {"slot_weight", [](auto& p) { set_slot(p, 0, 2, 2); }, "an argument outside of its weight"},
    {"slot_weight_offset", [](auto& p) { set_slot(p, 385, 0, 2); }, "an argument outside of its weight"},
    {"slot_constant", [](auto& p) { set_slot(p, 0, 1, 3); }, "an argument outside of its constant"},
    {"slot_constant_offset", [](auto& p) { set_slot(p, 17, 0, 3); }, "an argument outside of its constant"},
    {"slot_io", [](auto& p) { set_slot(p, 0, 14, 4); }, "an argument outside of its io field"},
    {"slot_io_offset", [](auto& p) { set_slot(p, kHuge, 0, 4); }, "an argument outside of its io field"},
    {"slot_state", [](auto& p) { set_slot(p, 0, 7, 5); }, "an argument outside of its state buffer"},
    {"slot_state_offset", [](auto& p) { set_slot(p, 17, 0, 5); }, "an argument outside of its state buffer"},
    {"slot_kv_layer", [](auto& p) { set_slot(p, 0, 2, 6); }, "an argument of a missing layer"},
    {"slot_kv_offset", [](auto& p) { set_slot(p, 8, 0, 6); }, "an argument of a missing layer"},
    // clang-format on
};

class PlanVerify : public testing::TestWithParam<Corruption> {};

TEST_P(PlanVerify, Refuses) {
  fb::PlanT plan = sample_plan();
  GetParam().corrupt(plan);
  EXPECT_THAT(refusal(file_bytes(plan)), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(Fields, PlanVerify, testing::ValuesIn(kCorruptions),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PlanVerifyObject, NullEntriesAreRefused) {
  const std::function<void(fb::PlanT&)> holes[] = {
      [](auto& p) { p.files[0].reset(); },
      [](auto& p) { p.tensors[0].reset(); },
      [](auto& p) { p.kv_groups[0].reset(); },
      [](auto& p) { p.io_fields[0].reset(); },
      [](auto& p) { p.text[0].reset(); },
      [](auto& p) { p.targets[0].reset(); },
      [](auto& p) { target(p).modules[0].reset(); },
      [](auto& p) { target(p).kernels[0].reset(); },
      [](auto& p) { target(p).constants[0].reset(); },
      [](auto& p) { target(p).states[0].reset(); },
      [](auto& p) { target(p).weights[0].reset(); },
      [](auto& p) { target(p).programs[0].reset(); },
      [](auto& p) { forward(p).launches[0].reset(); },
  };
  for (const auto& hole : holes) {
    fb::PlanT plan = sample_plan();
    hole(plan);
    EXPECT_FALSE(verify_plan(plan, segment_area().size()));
  }
}

TEST(PlanVerifyObject, ExternalCallThatJustFits) {
  fb::PlanT plan = sample_plan();
  set_external(plan);
  const Status status = verify_plan(plan, segment_area().size());
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
}

TEST(PlanVerifyObject, PersistentLaunchThatJustFits) {
  fb::PlanT plan = sample_plan();
  set_persistent(plan);
  const Status status = verify_plan(plan, segment_area().size());
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
}

TEST(PlanVerifyObject, TensorMapThatJustFits) {
  fb::PlanT plan = sample_plan();
  set_map(plan);
  const Status status = verify_plan(plan, segment_area().size());
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
}

TEST(PlanVerifyObject, SmallerSegmentAreaIsRefused) {
  EXPECT_TRUE(verify_plan(sample_plan(), segment_area().size()));
  EXPECT_FALSE(verify_plan(sample_plan(), 0));
  EXPECT_FALSE(verify_plan(sample_plan(), segment_area().size() - kSegmentAlignment));
}

}  // namespace
}  // namespace llm
