// Engine: how weights and code come to the device.
#include <algorithm>
#include <future>

#include "plan/plan_tensors.h"
#include "runtime/engine.h"

namespace llmrt {

namespace fb = llm::fb;

// Reading weights is bound by memory and the link, loading code by the driver: on CUDA they run side by side. Of a plan
// whose signature is checked, embedded weights come first: bytes that were not signed end it before any code is loaded.
llm::Status Engine::load_all(const std::string& model_dir) {
  const Stopwatch all;
  weights_.resize(target().weights.size());
  if (plan_->authenticated()) LLM_TRY(check_embedded_weights());
  std::future<llm::Status> code;
  if (device_info().host_addressable)
    LLM_TRY(load_code());
  else
    code = std::async(std::launch::async, [this] { return load_code(); });
  bool external = false;
  for (const auto& w : target().weights) external |= w->segment < 0 && w->source < 0;
  if (external && !contents_) {
    LLM_ASSIGN(files_, WeightFiles::open(plan_, model_dir));
    if (plan_->authenticated() && !files_.all_have_digests())
      chosen_.note += std::string(chosen_.note.empty() ? "" : "; ") +
                      "the signature does not cover the weights in the model folder: it does if the plan is compiled "
                      "with --hash-weights";
  }
  const Stopwatch memory;
  LLM_TRY(allocate_weights());
  times_.memory_s = memory.seconds();
  const Stopwatch weights;
  LLM_TRY(contents_ ? fill_weights() : copy_weights());
  times_.weights_s += weights.seconds();
  const Stopwatch wait;
  if (code.valid()) LLM_TRY(code.get());
  times_.code_wait_s = wait.seconds();
  const Stopwatch init;
  LLM_TRY(make_weights());
  LLM_TRY(chosen_.device->synchronize());
  times_.init_s = init.seconds();
  const Stopwatch rest;
  LLM_TRY(allocate());
  if (contents_) LLM_TRY(fill_cache());
  times_.memory_s += rest.seconds();
  LLM_TRY(encode_tensor_maps());
  LLM_TRY(encode_phases());
  LLM_TRY(chosen_.device->synchronize());
  times_.total_s = times_.device_s + all.seconds();
  return {};
}

llm::Status Engine::load_code() {
  const Stopwatch loading;
  LLM_TRY(chosen_.device->load_code(*plan_, target(), chosen_.form));
  times_.code_s = loading.seconds();
  return {};
}

// What is used in place gets its address here; the rest, memory that copy_weights and make_weights fill.
llm::Status Engine::allocate_weights() {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const fb::WeightT& w = *target().weights[i];
    if (weights_[i]) continue;  // embedded, checked and already there
    if (w.source < 0 && !contents_ && used_in_place(w, *plan_, device_info())) {
      if (w.segment >= 0) {
        weights_[i] = reinterpret_cast<DeviceAddress>(plan_->stored(static_cast<uint32_t>(w.segment)).data());
      } else {
        const fb::WeightPart& p = w.parts[0];
        LLM_ASSIGN(const auto rows, files_.rows(p.tensor(), p.row_begin(), p.row_end()));
        weights_[i] = reinterpret_cast<DeviceAddress>(rows.data());
      }
      continue;
    }
    LLM_ASSIGN(weights_[i], chosen_.device->allocate(w.bytes, "weight " + w.name));
  }
  return {};
}

// Embedded weights of a plan whose signature is checked: copied piece by piece as they are checked.
llm::Status Engine::check_embedded_weights() {
  const Stopwatch weights;
  Device& d = *chosen_.device;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const fb::WeightT& w = *target().weights[i];
    if (w.segment < 0) continue;
    LLM_ASSIGN(weights_[i], d.allocate(w.bytes, "weight " + w.name));
    LLM_TRY(plan_->stream(static_cast<uint32_t>(w.segment), [&](uint64_t offset, std::span<const std::byte> piece) {
      return d.copy_in(weights_[i] + offset, piece);
    }));
    times_.weight_bytes += w.bytes;
  }
  times_.weights_s += weights.seconds();
  return {};
}

// All weights whose bytes lie in files, in one go, so that many reads are in flight.
llm::Status Engine::copy_weights() {
  std::vector<HostCopy> copies;
  for (size_t i = 0; i < weights_.size(); ++i) {
    const fb::WeightT& w = *target().weights[i];
    if (w.source >= 0 || used_in_place(w, *plan_, device_info()) || (w.segment >= 0 && plan_->authenticated()))
      continue;
    times_.weight_bytes += w.bytes;
    if (w.segment >= 0) {
      copies.push_back({weights_[i], plan_->stored(static_cast<uint32_t>(w.segment)), &plan_->file()});
      continue;
    }
    LLM_TRY(copy_parts(i, copies));
    if (files_.holds_copies()) {  // checked bytes in host memory: not those of all weights at once
      LLM_TRY(chosen_.device->copy_in(copies));
      copies.clear();
      files_.release_copies();
    }
  }
  return chosen_.device->copy_in(copies);
}

llm::Status Engine::copy_parts(size_t weight, std::vector<HostCopy>& copies) {
  const fb::WeightT& w = *target().weights[weight];
  for (const fb::WeightPart& p : w.parts) {
    const fb::SourceTensorT& tensor = *plan().tensors[p.tensor()];
    const uint64_t row_bytes = w.cols * llm::element_bytes(tensor.dtype);
    if (p.col_begin() != 0 || p.col_end() != tensor.cols)
      return llm::Error{"weight " + w.name + ": column ranges are not supported yet"};
    LLM_ASSIGN(const auto source, files_.rows(p.tensor(), p.row_begin(), p.row_end()));
    if (w.init_kernel < 0)
      copies.push_back({weights_[weight] + p.dst_row() * row_bytes, source, files_.mapping_of(p.tensor(), source)});
    else if (device_info().host_addressable)
      LLM_TRY(pack_part(w, p, reinterpret_cast<DeviceAddress>(source.data()), weights_[weight]));
    else
      return llm::Error{"weight " + w.name + ": init kernels of this device are not supported yet"};
  }
  return {};
}

llm::Status Engine::fill(DeviceAddress destination, uint64_t bytes, std::span<const std::byte> contents) {
  std::vector<HostCopy> copies;
  for (uint64_t at = 0; at < bytes; at += contents.size())
    copies.push_back({destination + at, contents.first(std::min<uint64_t>(contents.size(), bytes - at)), nullptr});
  return chosen_.device->copy_in(copies);
}

// As EngineOptions::contents says: no file is read, and padding of a layout is filled like the rest.
llm::Status Engine::fill_weights() {
  for (size_t i = 0; i < weights_.size(); ++i) {
    const fb::WeightT& w = *target().weights[i];
    if (w.source < 0) LLM_TRY(fill(weights_[i], w.bytes, contents_(static_cast<llm::ScalarType>(w.dtype), w.cols == 1)));
  }
  return {};
}

// Codes may be any bits; a list of groups that is all zeros is one that its kernel can sort.
llm::Status Engine::fill_source(DeviceAddress destination, const fb::SourceTensorT& tensor) {
  const uint64_t bytes = llm::tensor_bytes(tensor);
  if (tensor.dtype <= static_cast<uint8_t>(llm::ScalarType::kBF16))
    return fill(destination, bytes, contents_(static_cast<llm::ScalarType>(tensor.dtype), tensor.cols == 1));
  if (tensor.cols > 1) return fill(destination, bytes, contents_(llm::ScalarType::kBF16, false));
  return fill(destination, bytes, std::vector<std::byte>(bytes));
}

llm::Status Engine::fill_cache() {
  for (const auto& g : plan().kv_groups)
    LLM_TRY(fill(kv_layers_[g->layers[0]], memory_.kv_blocks * g->block_bytes * g->layers.size(),
                 contents_(static_cast<llm::ScalarType>(g->dtype), false)));
  return {};
}

// Weights that kernels compute, from other weights or from what a checkpoint has in their place.
llm::Status Engine::make_weights() {
  for (size_t i = 0; i < weights_.size(); ++i)
    if (target().weights[i]->source >= 0) LLM_TRY(compute_row_scale(i));
  for (const auto& program : target().programs)
    if (program->kind == fb::ProgramKind::init) LLM_TRY(run_init(*program));
  return {};
}

// The program init. Kernels read source tensors where they are mapped, or from memory that is taken for this alone: it
// is given back before the KV cache is taken.
llm::Status Engine::run_init(const fb::ProgramT& program) {
  const auto staged_bytes = [&](uint32_t tensor) {
    constexpr uint64_t kAlignment = 256;
    return (llm::tensor_bytes(*plan().tensors[tensor]) + kAlignment - 1) / kAlignment * kAlignment;
  };
  uint64_t most = 0;
  for (const auto& launch : program.launches) {
    uint64_t bytes = 0;
    for (const fb::Slot& s : launch->slots)
      if (s.kind() == fb::SlotKind::source) bytes += staged_bytes(s.index());
    most = std::max(most, bytes);
  }
  Device& d = *chosen_.device;
  DeviceAddress staging = 0;
  if (!device_info().host_addressable || contents_) {
    LLM_ASSIGN(staging, d.allocate(most, "checkpoint tensors to repack"));
  }
  for (const auto& launch : program.launches) {
    ResolvedLaunch l = resolve(*launch, 0);
    std::vector<HostCopy> copies;
    DeviceAddress next = staging;
    for (size_t i = 0; i < l.slots.size(); ++i) {
      if (launch->slots[i].kind() != fb::SlotKind::source) continue;
      const uint32_t tensor = launch->slots[i].index();
      if (contents_) {
        LLM_TRY(fill_source(next, *plan().tensors[tensor]));
        l.slots[i] = next;
        next += staged_bytes(tensor);
        continue;
      }
      LLM_ASSIGN(const auto source, files_.rows(tensor, 0, plan().tensors[tensor]->rows));
      l.slots[i] = reinterpret_cast<DeviceAddress>(source.data());
      if (device_info().host_addressable) continue;
      copies.push_back({next, source, files_.mapping_of(tensor, source)});
      l.slots[i] = next;
      next += staged_bytes(tensor);
    }
    LLM_TRY(d.copy_in(copies));
    LLM_TRY(d.run_once(l));
    files_.release_copies();
  }
  if (staging) d.release(staging);
  return {};
}

// Init kernel row_scale: one block per row of the source weight.
llm::Status Engine::compute_row_scale(size_t weight) {
  const fb::WeightT& w = *target().weights[weight];
  ResolvedLaunch l;
  l.kernel = static_cast<uint32_t>(w.init_kernel);
  l.grid[0] = static_cast<uint32_t>(w.rows);
  l.slots = {weights_[static_cast<size_t>(w.source)], weights_[weight], w.rows, w.cols};
  static_assert(sizeof(llm_abi::RowScaleArgs) == 4 * sizeof(uint64_t));
  return chosen_.device->run_once(l);
}

llm::Status Engine::pack_part(const fb::WeightT& w, const fb::WeightPart& p, DeviceAddress source,
                              DeviceAddress destination) {
  constexpr uint64_t kBlockRows = 16;  // kPackRows of kernels_templates/x86/pack.h
  const uint64_t rows = p.row_end() - p.row_begin(), first = p.dst_row() / kBlockRows;
  ResolvedLaunch l;
  l.kernel = static_cast<uint32_t>(w.init_kernel);
  l.grid[1] = static_cast<uint32_t>((p.dst_row() + rows + kBlockRows - 1) / kBlockRows - first);
  l.slots = {source, destination, rows, w.cols, plan().tensors[p.tensor()]->cols, p.dst_row()};
  static_assert(sizeof(llm_abi::PackArgs) == 6 * sizeof(uint64_t));
  return chosen_.device->run_once(l);
}

}  // namespace llmrt
