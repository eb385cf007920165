#include "compiler/inspect.h"

#include <algorithm>
#include <cstdarg>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "compiler/targets/target.h"
#include "plan/cpu_features.h"
#include "plan/plan_reader.h"
#include "plan/plan_tensors.h"

namespace llmc {
namespace {

namespace fb = llm::fb;
using nlohmann::ordered_json;

__attribute__((format(printf, 2, 3))) void print(std::string& out, const char* format, ...) {
  char line[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(line, sizeof line, format, args);
  va_end(args);
  out += line;
}

const char* code_text(uint8_t code) {
  switch (static_cast<llm::CodeType>(code)) {
    case llm::CodeType::kU2: return "u2";
    case llm::CodeType::kU4: return "u4";
    case llm::CodeType::kU8: return "u8";
    case llm::CodeType::kE4M3: return "e4m3";
    case llm::CodeType::kNf4: return "nf4";
    case llm::CodeType::kFp4: break;
  }
  return "fp4";
}

// "u4 group 128 zeros scale f16", or the type alone.
std::string type_text(const fb::WeightT& w) {
  if (!w.quantization) return llm::dtype_name(w.dtype);
  const fb::QuantizationT& q = *w.quantization;
  return std::string(code_text(q.code)) + " group " + std::to_string(q.group) + (q.zeros ? " zeros" : "") + " scale " + llm::dtype_name(w.dtype);
}

double mb(uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

uint64_t weight_bytes(const fb::TargetT& t) {
  uint64_t bytes = 0;
  for (const auto& w : t.weights) bytes += w->bytes;
  return bytes;
}

uint64_t kv_bytes_per_token(const fb::PlanT& plan) {
  uint64_t bytes = 0;
  for (const auto& g : plan.kv_groups) bytes += g->layers.size() * g->block_bytes / g->block_tokens;
  return bytes;
}

uint64_t state_bytes(const fb::TargetT& t) {
  uint64_t bytes = 0;
  for (const auto& s : t.states) bytes += s->bytes;
  return bytes;
}

// The variants that a program's operations run on: (operation and shape class) -> variant, runner-up.
struct Choice {
  std::string op, variant, runner_up;
  size_t launches = 0;
};

std::vector<Choice> choices(const fb::TargetT& target, const fb::ProgramT& program) {
  std::vector<Choice> list;
  for (const auto& launch : program.launches) {
    const std::string variant = launch->external ? "cublas" : target.kernels[launch->kernel]->variant;
    // Layers repeat: "layers.7.down_proj" and "layers.8.down_proj" are one row.
    // So do source tensors, "model.layers.7.mlp.down_proj.weight".
    std::string where = launch->layer;
    for (const std::string prefix : {"layers.", "model.layers."})
      if (where.starts_with(prefix) && where.find('.', prefix.size()) != std::string::npos)
        where = prefix + "*" + where.substr(where.find('.', prefix.size()));
    const std::string op = launch->op + (where.empty() ? "" : " " + where);
    bool found = false;
    for (Choice& c : list)
      if (c.op == op && c.variant == variant) ++c.launches, found = true;
    if (!found) list.push_back({op, variant, launch->runner_up, 1});
  }
  return list;
}

ordered_json to_json(const llm::PlanFile& file) {
  const fb::PlanT& p = file.index();
  ordered_json j;
  j["producer"] = p.producer;
  j["file_bytes"] = file.file_bytes();
  j["index_bytes"] = file.index_bytes();
  j["signed_by"] = nullptr;
  if (const auto& s = file.signature())
    j["signed_by"] = {{"key_id", s->key.id()}, {"public_key", llm::hex(s->key.bytes)}};
  j["model"] = {{"name", p.model->name},   {"family", p.model->family},     {"layers", p.model->layers},
                {"hidden", p.model->hidden}, {"heads", p.model->heads},       {"kv_heads", p.model->kv_heads},
                {"head_dim", p.model->head_dim}, {"vocab", p.model->vocab},   {"dtype", llm::dtype_name(p.model->dtype)}};
  j["limits"] = {{"max_context", p.limits->max_context}, {"max_batch", p.limits->max_batch},
                 {"max_step_tokens", p.limits->max_step_tokens}, {"max_logits", p.limits->max_logits}};
  j["kv_bytes_per_token"] = kv_bytes_per_token(p);
  for (const auto& t : p.tensors)
    if (t->digest)
      j["tensors"].push_back({{"key", t->key}, {"file", p.files[t->file]->name},
                              {"blake2b_256", llm::hex(llm::digest_of(*t->digest))}});
  for (const auto& t : p.targets) {
    ordered_json jt = {{"name", t->name}, {"arch", t->arch}, {"weight_bytes", weight_bytes(*t)}, {"arena_bytes", t->arena_bytes},
                       {"state_bytes", state_bytes(*t)}};
    for (const auto& k : t->kernels)
      jt["kernels"].push_back({{"name", k->name}, {"instance", k->instance}, {"threads", k->threads}, {"shared_bytes", k->shared_bytes},
                               {"registers", k->registers}, {"spill_bytes", k->spill_bytes}});
    for (const auto& g : t->programs) {
      ordered_json jp = {{"kind", fb::EnumNameProgramKind(g->kind)}, {"tokens", g->tokens}, {"seqs", g->seqs},
                         {"logits", g->logits}, {"launches", g->launches.size()}};
      for (const Choice& c : choices(*t, *g))
        jp["choices"].push_back({{"op", c.op}, {"variant", c.variant}, {"launches", c.launches}, {"runner_up", c.runner_up}});
      jt["programs"].push_back(jp);
    }
    for (const auto& w : t->weights)
      jt["weights"].push_back({{"name", w->name}, {"rows", w->rows}, {"cols", w->cols}, {"dtype", type_text(*w)},
                               {"layout", fb::EnumNameWeightLayout(w->layout)}, {"bytes", w->bytes}, {"embedded", w->segment >= 0}});
    j["targets"].push_back(jt);
  }
  return j;
}

void describe_target(const fb::PlanT& p, const fb::TargetT& t, std::string& out) {
  print(out, "\ntarget %s (%s)\n", t.name.c_str(), t.arch.c_str());
  print(out, "  memory: weights %.1f MB, activations %.1f MB, state %.1f MB, io 2 x %.1f MB, KV %.1f KB per token\n", mb(weight_bytes(t)),
        mb(t.arena_bytes), mb(state_bytes(t)), mb(p.limits->io_bytes), static_cast<double>(kv_bytes_per_token(p)) / 1e3);
  print(out, "  kernels (%zu):\n", t.kernels.size());
  for (const auto& k : t.kernels) {
    print(out, "    %-52s", k->instance.c_str());
    if (k->registers >= 0)
      print(out, " threads %4u  registers %3d  spills %d B  shared %u B", k->threads, k->registers, std::max(k->spill_bytes, 0), k->shared_bytes);
    out += "\n";
  }
  print(out, "  programs (%zu):\n", t.programs.size());
  for (const auto& g : t.programs) {
    print(out, "    %s tokens %u, sequences %u, logit rows %u: %zu launches\n", fb::EnumNameProgramKind(g->kind),
          g->tokens, g->seqs, g->logits, g->launches.size());
    for (const Choice& c : choices(t, *g))
      print(out, "      %4zu x %-44s %-18s%s%s\n", c.launches, c.op.c_str(), c.variant.c_str(), c.runner_up.empty() ? "" : "  runner-up ",
            c.runner_up.c_str());
  }
  print(out, "  weights (%zu):\n", t.weights.size());
  for (const auto& w : t.weights)
    print(out, "    %-52s [%llu, %llu] %s %s %.2f MB%s\n", w->name.c_str(), static_cast<unsigned long long>(w->rows),
          static_cast<unsigned long long>(w->cols), type_text(*w).c_str(), fb::EnumNameWeightLayout(w->layout), mb(w->bytes),
          w->segment >= 0 ? " embedded" : "");
}

void describe_digests(const fb::PlanT& p, std::string& out) {
  const auto has_digest = [](const auto& t) { return t->digest != nullptr; };
  const auto hashed = std::count_if(p.tensors.begin(), p.tensors.end(), has_digest);
  if (hashed == 0) return;
  print(out, "\nweights hashed (%zu), BLAKE2b-256:\n", static_cast<size_t>(hashed));
  for (const auto& t : p.tensors)
    if (t->digest)
      print(out, "  %s %s %s\n", llm::hex(llm::digest_of(*t->digest)).c_str(), p.files[t->file]->name.c_str(),
            t->key.c_str());
}

std::string describe(const llm::PlanFile& file) {
  const fb::PlanT& p = file.index();
  std::string out;
  print(out, "%s: %s, %s, %llu layers, hidden %llu, %llu/%llu heads of %llu, vocabulary %llu, %s\n", p.producer.c_str(), p.model->name.c_str(),
        p.model->family.c_str(), static_cast<unsigned long long>(p.model->layers), static_cast<unsigned long long>(p.model->hidden),
        static_cast<unsigned long long>(p.model->heads), static_cast<unsigned long long>(p.model->kv_heads),
        static_cast<unsigned long long>(p.model->head_dim), static_cast<unsigned long long>(p.model->vocab), llm::dtype_name(p.model->dtype));
  print(out, "limits: context %llu, batch %llu, step tokens %llu, logit rows %llu\n", static_cast<unsigned long long>(p.limits->max_context),
        static_cast<unsigned long long>(p.limits->max_batch), static_cast<unsigned long long>(p.limits->max_step_tokens),
        static_cast<unsigned long long>(p.limits->max_logits));
  for (const auto& g : p.kv_groups)
    print(out, "KV group: %zu layers, window %llu, %s, %llu bytes per block of %llu tokens\n", g->layers.size(),
          static_cast<unsigned long long>(g->window), llm::dtype_name(g->dtype), static_cast<unsigned long long>(g->block_bytes),
          static_cast<unsigned long long>(g->block_tokens));
  for (const auto& f : p.files) print(out, "weight file: %s, %.1f MB\n", f->name.c_str(), mb(f->bytes));
  if (const auto& s = file.signature())
    print(out, "signed by key %s (any key can sign: whether it is one of yours, llmc verify --trust tells)\n",
          s->key.id().c_str());
  else
    print(out, "not signed\n");
  for (const auto& t : p.targets) describe_target(p, *t, out);
  describe_digests(p, out);
  return out;
}

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> list;
  std::stringstream in(text);
  for (std::string line; std::getline(in, line);) list.push_back(line);
  return list;
}

}  // namespace

llm::Status print_targets(bool json, std::string& out) {
  ordered_json list = ordered_json::array();
  const uint32_t here = llm::cpu_features();
  if (!json) print(out, "%-16s %-12s %8s %9s %9s  %-18s %s\n", "target", "arch", "GB/s", "fp32 TF", "matrix TF", "typical", "features");
  for (const Target& t : all_targets()) {
    const bool native = t.kind == TargetKind::kX86 && (t.features & here) == t.features;
    if (json)
      list.push_back({{"name", t.name}, {"arch", t.arch}, {"kind", t.kind == TargetKind::kCuda ? "cuda" : "x86"}, {"features", feature_names(t.features)},
                      {"shared_bytes", t.shared_bytes}, {"bandwidth_gb_s", t.bandwidth_gb_s}, {"fp32_tflops", t.fp32_tflops},
                      {"matrix_tflops", t.matrix_tflops}, {"typical", t.typical}, {"runs_here", native}});
    else
      print(out, "%-16s %-12s %8.0f %9.1f %9.1f  %-18s %s%s\n", t.name, t.arch, t.bandwidth_gb_s, t.fp32_tflops, t.matrix_tflops, t.typical,
            feature_names(t.features).c_str(), native ? " (runs on this processor)" : "");
  }
  if (json) out = list.dump(2) + "\n";
  return {};
}

llm::Status inspect_plan(const std::string& path, bool json, std::string& out) {
  LLM_ASSIGN(auto file, llm::PlanFile::open(path));
  out = json ? to_json(*file).dump(2) + "\n" : describe(*file);
  return {};
}

llm::Status diff_plans(const std::string& a, const std::string& b, std::string& out) {
  LLM_ASSIGN(auto file_a, llm::PlanFile::open(a));
  LLM_ASSIGN(auto file_b, llm::PlanFile::open(b));
  // Longest common subsequence over the lines of the two descriptions.
  const std::vector<std::string> x = lines(describe(*file_a)), y = lines(describe(*file_b));
  std::vector<std::vector<uint32_t>> common(x.size() + 1, std::vector<uint32_t>(y.size() + 1));
  for (size_t i = x.size(); i-- > 0;)
    for (size_t j = y.size(); j-- > 0;)
      common[i][j] = x[i] == y[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
  for (size_t i = 0, j = 0; i < x.size() || j < y.size();) {
    if (i < x.size() && j < y.size() && x[i] == y[j])
      ++i, ++j;
    else if (j == y.size() || (i < x.size() && common[i + 1][j] >= common[i][j + 1]))
      out += "- " + x[i++] + "\n";
    else
      out += "+ " + y[j++] + "\n";
  }
  return {};
}

}  // namespace llmc
