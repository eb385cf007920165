#include "test/x86/x86_shapes.h"

#include <cmath>

namespace llm_test {
namespace {

using namespace llm_abi;

// Every number of rows around the tiles of 1, 4 and 8, K around vectors and groups, N around blocks of 16.
void test_linear_edges(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  for (int rows = 1; rows <= 33 && outcome.failure.empty(); ++rows) {
    const LinearShape shape = {rows, 15 + rows * 3, 1 + rows * 5 % 67};
    check_linear(kernel, rng, shape, rows % 2 == 0, outcome);
  }
  check_linear(kernel, rng, {2, 32003, 71}, false, outcome);  // a vocabulary
}

// Partial tiles of 512 rows and 512 columns, of 32 x 32 and of 16; more than one step of K, and a partial one.
void test_matrix_unit_edges(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  for (const LinearShape& shape : {LinearShape{9, 33, 64}, {33, 15, 544}, {40, 530, 96}, {64, 48, 1056}, {530, 17, 32}, {513, 40, 608}})
    if (outcome.failure.empty()) check_linear(kernel, rng, shape, shape.rows % 2 == 0, outcome);
}

// Parts of a merged weight that begin and end inside blocks of 16 rows, from unaligned sources; padding stays as it
// was.
void test_pack(const Kernel& kernel, Rng& rng, Outcome& outcome) {
  const Gpu& gpu = *kernel.gpu;
  const ScalarType type = kernel.instance->weight;
  const int block = 16, group = 4 / static_cast<int>(bytes_of(type));
  for (int k : {1, 2, 17, 64, 895}) {
    const int rows[] = {5, 40, 12}, total = 57, groups = (k + group - 1) / group;
    std::vector<double> expected(static_cast<size_t>((total + block - 1) / block * block) * groups * group, 0);
    TypedArray packed(gpu, expected, type);
    int first = 0;
    for (int count : rows) {
      const int stride = k + 3;
      const std::vector<double> part = random_values(rng, static_cast<size_t>(count) * stride, 1.0, type);
      std::vector<uint8_t> bytes = encode(part, type);
      bytes.insert(bytes.begin(), 1, 0);
      DeviceBytes source(gpu, bytes.data(), bytes.size());
      kernel.launch(PackArgs{source.ptr<char>() + 1, packed.ptr(), count, k, stride, first}, 1,
                    (first + count + block - 1) / block * block - first / block * block);
      for (int r = 0; r < count; ++r) {
        for (int i = 0; i < k; ++i) {
          const int n = first + r;
          expected[(static_cast<size_t>(n / block) * groups + i / group) * block * group + n % block * group +
                   i % group] = part[static_cast<size_t>(r) * stride + i];
        }
      }
      first += count;
    }
    outcome.exact(packed.values() == expected, "packed weights differ for K " + std::to_string(k));
  }
}

}  // namespace

Outcome test_x86_kernel(const Kernel& kernel, Rng& rng) {
  const std::string family = kernel.instance->variant->family;
  Outcome outcome;
  if (family == "pack") {
    test_pack(kernel, rng, outcome);
    return outcome;
  }
  outcome = test_kernel(kernel, rng, /*timing=*/false);
  if (!outcome.failure.empty()) return outcome;
  const bool matrix_unit = kernel.instance->variant->tensor_cores;
  if (family == "linear" && matrix_unit) test_matrix_unit_edges(kernel, rng, outcome);
  if (family == "linear" && !matrix_unit) test_linear_edges(kernel, rng, outcome);
  if (family == "attention" && kernel.instance->head_dim == 0) check_attention(kernel, rng, {4, 1, 256}, 0, outcome);
  return outcome;
}

}  // namespace llm_test
