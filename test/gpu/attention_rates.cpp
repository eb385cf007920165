// Rates of attention at the head layout of an 8B model: decode over contexts of 512 to 131072 entries, prefill of 512
// to 8192 tokens.
#include <algorithm>
#include <cstdio>

#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

constexpr int kHeads = 32, kKvHeads = 8;

// Microseconds of a launch over sequences with so many entries each before the step, `queries` tokens each in the step.
double time_batch(const Kernel& kernel, int sequences, int length, int queries, int splits, Rng& rng) {
  const Gpu& gpu = *kernel.gpu;
  const KernelInstance& instance = *kernel.instance;
  // Without heads the batch has no pool on the host, where its values are double.
  PagedBatch b = PagedBatch::make(rng, std::vector<int>(sequences, length), std::vector<int>(sequences, queries), 0,
                                  instance.head_dim, instance.kv, false);
  const DeviceBatch device(gpu, b);
  b.kv_heads = kKvHeads;
  const size_t block_bytes = static_cast<size_t>(b.block_values()) * bytes_of(instance.kv);
  const size_t outputs = static_cast<size_t>(b.tokens) * kHeads * instance.head_dim;
  DeviceBytes pool(gpu, b.blocks * block_bytes), q(gpu, outputs * sizeof(float)), out(gpu, outputs * sizeof(float));
  fill_random(gpu, pool, instance.kv, 1.0, rng);
  fill_random(gpu, q, ScalarType::kF32, 1.0, rng);
  DeviceArray<float> workspace(gpu, static_cast<size_t>(b.tokens) * kHeads * splits * (instance.head_dim + 2));
  const DeviceArray<u32> arrivals(gpu, std::vector<u32>(static_cast<size_t>(b.tokens) * kHeads));
  KvView view = device.view(b);
  view.base = pool.ptr();
  const AttentionArgs args = {device.counts.get(),
                              q.ptr<float>(),
                              out.ptr(),
                              device.token_seq.get(),
                              device.seq_slot.get(),
                              device.kv_index.get(),
                              device.query_start.get(),
                              device.kv_len.get(),
                              workspace.get(),
                              view,
                              kHeads,
                              0,
                              splits,
                              0.1,
                              arrivals.get()};
  return kernel.time_us(args, head_tiles(*kernel.instance->variant, kHeads, kKvHeads), b.tokens, splits);
}

void time_decode(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const int head_dim = kernel.instance->head_dim;
  for (int sequences : {1, 8}) {
    for (int context : {512, 1024, 8192, 32768, 131072}) {
      const double bytes =
          2.0 * sequences * context * kKvHeads * head_dim * static_cast<double>(bytes_of(kernel.instance->kv));
      for (int blocks_per_sm : {1, 2}) {
        const int splits = std::clamp(blocks_per_sm * kernel.gpu->units / (sequences * kKvHeads), 1, 32);
        outcome.us = time_batch(kernel, sequences, context - 1, 1, splits, rng);
        char text[120];
        std::snprintf(text, sizeof(text), "\n         %d x %6d entries, %2d splits: %8.1f us %5.0f GB/s", sequences,
                      context, splits, outcome.us, bytes / outcome.us * 1e-3);
        outcome.rate += text;
      }
    }
  }
}

void time_prefill(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  // Tokens, and the entries before them.
  for (const auto& [tokens, before] :
       {std::pair{512, 0}, std::pair{2048, 0}, std::pair{8192, 0}, std::pair{2048, 30720}}) {
    outcome.us = time_batch(kernel, 1, before, tokens, 1, rng);
    const double pairs = static_cast<double>(tokens) * (before + (tokens + 1) / 2.0);
    char text[120];
    std::snprintf(text, sizeof(text), "\n         %4d tokens behind %5d: %8.1f us %5.0f TFLOP/s", tokens, before,
                  outcome.us, 4.0 * kHeads * kernel.instance->head_dim * pairs / outcome.us * 1e-6);
    outcome.rate += text;
  }
}

}  // namespace

void time_attention(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const bool decode = kernel.instance->variant->max_splits > 1;
  decode ? time_decode(kernel, rng, outcome) : time_prefill(kernel, rng, outcome);
}

}  // namespace llm_test
