// A plan loaded on a device: weights in place, every argument resolved, programs built for both io sets. One level
// below sequences: it runs steps.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels_templates/abi.h"
#include "plan/plan_reader.h"
#include "runtime/device.h"
#include "runtime/load_times.h"
#include "runtime/memory_table.h"
#include "runtime/step_input.h"
#include "runtime/target_choice.h"
#include "runtime/weight_files.h"

namespace llmrt {

struct EngineOptions {
  DeviceOptions device;
  std::string model_dir;   // of external weights; "" for the folder of the plan
  uint64_t kv_limit = 0;   // bytes of KV cache at most; 0 for what the plan asks for
  bool no_graphs = false;  // debugging: every launch on its own, each waited for, instead of one program (a CUDA graph)
  bool no_advance =
      false;  // debugging: the host uploads every step, also where the device could make it from the last one
  bool no_persistent = false;  // debugging: every launch of a program is a kernel of its own, also where one could run them all
  // Measuring: what weights and KV cache hold, in place of a model folder's weights: the values of a type, of a vector
  // (a norm, a bias) or of anything else, repeated as often as it takes.
  std::function<std::span<const std::byte>(llm::ScalarType, bool vector)> contents;
  bool info_only = false;  // choose target and device and compute the memory table, but allocate nothing
};

class Engine {
 public:
  static llm::Result<std::unique_ptr<Engine>> load(std::shared_ptr<llm::PlanFile> plan, const EngineOptions& options);

  const llm::PlanFile& plan_file() const { return *plan_; }
  const llm::fb::PlanT& plan() const { return plan_->index(); }
  const llm::fb::TargetT& target() const { return *chosen_.target; }
  const DeviceInfo& device_info() const { return chosen_.device->info(); }
  const MemoryTable& memory() const { return memory_; }
  const std::string& note() const { return chosen_.note; }
  const LoadTimes& load_times() const { return times_; }

  // Queues a step (forward, and sample if input.sampling is not empty) and returns its number. At most kIoSets steps
  // are in flight: a further one waits for the oldest. A step that is what the device itself made of the last one (a
  // decode step with the same rows, no new KV block and no mask) needs no upload. Errors: more tokens, sequences or
  // rows than the plan allows.
  llm::Result<uint32_t> submit(const StepInput& input);
  uint64_t uploads() const { return uploads_; }  // steps whose input was uploaded
  llm::Status wait(uint32_t step);
  llm::Result<bool> finished(uint32_t step);
  // What a finished step sampled, by logit row. Valid until ring_entries further steps.
  std::span<const llm_abi::SampleOut> samples(uint32_t step) const;

  // [rows, vocab] logits (or [rows, hidden] hidden states before the final norm) of the last step; waits for it.
  llm::Status read_logits(std::span<float> out);
  llm::Status read_hidden(std::span<float> out);

  // Writes block table entries directly, for more of them than a step can carry. Blocking.
  llm::Status upload_block_table(std::vector<llm_abi::BlockUpdate>& updates);

  // Microseconds of each launch of the forward program that a step of this input runs: on its own, or where a
  // persistent kernel runs them all, as its phase.
  struct LaunchTime {
    const llm::fb::LaunchT* launch;
    double microseconds;
    uint32_t kernel;  // that ran it: of the target's kernels
  };
  // The launches of the forward program that serves such a step.
  llm::Result<std::vector<const llm::fb::LaunchT*>> forward_launches(size_t tokens, size_t seqs, size_t logits);
  llm::Result<double> measure_bandwidth() { return chosen_.device->measure_bandwidth(); }
  llm::Result<std::vector<LaunchTime>> profile(const StepInput& input, int repeats);
  // Microseconds of one of these launches of that program (by their positions), run one after the other as a program of
  // their own, as often as fits into `seconds`, but once. Buffers hold what earlier runs have left in them.
  llm::Result<double> time_in_a_row(const StepInput& input, std::span<const size_t> launches, double seconds);

  static constexpr size_t kIoSets = 2;

 private:
  struct BuiltProgram {
    const llm::fb::ProgramT* program = nullptr;
    std::unique_ptr<DeviceProgram> built[kIoSets];  // each on first use: a plan has more buckets than most runs touch
  };
  struct IoSet {
    HostBuffer staging;
    DeviceAddress device = 0;
  };

  Engine() = default;
  llm::Status allocate();
  llm::Status load_all(const std::string& model_dir);
  llm::Status load_code();
  llm::Status allocate_weights();
  llm::Status check_embedded_weights();
  llm::Status copy_weights();
  llm::Status fill_weights();
  llm::Status fill_cache();
  llm::Status fill_source(DeviceAddress destination, const llm::fb::SourceTensorT& tensor);
  llm::Status fill(DeviceAddress destination, uint64_t bytes, std::span<const std::byte> contents);
  llm::Status copy_parts(size_t weight, std::vector<HostCopy>& copies);
  llm::Status make_weights();
  llm::Status run_init(const llm::fb::ProgramT& program);
  llm::Status pack_part(const llm::fb::WeightT& weight, const llm::fb::WeightPart& part, DeviceAddress source,
                        DeviceAddress destination);
  llm::Status compute_row_scale(size_t weight);
  llm::Status encode_tensor_maps();
  llm::Status encode_phases();
  DeviceAddress address(const llm::fb::Slot& slot, size_t io_set) const;
  ResolvedLaunch resolve(const llm::fb::LaunchT& launch, size_t io_set) const;
  std::vector<ResolvedLaunch> resolve(const llm::fb::ProgramT& program, size_t io_set) const;
  std::vector<ResolvedLaunch> resolve_for_graph(const llm::fb::ProgramT& program, size_t io_set) const;
  llm::Result<BuiltProgram*> find_program(llm::fb::ProgramKind kind, size_t tokens, size_t seqs, size_t logits);
  llm::Status run(BuiltProgram& program, size_t io_set);
  llm::Result<std::vector<double>> time_phases(BuiltProgram& program, int repeats);
  llm::Status check(const StepInput& input) const;
  uint64_t pack(const StepInput& input, IoSet& set, int32_t flags);
  template <typename T>
  uint64_t put(IoSet& set, const char* field, const std::vector<T>& values);
  DeviceAddress state(const char* name) const;

  std::shared_ptr<llm::PlanFile> plan_;
  WeightFiles files_;  // stays mapped: a host-addressable device uses weights in place
  ChosenTarget chosen_;
  MemoryTable memory_;
  LoadTimes times_;
  DeviceAddress arena_ = 0;
  std::vector<DeviceAddress> weights_, constants_, states_, kv_layers_;
  std::map<std::pair<const llm::fb::TensorMapT*, size_t>, DeviceAddress>
      tensor_maps_;  // encoded, by description and io set
  std::map<std::pair<const llm::fb::ProgramT*, size_t>, DeviceAddress> phases_;  // of persistent kernels, by io set
  std::map<std::string, uint64_t> io_offset_;
  std::byte* ring_ = nullptr;
  IoSet io_[kIoSets];
  std::vector<BuiltProgram> programs_;
  std::map<uint32_t, uint64_t> marks_;  // of the last kIoSets steps
  uint32_t next_step_ = 0;
  size_t last_set_ = 0;        // io set of the last step
  StepInput advanced_;         // what that set will hold behind the last step,
  bool has_advanced_ = false;  // if the step advances it
  uint64_t uploads_ = 0;
  std::function<std::span<const std::byte>(llm::ScalarType, bool vector)> contents_;
  bool no_graphs_ = false, no_advance_ = false, no_persistent_ = false;
};

}  // namespace llmrt
