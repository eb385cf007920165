#include "runtime/step_input.h"

#include <cstring>
#include <string>

namespace llmrt {
namespace {

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

bool counts_up(const std::vector<int32_t>& v) {
  for (size_t i = 0; i < v.size(); ++i)
    if (v[i] != static_cast<int32_t>(i)) return false;
  return true;
}

}  // namespace

void StepInput::clear() {
  for (auto* v :
       {&tokens, &positions, &kv_index, &token_seq, &query_start, &kv_len, &seq_slot, &seq_flags, &logit_rows})
    v->clear();
  sampling.clear();
  bias.clear();
  mask.clear();
  block_updates.clear();
}

llm::Status check_step(const StepInput& in, const llm::fb::LimitsT& limits, uint64_t vocab) {
  const size_t t = in.tokens.size(), s = in.kv_len.size(), l = in.logit_rows.size();
  if (t == 0 || s == 0 || l == 0) return llm::Error{"a step needs at least one token, one sequence and one logit row"};
  if (t > limits.max_step_tokens || s > limits.max_batch || l > limits.max_logits)
    return llm::Error{"a step of " + std::to_string(t) + " tokens, " + std::to_string(s) + " sequences, " +
                      std::to_string(l) + " logit rows is beyond the plan's limits (" +
                      std::to_string(limits.max_step_tokens) + ", " + std::to_string(limits.max_batch) + ", " +
                      std::to_string(limits.max_logits) + ")"};
  if (in.positions.size() != t || in.kv_index.size() != t || in.token_seq.size() != t ||
      in.query_start.size() != s + 1 || in.seq_slot.size() != s || in.seq_flags.size() != s ||
      (!in.sampling.empty() && in.sampling.size() != l) ||
      (!in.mask.empty() && in.mask.size() != l * limits.mask_words))
    return llm::Error{"the arrays of the step differ in length"};
  if (in.block_updates.size() > limits.max_block_updates || in.bias.size() > limits.max_bias_pairs)
    return llm::Error{"the step has more block updates or bias pairs than the plan allows"};
  const auto context = static_cast<int32_t>(limits.table_stride * limits.block_tokens), rows = static_cast<int32_t>(t);
  for (size_t i = 0; i < t; ++i)
    if (in.kv_index[i] < 0 || in.kv_index[i] >= context || in.token_seq[i] < 0 ||
        in.token_seq[i] >= static_cast<int32_t>(s) || in.tokens[i] >= static_cast<int64_t>(vocab) ||
        in.tokens[i] < -static_cast<int64_t>(limits.max_logits))
      return llm::Error{"token " + std::to_string(i) + " of the step is out of range"};
  for (size_t i = 0; i < s; ++i)
    if (in.seq_slot[i] < 0 || in.seq_slot[i] >= static_cast<int32_t>(limits.max_batch) || in.query_start[i] < 0 ||
        in.query_start[i] > in.query_start[i + 1] || in.query_start[i + 1] > rows)
      return llm::Error{"sequence " + std::to_string(i) + " of the step is out of range"};
  for (int32_t row : in.logit_rows)
    if (row < 0 || row >= rows) return llm::Error{"a logit row of the step is out of range"};
  return {};
}

bool can_advance(const StepInput& in) {
  const size_t rows = in.kv_len.size();
  return in.tokens.size() == rows && in.logit_rows.size() == rows && in.sampling.size() == rows && in.mask.empty() &&
         counts_up(in.token_seq) && counts_up(in.query_start) && counts_up(in.logit_rows);
}

void advance(StepInput& in) {
  for (size_t i = 0; i < in.tokens.size(); ++i) {
    in.tokens[i] = -1 - static_cast<int32_t>(i);
    ++in.positions[i];
    ++in.kv_index[i];
    ++in.kv_len[i];
    in.seq_flags[i] = 0;
    ++in.sampling[i].position;
  }
  in.block_updates.clear();
}

bool same_input(const StepInput& a, const StepInput& b) {
  return same(a.tokens, b.tokens) && same(a.positions, b.positions) && same(a.kv_index, b.kv_index) &&
         same(a.token_seq, b.token_seq) && same(a.query_start, b.query_start) && same(a.kv_len, b.kv_len) &&
         same(a.seq_slot, b.seq_slot) && same(a.seq_flags, b.seq_flags) && same(a.logit_rows, b.logit_rows) &&
         same(a.sampling, b.sampling) && same(a.bias, b.bias) && same(a.mask, b.mask) &&
         same(a.block_updates, b.block_updates);
}

bool allows_any(std::span<const uint32_t> mask, uint64_t vocab) {
  for (uint64_t id = 0; id < vocab; ++id)
    if (mask[id / 32] >> (id % 32) & 1) return true;
  return false;
}

}  // namespace llmrt
