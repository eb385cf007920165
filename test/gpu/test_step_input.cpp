// Kernels that keep the step's input, checked exactly: prepare, advance, row_scale.
#include <cmath>

#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

void test_prepare(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const int sequences = 3, max_slots = 5, vocab = 77, groups = 2, stride = 6;
  const std::vector<int> query_start = {0, 4, 5, 12}, slots = {3, 0, 4}, flags = {kSeqReset, 0, 0};
  const std::vector<int> prev = {11, 22, 33, 44};
  std::vector<int> tokens;
  for (int i = 0; i < 12; ++i) tokens.push_back(static_cast<int>(rng() % vocab));
  tokens[4] = -1 - 2;  // row 2 of the last step: id 33
  tokens[7] = tokens[8];
  std::vector<u32> penalties(max_slots * vocab);
  for (u32& p : penalties) p = static_cast<u32>(rng() % 3);
  std::vector<int> table(groups * max_slots * stride);
  for (int& entry : table) entry = static_cast<int>(rng() % 100);
  const std::vector<BlockUpdate> updates = {{1, 2, 3, 1000}, {0, 4, 5, 1001}, {1, 0, 0, 1002}};

  const auto counts = make_counts(gpu, 12, sequences, sequences, 0, static_cast<int>(updates.size()));
  DeviceArray<int> device_tokens(gpu, tokens), device_start(gpu, query_start), device_slots(gpu, slots),
      device_flags(gpu, flags);
  DeviceArray<BlockUpdate> device_updates(gpu, updates);
  DeviceArray<int> device_prev(gpu, prev), ids(gpu, tokens.size()), device_table(gpu, table);
  DeviceArray<u32> device_penalties(gpu, penalties);
  kernel.launch(PrepareArgs{counts.get(), device_tokens.get(), device_start.get(), device_slots.get(),
                            device_flags.get(), device_updates.get(), device_prev.get(), ids.get(), device_table.get(),
                            device_penalties.get(), vocab, max_slots, stride},
                1, 4);

  for (const BlockUpdate& u : updates) table[(u.group * max_slots + u.slot) * stride + u.index] = u.block;
  std::vector<int> expected_ids = tokens;
  expected_ids[4] = 33;
  for (int i = 0; i < vocab; ++i) penalties[3 * vocab + i] = 0;
  for (int s = 0; s < sequences; ++s) {
    for (int t = query_start[s]; t < query_start[s + 1]; ++t) {
      if (tokens[t] >= 0) penalties[slots[s] * vocab + tokens[t]] |= kInPrompt;
    }
  }
  outcome.exact(ids.values() == expected_ids, "ids differ");
  outcome.exact(device_table.values() == table, "block table differs");
  outcome.exact(device_penalties.values() == penalties, "penalty counts differ");
}

void test_advance(const Kernel& kernel, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  for (int flags : {0, static_cast<int>(kStepAdvance)}) {
    const int rows = 3;
    const auto counts = make_counts(gpu, rows, rows, rows, flags, 4, 41, 8);
    DeviceArray<int> tokens(gpu, std::vector<int>{5, 6, 7, 99}), positions(gpu, std::vector<int>{10, 20, 30, 99});
    DeviceArray<int> kv_index(gpu, std::vector<int>{1, 2, 3, 99}), kv_len(gpu, std::vector<int>{2, 3, 4, 99});
    DeviceArray<int> seq_flags(gpu, std::vector<int>{1, 0, 1, 99});
    std::vector<SampleParams> params(4);
    for (SampleParams& p : params) p.position = 50;
    DeviceArray<SampleParams> device_params(gpu, params);
    kernel.launch(AdvanceArgs{counts.get(), tokens.get(), positions.get(), kv_index.get(), kv_len.get(),
                              seq_flags.get(), device_params.get()},
                  1, 1);
    const bool on = flags != 0;
    const StepCounts after = counts.values()[0];
    outcome.exact(after.step == 41 + on && after.block_updates == (on ? 0 : 4), "counts differ");
    outcome.exact(tokens.values() == (on ? std::vector<int>{-1, -2, -3, 99} : std::vector<int>{5, 6, 7, 99}),
                  "tokens differ");
    outcome.exact(positions.values() == std::vector<int>({10 + on, 20 + on, 30 + on, 99}), "positions differ");
    outcome.exact(kv_index.values() == std::vector<int>({1 + on, 2 + on, 3 + on, 99}), "kv_index differs");
    outcome.exact(kv_len.values() == std::vector<int>({2 + on, 3 + on, 4 + on, 99}), "kv_len differs");
    outcome.exact(seq_flags.values() == (on ? std::vector<int>{0, 0, 0, 99} : std::vector<int>{1, 0, 1, 99}),
                  "seq_flags differ");
    const auto p = device_params.values();
    for (int i = 0; i < 4; ++i) outcome.exact(p[i].position == (i < 3 && on ? 51 : 50), "sampling position differs");
  }
}

void test_row_scale(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const int n = 70, k = 333;
  std::vector<double> w = random_values(rng, static_cast<size_t>(n) * k, 1.0, kernel.instance->weight);
  for (int r = 0; r < n; ++r) {
    for (int i = 0; i < k; ++i)
      w[r * k + i] = r == 5 ? 0 : rounded(std::ldexp(w[r * k + i], r * 3 - 100), kernel.instance->weight);
  }
  TypedArray device_w(gpu, w, kernel.instance->weight);
  DeviceArray<float> scale(gpu, n);
  kernel.launch(RowScaleArgs{device_w.ptr(), scale.get(), n, k}, n, 1);
  const auto result = scale.values();
  for (int r = 0; r < n; ++r) {
    double maximum = 0;
    for (int i = 0; i < k; ++i) maximum = std::max(maximum, std::abs(w[r * k + i]));
    const double expected = maximum > 0 ? std::max(0x1p-126, std::ldexp(1.0, std::ilogb(maximum) - 15)) : 1.0;
    outcome.near(result[r], expected, 0, "scale");
    outcome.exact(maximum / result[r] < 65504, "a scaled weight exceeds fp16");
  }
}

}  // namespace

Outcome test_step_input(const Kernel& kernel, Rng& rng, bool) {
  Outcome outcome;
  const std::string family = kernel.instance->variant->family;
  if (family == "prepare") test_prepare(kernel, rng, outcome);
  if (family == "advance") test_advance(kernel, outcome);
  if (family == "row_scale") test_row_scale(kernel, rng, outcome);
  return outcome;
}

}  // namespace llm_test
