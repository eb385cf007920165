#include "runtime/memory_table.h"

#include <algorithm>

namespace llmrt {
namespace {

namespace fb = llm::fb;

constexpr double kUsableShare = 0.92;  // of the free memory: driver, fragmentation and the process itself need the rest

}  // namespace

bool used_in_place(const fb::WeightT& w, const llm::PlanFile& plan, const DeviceInfo& device) {
  if (!device.host_addressable) return false;
  if (w.segment >= 0) return !plan.authenticated();
  if (w.layout != fb::WeightLayout::rows || w.parts.size() != 1) return false;
  const fb::WeightPart& p = w.parts[0];
  const fb::SourceTensorT& tensor = *plan.index().tensors[p.tensor()];
  if (tensor.digest && plan.authenticated()) return false;
  return p.col_begin() == 0 && p.col_end() == tensor.cols;
}

MemoryTable memory_table(const llm::PlanFile& file, const fb::TargetT& target, const DeviceInfo& device,
                         uint64_t kv_limit) {
  const fb::PlanT& plan = file.index();
  MemoryTable m;
  for (const auto& w : target.weights) (used_in_place(*w, file, device) ? m.mapped_weights : m.weights) += w->bytes;
  m.activations = target.arena_bytes;
  for (const auto& s : target.states) m.state += s->bytes;
  for (const auto& c : target.constants) m.state += c->bytes;
  m.io = 2 * plan.limits->io_bytes;
  uint64_t block_bytes = 0;  // of one block of every group, all layers
  for (const auto& g : plan.kv_groups) block_bytes += g->layers.size() * g->block_bytes;
  m.kv_bytes_per_token = block_bytes / plan.limits->block_tokens;
  m.device_free = device.free_bytes;
  const uint64_t fixed = m.weights + m.activations + m.state + m.io;
  const auto usable = static_cast<uint64_t>(static_cast<double>(device.free_bytes) * kUsableShare);
  uint64_t room = usable > fixed ? usable - fixed : 0;
  if (kv_limit > 0) room = std::min(room, kv_limit);
  const uint64_t wanted = plan.limits->max_batch * plan.limits->table_stride;
  const uint64_t possible = block_bytes ? room / block_bytes : 0;
  m.fitting_tokens = possible * plan.limits->block_tokens;
  m.kv_blocks = std::min(wanted, possible);
  m.kv = m.kv_blocks * block_bytes;
  m.total = fixed + m.kv;
  m.fits = m.kv_blocks > 0;
  return m;
}

}  // namespace llmrt
