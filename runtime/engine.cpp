#include "runtime/engine.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "runtime/median.h"

namespace llmrt {
namespace {

namespace fb = llm::fb;

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

std::string gb(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

}  // namespace

llm::Result<std::unique_ptr<Engine>> Engine::load(std::shared_ptr<llm::PlanFile> plan, const EngineOptions& options) {
  std::unique_ptr<Engine> e(new Engine);
  e->plan_ = std::move(plan);
  e->no_graphs_ = options.no_graphs;
  e->no_advance_ = options.no_advance;
  e->no_persistent_ = options.no_persistent;
  e->contents_ = options.contents;
  const Stopwatch opening;
  LLM_ASSIGN(e->chosen_, choose_target(*e->plan_, options.device));
  e->times_.total_s = e->times_.device_s = opening.seconds();
  e->memory_ = memory_table(e->plan_file(), e->target(), e->device_info(), options.kv_limit);
  const MemoryTable& m = e->memory_;
  if (options.info_only) return e;
  if (!m.fits)
    return llm::Error{
        "the plan does not fit on " + e->device_info().name + ": weights " + gb(m.weights) + ", activations " +
        gb(m.activations) + ", state " + gb(m.state + m.io) + ", and no room for a KV cache; free " +
        gb(m.device_free) +
        ". Compile with a smaller --max-batch, --max-step-tokens or --max-context, or for a smaller model"};
  LLM_TRY(e->load_all(options.model_dir.empty() ? folder_of(e->plan_->path()) : options.model_dir));
  for (const auto& program : e->target().programs) e->programs_.push_back({program.get(), {}});
  return e;
}

llm::Status Engine::allocate() {
  Device& d = *chosen_.device;
  LLM_ASSIGN(arena_, d.allocate(target().arena_bytes, "activations"));
  for (const auto& s : target().states) {
    if (s->host) {
      LLM_ASSIGN(const HostBuffer buffer, d.allocate_host(s->bytes, s->name));
      states_.push_back(buffer.device);
      if (s->name == "ring") {
        ring_ = buffer.host;
        std::memset(buffer.host, 0xff, buffer.bytes);  // step numbers that no step has
      }
    } else {
      LLM_ASSIGN(const DeviceAddress address, d.allocate(s->bytes, s->name));
      states_.push_back(address);
    }
  }
  for (const auto& c : target().constants) {
    LLM_ASSIGN(const DeviceAddress address, d.allocate(c->bytes, "constant " + c->name));
    LLM_ASSIGN(const std::vector<std::byte> bytes, plan_->read(c->segment));
    LLM_TRY(d.copy_in(address, bytes));
    constants_.push_back(address);
  }
  for (IoSet& set : io_) {
    LLM_ASSIGN(set.staging, d.allocate_host(plan().limits->io_bytes, "step input"));
    LLM_ASSIGN(set.device, d.allocate(plan().limits->io_bytes, "step input"));
  }
  for (const auto& f : plan().io_fields) io_offset_[f->name] = f->offset;
  kv_layers_.resize(plan().model->layers);
  for (const auto& g : plan().kv_groups) {
    const uint64_t layer_bytes = memory_.kv_blocks * g->block_bytes;
    LLM_ASSIGN(const DeviceAddress pool, d.allocate(layer_bytes * g->layers.size(), "KV cache"));
    for (size_t i = 0; i < g->layers.size(); ++i) kv_layers_[g->layers[i]] = pool + i * layer_bytes;
  }
  return {};
}

DeviceAddress Engine::address(const fb::Slot& s, size_t io_set) const {
  uint64_t base = 0;
  switch (s.kind()) {
    case fb::SlotKind::value:
    case fb::SlotKind::tensor_map:
    case fb::SlotKind::phases:
    case fb::SlotKind::source:  // known to run_init alone
      break;
    case fb::SlotKind::arena:
      base = arena_;
      break;
    case fb::SlotKind::weight:
      base = weights_[s.index()];
      break;
    case fb::SlotKind::constant:
      base = constants_[s.index()];
      break;
    case fb::SlotKind::io:
      base = io_[io_set].device + plan().io_fields[s.index()]->offset;
      break;
    case fb::SlotKind::state:
      base = states_[s.index()];
      break;
    case fb::SlotKind::kv_base:
      base = kv_layers_[s.index()];
      break;
  }
  return base + s.value();
}

// All tensor maps of the target, equal ones once, in one piece of device memory.
llm::Status Engine::encode_tensor_maps() {
  std::map<TensorMap, uint64_t> offsets;
  std::vector<std::byte> encoded;
  for (size_t io_set = 0; io_set < kIoSets; ++io_set) {
    for (const auto& program : target().programs) {
      for (const auto& launch : program->launches) {
        for (const auto& map : launch->maps) {
          const TensorMap key{address(*map->base, io_set),
                              static_cast<llm::ScalarType>(map->dtype),
                              map->dims,
                              map->strides,
                              map->box,
                              map->swizzle};
          const auto [it, fresh] = offsets.try_emplace(key, encoded.size());
          if (fresh) {
            LLM_ASSIGN(const std::vector<std::byte> bytes, chosen_.device->encode(key));
            encoded.insert(encoded.end(), bytes.begin(), bytes.end());
          }
          tensor_maps_[{map.get(), io_set}] = it->second;
        }
      }
    }
  }
  if (encoded.empty()) return {};
  LLM_ASSIGN(const DeviceAddress base, chosen_.device->allocate(encoded.size(), "tensor maps"));
  for (auto& [map, address] : tensor_maps_) address += base;
  return chosen_.device->copy_in(base, encoded);
}

// The launches of all programs with a persistent kernel, as its phases.
llm::Status Engine::encode_phases() {
  if (no_persistent_) return {};
  for (size_t io_set = 0; io_set < kIoSets; ++io_set) {
    for (const auto& program : target().programs) {
      if (!program->persistent) continue;
      std::vector<llm_abi::Phase> phases;
      for (const auto& launch : program->launches) {
        const ResolvedLaunch r = resolve(*launch, io_set);
        llm_abi::Phase phase = {launch->phase_body, {r.grid[0], r.grid[1], r.grid[2]}, {}};
        std::copy(r.slots.begin(), r.slots.end(), phase.args);
        phases.push_back(phase);
      }
      const auto bytes = std::as_bytes(std::span(phases));
      LLM_ASSIGN(const DeviceAddress address, chosen_.device->allocate(bytes.size(), "phases"));
      LLM_TRY(chosen_.device->copy_in(address, bytes));
      phases_[{program.get(), io_set}] = address;
    }
  }
  return {};
}

ResolvedLaunch Engine::resolve(const fb::LaunchT& launch, size_t io_set) const {
  ResolvedLaunch r;
  r.kernel = launch.kernel;
  r.cooperative = launch.cooperative;
  r.programmatic = launch.programmatic;
  r.grid[0] = launch.grid_x;
  if (launch.blocks_per_sm)
    r.grid[0] = std::min(r.grid[0], launch.blocks_per_sm * static_cast<uint32_t>(chosen_.device->info().units));
  r.grid[1] = launch.grid_y, r.grid[2] = launch.grid_z;
  r.after = launch.after;
  if (const auto& c = launch.external)
    r.gemm = GemmCall{static_cast<llm::ScalarType>(c->dtype), c->rows, c->cols, c->k, c->workspace_bytes};
  for (const fb::Slot& s : launch.slots)
    r.slots.push_back(s.kind() == fb::SlotKind::tensor_map ? tensor_maps_.at({launch.maps[s.index()].get(), io_set})
                                                           : address(s, io_set));
  return r;
}

std::vector<ResolvedLaunch> Engine::resolve(const fb::ProgramT& program, size_t io_set) const {
  std::vector<ResolvedLaunch> launches;
  for (const auto& l : program.launches) launches.push_back(resolve(*l, io_set));
  return launches;
}

// What a graph of the program holds: its launches, or the kernel that runs them all.
std::vector<ResolvedLaunch> Engine::resolve_for_graph(const fb::ProgramT& program, size_t io_set) const {
  const auto phases = phases_.find({&program, io_set});
  if (phases == phases_.end()) return resolve(program, io_set);
  ResolvedLaunch r = resolve(*program.persistent, io_set);
  for (size_t i = 0; i < r.slots.size(); ++i)
    if (program.persistent->slots[i].kind() == fb::SlotKind::phases) r.slots[i] = phases->second;
  return {r};
}

// The smallest bucket that holds the step.
llm::Result<Engine::BuiltProgram*> Engine::find_program(fb::ProgramKind kind, size_t tokens, size_t seqs,
                                                        size_t logits) {
  BuiltProgram* best = nullptr;
  for (BuiltProgram& p : programs_) {
    if (p.program->kind != kind || p.program->logits < logits) continue;
    if (kind == fb::ProgramKind::forward && (p.program->tokens < tokens || p.program->seqs < seqs)) continue;
    const auto size = [](const fb::ProgramT& g) { return uint64_t{g.tokens} + g.logits; };
    if (!best || size(*p.program) < size(*best->program)) best = &p;
  }
  if (!best)
    return llm::Error{"no program of the plan holds " + std::to_string(tokens) + " tokens of " + std::to_string(seqs) +
                      " sequences with " + std::to_string(logits) + " logit rows"};
  return best;
}

llm::Status Engine::run(BuiltProgram& p, size_t io_set) {
  if (no_graphs_) {
    for (const ResolvedLaunch& l : resolve(*p.program, io_set)) LLM_TRY(chosen_.device->run_once(l));
    return {};
  }
  if (!p.built[io_set]) {
    const Stopwatch building;
    LLM_ASSIGN(p.built[io_set], chosen_.device->build(resolve_for_graph(*p.program, io_set)));
    times_.graphs_s += building.seconds();
    ++times_.graphs;
  }
  return chosen_.device->launch(*p.built[io_set]);
}

llm::Status Engine::check(const StepInput& in) const {
  if (programs_.empty()) return llm::Error{"this engine was opened for information only"};
  return check_step(in, *plan().limits, plan().model->vocab);
}

template <typename T>
uint64_t Engine::put(IoSet& set, const char* field, const std::vector<T>& values) {
  const uint64_t offset = io_offset_[field], bytes = values.size() * sizeof(T);
  if (bytes) std::memcpy(set.staging.host + offset, values.data(), bytes);
  return bytes ? offset + bytes : 0;
}

// Fills the staging copy but for the mask; the number of bytes from the start that must be uploaded.
uint64_t Engine::pack(const StepInput& in, IoSet& set, int32_t flags) {
  llm_abi::StepCounts counts{};
  counts.rows[llm_abi::kRowsTokens] = static_cast<int32_t>(in.tokens.size());
  counts.rows[llm_abi::kRowsSeqs] = static_cast<int32_t>(in.kv_len.size());
  counts.rows[llm_abi::kRowsLogits] = static_cast<int32_t>(in.logit_rows.size());
  counts.flags = flags;
  counts.block_updates = static_cast<int32_t>(in.block_updates.size());
  counts.step = static_cast<int32_t>(next_step_);
  counts.ring_entries = static_cast<int32_t>(plan().limits->ring_entries);
  counts.bias_pairs = static_cast<int32_t>(in.bias.size());
  uint64_t end = put(set, "counts", std::vector{counts});
  for (const auto& [field, values] : {std::pair{"query_start", &in.query_start},
                                      {"kv_len", &in.kv_len},
                                      {"seq_slot", &in.seq_slot},
                                      {"seq_flags", &in.seq_flags},
                                      {"logit_rows", &in.logit_rows},
                                      {"tokens", &in.tokens},
                                      {"positions", &in.positions},
                                      {"kv_index", &in.kv_index},
                                      {"token_seq", &in.token_seq}})
    end = std::max(end, put(set, field, *values));
  end = std::max(end, put(set, "sample_params", in.sampling));
  end = std::max(end, put(set, "block_updates", in.block_updates));
  return std::max(end, put(set, "bias_pairs", in.bias));
}

llm::Result<uint32_t> Engine::submit(const StepInput& in) {
  LLM_TRY(check(in));
  LLM_ASSIGN(BuiltProgram * forward,
             find_program(fb::ProgramKind::forward, in.tokens.size(), in.kv_len.size(), in.logit_rows.size()));
  if (marks_.size() == kIoSets) LLM_TRY(chosen_.device->wait(marks_.begin()->second));
  const bool ready = has_advanced_ && same_input(in, advanced_), advances = !no_advance_ && can_advance(in);
  has_advanced_ = false;  // until the step is queued as a whole
  if (!ready) last_set_ = (last_set_ + 1) % kIoSets;
  IoSet& set = io_[last_set_];
  if (!ready) {
    const uint64_t bytes = pack(in, set, advances ? llm_abi::kStepAdvance : 0);
    LLM_TRY(chosen_.device->upload(set.device, set.staging.host, bytes));
    ++uploads_;
  }
  LLM_TRY(run(*forward, last_set_));
  if (const uint64_t end =
          put(set, "mask", in.mask)) {  // only `sample` reads masks: the host copies them while `forward` runs
    const uint64_t offset = io_offset_["mask"];
    LLM_TRY(chosen_.device->upload(set.device + offset, set.staging.host + offset, end - offset));
  }
  if (!in.sampling.empty()) {
    LLM_ASSIGN(BuiltProgram * sample, find_program(fb::ProgramKind::sample, 0, 0, in.logit_rows.size()));
    LLM_TRY(run(*sample, last_set_));
  }
  LLM_ASSIGN(marks_[next_step_], chosen_.device->record());
  if (marks_.size() > kIoSets) marks_.erase(marks_.begin());
  if (advances) {
    if (!ready) advanced_ = in;
    advance(advanced_);
    has_advanced_ = true;
  }
  return next_step_++;
}

llm::Status Engine::wait(uint32_t step) {
  const auto it = marks_.find(step);
  return it == marks_.end() ? llm::Status() : chosen_.device->wait(it->second);
}

llm::Result<bool> Engine::finished(uint32_t step) {
  const auto it = marks_.find(step);
  if (it == marks_.end()) return true;
  return chosen_.device->reached(it->second);
}

std::span<const llm_abi::SampleOut> Engine::samples(uint32_t step) const {
  const uint64_t rows = plan().limits->max_logits;
  const auto* entries = reinterpret_cast<const llm_abi::SampleOut*>(ring_);
  return {entries + step % plan().limits->ring_entries * rows, rows};
}

DeviceAddress Engine::state(const char* name) const {
  for (size_t i = 0; i < states_.size(); ++i)
    if (target().states[i]->name == name) return states_[i];
  return 0;
}

llm::Status Engine::read_logits(std::span<float> out) {
  LLM_TRY(chosen_.device->synchronize());
  return chosen_.device->download(out.data(), state("logits"), out.size_bytes());
}

llm::Status Engine::read_hidden(std::span<float> out) {
  LLM_TRY(chosen_.device->synchronize());
  return chosen_.device->download(out.data(), state("hidden"), out.size_bytes());
}

llm::Status Engine::upload_block_table(std::vector<llm_abi::BlockUpdate>& updates) {
  const fb::LimitsT& l = *plan().limits;
  std::vector<int32_t> table(plan().kv_groups.size() * l.max_batch * l.table_stride);
  const DeviceAddress address = state("block_table");
  LLM_TRY(chosen_.device->synchronize());
  LLM_TRY(chosen_.device->download(table.data(), address, table.size() * sizeof(int32_t)));
  for (const llm_abi::BlockUpdate& u : updates)
    table[(static_cast<uint64_t>(u.group) * l.max_batch + static_cast<uint64_t>(u.slot)) * l.table_stride +
          static_cast<uint64_t>(u.index)] = u.block;
  LLM_TRY(chosen_.device->copy_in(address, std::as_bytes(std::span(table))));
  updates.clear();
  return {};
}

llm::Result<std::vector<const fb::LaunchT*>> Engine::forward_launches(size_t tokens, size_t seqs, size_t logits) {
  LLM_ASSIGN(const BuiltProgram* forward, find_program(fb::ProgramKind::forward, tokens, seqs, logits));
  std::vector<const fb::LaunchT*> launches;
  for (const auto& l : forward->program->launches) launches.push_back(l.get());
  return launches;
}

llm::Result<std::vector<Engine::LaunchTime>> Engine::profile(const StepInput& in, int repeats) {
  LLM_TRY(check(in));
  LLM_ASSIGN(BuiltProgram * forward,
             find_program(fb::ProgramKind::forward, in.tokens.size(), in.kv_len.size(), in.logit_rows.size()));
  LLM_TRY(chosen_.device->synchronize());
  has_advanced_ = false;
  LLM_TRY(chosen_.device->upload(io_[0].device, io_[0].staging.host, pack(in, io_[0], 0)));
  const fb::ProgramT& program = *forward->program;
  const bool persistent = phases_.count({&program, 0}) != 0;
  std::vector<double> times;
  if (persistent) {
    LLM_ASSIGN(times, time_phases(*forward, repeats));
  } else {
    LLM_ASSIGN(times, chosen_.device->time_launches(resolve(program, 0), repeats));
  }
  std::vector<LaunchTime> result;
  for (size_t i = 0; i < times.size(); ++i)
    result.push_back({program.launches[i].get(), times[i], persistent ? program.persistent->kernel : program.launches[i]->kernel});
  return result;
}

// Median microseconds of each phase, from the times that the kernel leaves.
llm::Result<std::vector<double>> Engine::time_phases(BuiltProgram& program, int repeats) {
  const size_t count = program.program->launches.size();
  std::vector<std::vector<double>> samples(count);
  for (int r = 0; r < repeats; ++r) {
    std::vector<uint64_t> began(count + 1);
    LLM_TRY(run(program, 0));
    LLM_TRY(chosen_.device->download(began.data(), state("step_times"), began.size() * sizeof(uint64_t)));
    for (size_t i = 0; i < count; ++i) samples[i].push_back(static_cast<double>(began[i + 1] - began[i]) * 1e-3);
  }
  return medians(samples);
}

llm::Result<double> Engine::time_in_a_row(const StepInput& in, std::span<const size_t> chosen, double seconds) {
  LLM_TRY(check(in));
  LLM_ASSIGN(BuiltProgram * forward,
             find_program(fb::ProgramKind::forward, in.tokens.size(), in.kv_len.size(), in.logit_rows.size()));
  Device& d = *chosen_.device;
  LLM_TRY(d.synchronize());
  has_advanced_ = false;
  LLM_TRY(d.upload(io_[0].device, io_[0].staging.host, pack(in, io_[0], 0)));
  std::vector<ResolvedLaunch> row;
  for (const size_t i : chosen) {
    ResolvedLaunch l = resolve(*forward->program->launches[i], 0);
    l.after.clear();
    if (!row.empty()) l.after.push_back(static_cast<uint32_t>(row.size()) - 1);
    l.programmatic &= !row.empty();
    row.push_back(std::move(l));
  }
  LLM_ASSIGN(const auto program, d.build(row));
  const auto timed = [&](int times) -> llm::Result<double> {
    const Stopwatch watch;
    for (int i = 0; i < times; ++i) LLM_TRY(d.launch(*program));
    LLM_TRY(d.synchronize());
    return watch.seconds();
  };
  LLM_ASSIGN(double elapsed, timed(1));  // warms up
  LLM_ASSIGN(elapsed, timed(1));
  const int times = static_cast<int>(std::clamp(seconds / std::max(elapsed, 1e-6), 1.0, 1e4));
  LLM_ASSIGN(elapsed, timed(times));
  return elapsed * 1e6 / times / static_cast<double>(row.size());
}

}  // namespace llmrt
