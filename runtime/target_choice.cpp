#include "runtime/target_choice.h"

#include <charconv>
#include <optional>

#include "plan/cpu_features.h"
#include "runtime/cpu/cpu_device.h"
#include "runtime/cuda/cuda_device.h"

namespace llmrt {
namespace {

namespace fb = llm::fb;

std::string target_names(const fb::PlanT& plan) {
  std::string names;
  for (const auto& t : plan.targets) names += (names.empty() ? "" : ", ") + t->name;
  return names;
}

std::string device_text(const DeviceInfo& d) {
  if (d.kind == fb::TargetKind::x86) return d.name;
  return d.name + " (compute capability " + std::to_string(d.compute_capability / 10) + "." + std::to_string(d.compute_capability % 10) + ")";
}

// Code for one architecture only ("sm_90a"): neither it nor its PTX runs on anything newer.
bool architecture_specific(const fb::TargetT& t) { return !t.arch.empty() && t.arch.back() == 'a'; }

bool runs_on(const fb::TargetT& t, const DeviceInfo& d) {
  if (t.kind != d.kind) return false;
  if (t.kind == fb::TargetKind::x86) return (t.features & ~d.features) == 0;
  return architecture_specific(t) ? t.compute_capability == d.compute_capability : t.compute_capability <= d.compute_capability;
}

std::string compile_line(const llm::PlanFile& plan, const DeviceInfo& d) {
  const std::string target = d.kind == fb::TargetKind::cuda ? "sm_" + std::to_string(d.compute_capability) : "native";
  return "llmc compile MODEL_DIR --target " + target + " -o " + plan.path();
}

llm::Result<int> cuda_index(const std::string& name) {
  if (name == "cuda") return 0;
  int index = -1;
  const char* end = name.data() + name.size();
  if (auto [at, ec] = std::from_chars(name.data() + 5, end, index); ec != std::errc() || at != end || index < 0)
    return llm::Error{"--device '" + name + "' is not one of auto, cpu, cuda, cuda:N"};
  return index;
}

// "x86-64-amx needs AMX bf16, AMX int8; ...", of x86 targets that do not run on the device.
std::string what_is_missing(const fb::PlanT& plan, const fb::TargetT* wanted, const DeviceInfo& d) {
  std::string text;
  for (const auto& t : plan.targets) {
    if (wanted && t.get() != wanted) continue;
    const std::string missing = missing_features(*t, d);
    if (!missing.empty()) text += (text.empty() ? " (" : "; ") + t->name + " needs " + missing;
  }
  return text.empty() ? text : text + ", which it lacks)";
}

}  // namespace

const fb::TargetT* best_target(const fb::PlanT& plan, const DeviceInfo& d) {
  const fb::TargetT* best = nullptr;
  for (const auto& t : plan.targets) {
    if (!runs_on(*t, d)) continue;
    const bool better = !best || (t->kind == fb::TargetKind::cuda ? t->compute_capability > best->compute_capability
                                                                  : __builtin_popcount(t->features) > __builtin_popcount(best->features));
    if (better) best = t.get();
  }
  return best;
}

std::string missing_features(const fb::TargetT& t, const DeviceInfo& d) {
  return t.kind == fb::TargetKind::x86 && d.kind == t.kind ? llm::cpu_feature_names(t.features & ~d.features) : "";
}

llm::Result<ChosenTarget> choose_target(const llm::PlanFile& plan, const DeviceOptions& o) {
  const fb::TargetT* wanted = nullptr;
  bool has_cuda = false;
  for (const auto& t : plan.index().targets) {
    if (t->name == o.target) wanted = t.get();
    has_cuda |= t->kind == fb::TargetKind::cuda;
  }
  if (!o.target.empty() && !wanted)
    return llm::Error{"the plan has no target '" + o.target + "'; it has " + target_names(plan.index()) + ". Compile it: llmc compile MODEL_DIR --target " +
                      o.target + " -o " + plan.path()};
  const bool auto_device = o.device == "auto";
  bool use_cuda = o.device.starts_with("cuda");
  if (!auto_device && !use_cuda && o.device != "cpu") return llm::Error{"--device '" + o.device + "' is not one of auto, cpu, cuda, cuda:N"};
  if (auto_device) use_cuda = wanted ? wanted->kind == fb::TargetKind::cuda : has_cuda && cuda_device_count() > 0;

  ChosenTarget chosen;
  if (use_cuda) {
    LLM_ASSIGN(const int index, auto_device ? llm::Result<int>(0) : cuda_index(o.device));
    LLM_ASSIGN(chosen.device, make_cuda_device(index, o.separate_allocations));
  } else {
    LLM_ASSIGN(chosen.device, make_cpu_device(o.threads));
  }
  const fb::TargetT* best = wanted ? (runs_on(*wanted, chosen.device->info()) ? wanted : nullptr) : best_target(plan.index(), chosen.device->info());
  if (!best && auto_device && use_cuda && !wanted) {  // a GPU that none of the plan's code fits
    LLM_ASSIGN(auto cpu, make_cpu_device(o.threads));
    if (const fb::TargetT* on_cpu = best_target(plan.index(), cpu->info())) {
      chosen.note = "no target of the plan runs on " + device_text(chosen.device->info()) + "; using the CPU. For the GPU: " +
                    compile_line(plan, chosen.device->info());
      chosen.device = std::move(cpu);
      best = on_cpu;
    }
  }
  const DeviceInfo& d = chosen.device->info();
  if (!best)
    return llm::Error{"no target of the plan (" + target_names(plan.index()) + ")" + (wanted ? " that was asked for (" + wanted->name + ")" : "") +
                      " runs on " + device_text(d) + what_is_missing(plan.index(), wanted, d) + ". Compile one that does: " + compile_line(plan, d)};
  chosen.target = best;
  if (d.kind == fb::TargetKind::cuda && (o.force_ptx || best->compute_capability != d.compute_capability)) {
    if (architecture_specific(*best)) return llm::Error{"target " + best->name + " has code for " + best->arch + " only, which has no PTX fallback"};
    chosen.form = CodeForm::kPtx;
    chosen.note = "running the PTX of " + best->name + " on " + device_text(d) + ", compiled by the driver now and slower than exact code; for that: " +
                  compile_line(plan, d);
  }
  return chosen;
}

}  // namespace llmrt
