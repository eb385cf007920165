// Paged attention over ragged batches, against float64.
#include <algorithm>
#include <cmath>

#include "test/gpu/dot.h"
#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

// Softmax attention of one (token, head): the output and, per value, sum p |v|; `spread` is the largest sum |q k| of a
// score.
struct Reference {
  std::vector<double> out, magnitude;
  double spread = 0;
};

Reference attend(const PagedBatch& b, const std::vector<double>& q, int token, int head, int heads, int window,
                 double scale) {
  const int sequence = b.token_seq[token], kv_head = head / (heads / b.kv_heads);
  const int end = b.kv_index[token] + 1, begin = window > 0 ? std::max(0, end - window) : 0;
  const double* query = &q[(static_cast<size_t>(token) * heads + head) * b.head_dim];
  Reference r{std::vector<double>(b.head_dim), std::vector<double>(b.head_dim)};
  std::vector<double> scores;
  for (int e = begin; e < end; ++e) {
    const double* key = &b.pool[b.entry_offset(sequence, e, kv_head, false)];
    const auto [score, magnitude] = dot(query, key, b.head_dim);
    scores.push_back(score * scale);
    r.spread = std::max(r.spread, magnitude * scale);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& s : scores) sum += s = std::exp(s - top);
  for (int e = begin; e < end; ++e) {
    const double* value = &b.pool[b.entry_offset(sequence, e, kv_head, true)];
    const double weight = scores[e - begin] / sum;
    for (int i = 0; i < b.head_dim; ++i) {
      r.out[i] += weight * value[i];
      r.magnitude[i] += weight * std::abs(value[i]);
    }
  }
  return r;
}

void check_batch(const Kernel& kernel, Rng& rng, const std::vector<int>& lengths, const std::vector<int>& queries,
                 int heads, int kv_heads, int head_dim, int window, int splits, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const KernelInstance& instance = *kernel.instance;
  const PagedBatch b = PagedBatch::make(rng, lengths, queries, kv_heads, head_dim, instance.kv, true);
  const DeviceBatch device(gpu, b);
  const size_t width = static_cast<size_t>(heads) * head_dim;
  // Query scores of standard deviation about 2: a softmax that neither ignores the scores nor picks one entry.
  const std::vector<double> q = random_values(rng, b.tokens * width, 2.0, ScalarType::kF32);
  TypedArray device_q(gpu, q, ScalarType::kF32);
  const OperandArray out(gpu, b.tokens * width, static_cast<int>(width), instance.operand);
  DeviceArray<float> workspace(gpu, splits > 1 ? b.tokens * heads * static_cast<size_t>(splits) * (head_dim + 2) : 0);
  const DeviceArray<u32> arrivals(gpu, std::vector<u32>(b.tokens * static_cast<size_t>(heads)));
  const double scale = 1.0 / std::sqrt(head_dim);
  const AttentionArgs args = {device.counts.get(),
                              device_q.ptr<float>(),
                              out.ptr(),
                              device.token_seq.get(),
                              device.seq_slot.get(),
                              device.kv_index.get(),
                              device.query_start.get(),
                              device.kv_len.get(),
                              splits > 1 ? workspace.get() : nullptr,
                              device.view(b),
                              heads,
                              window,
                              splits,
                              scale,
                              arrivals.get()};
  if (instance.variant->blocks_per_sm) kernel.blocks = heads / 2 + 1;  // so that a block takes more than one tile
  kernel.launch(args, head_tiles(*instance.variant, heads, kv_heads), b.tokens + 2, splits);
  kernel.blocks = 0;
  const std::vector<double> result = out.values();
  for (u32 left : arrivals.values()) outcome.exact(left == 0, "the count of arrivals was not reset");
  const bool tensor = instance.variant->tensor_cores;
  for (int t = 0; t < b.tokens; ++t) {
    for (int h = 0; h < heads; ++h) {
      const Reference r = attend(b, q, t, h, heads, window, scale);
      for (int i = 0; i < head_dim; ++i) {
        const size_t row = static_cast<size_t>(t) * heads + h;
        const double value = result[row * head_dim + i];
        // A score's error e becomes a relative error e of its weight. Tensor cores round q and the weights to the KV
        // type, those for int8 to bf16.
        double limit = 0x1p-24 * (16 + 8 * r.spread) * r.magnitude[i];
        const ScalarType rounding = instance.kv == ScalarType::kInt8 ? ScalarType::kBF16 : instance.kv;
        if (tensor) limit += unit_roundoff(rounding) * (1 + 2 * r.spread) * r.magnitude[i];
        limit += unit_roundoff(instance.operand) * std::abs(r.out[i]) + 1e-7;
        outcome.near(value, r.out[i], limit, "attention");
      }
    }
  }
}

}  // namespace

void check_attention(const Kernel& kernel, Rng& rng, const HeadLayout& layout, int window, Outcome& outcome) {
  const auto& [heads, kv_heads, head_dim] = layout;
  // Decode rows, a first prefill, a chunk of a later one: one ragged step.
  check_batch(kernel, rng, {0, 16, 90, 0, 301}, {1, 1, 23, 50, 1}, heads, kv_heads, head_dim, window, 1, outcome);
  if (std::string(kernel.instance->variant->name).find("decode") != std::string::npos)
    check_batch(kernel, rng, {0, 400, 15, 140}, {1, 1, 2, 1}, heads, kv_heads, head_dim, window, 3, outcome);
  else  // two whole tiles and a part of one sequence, their entries unaligned to it
    check_batch(kernel, rng, {2, 205}, {9, 2 * kernel.instance->variant->tile_rows + 4}, heads, kv_heads, head_dim,
                window, 1, outcome);
  if (!outcome.failure.empty()) {
    outcome.failure += " with " + std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " +
                       std::to_string(head_dim) + ", window " + std::to_string(window);
  }
}

Outcome test_attention(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  const KernelInstance& instance = *kernel.instance;
  std::vector<int> head_dims = {instance.head_dim};
  if (instance.head_dim == 0) head_dims = {40, 64, 96, 128};
  for (int head_dim : head_dims) {
    for (const auto& [heads, kv_heads] : {std::pair{14, 2}, std::pair{4, 4}, std::pair{8, 1}}) {
      for (int window : {0, 37}) {
        check_attention(kernel, rng, {heads, kv_heads, head_dim}, window, outcome);
        if (!outcome.failure.empty()) return outcome;
      }
    }
  }
  if (!timing || instance.head_dim == 0) return outcome;

  time_attention(kernel, rng, outcome);
  return outcome;
}

}  // namespace llm_test
