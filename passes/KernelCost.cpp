#include "passes/KernelCost.h"

#include <algorithm>

#include "passes/KernelTable.h"

namespace llmc {
namespace {

using llm::Variant;

constexpr KernelPace kSm90[] = {
#include "compiler/targets/paces/sm_90.inl"
};
constexpr struct {
  std::string_view target;
  std::span<const KernelPace> paces;
} kPaces[] = {{"sm_90", kSm90}};

// Whether `name` is `pattern`, whose `*` stands for a type of 16 bits.
bool matches(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == name;
  const std::string_view head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  if (name.size() < head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) return false;
  const std::string_view type = name.substr(head.size(), name.size() - head.size() - tail.size());
  return type == "f16" || type == "bf16";
}

// The blocks that share a tile's K leave their sums in memory, and the last of them adds all: as fast as one block can read, behind
// `round_trips`, which are about as long as a launch. The blocks of a cluster each add a share of them, out of each other's shared memory.
double join_us(const Target& target, const Variant& v, int round_trips) {
  if (v.k_splits == 1) return 0;
  if (v.cluster > 1) return target.launch_us / 2;
  const double bytes = static_cast<double>(v.k_splits) * v.tile_rows * v.tile_cols * sizeof(float);
  const double block_gb_s = 2 * target.bandwidth_gb_s / target.units;
  return bytes / (block_gb_s * 1e3) + round_trips * target.launch_us;
}

// The launch of fp8_rows, at half of the bandwidth: 16 bits are read, 8 written.
double quantize_us(const Target& target, const Variant& v, const KernelShape& s) {
  if (!v.fp8_rows || !s.code) return 0;
  return 3.0 * static_cast<double>(s.rows * s.k) / (target.bandwidth_gb_s * 1e3 / 2) + target.launch_us;
}

int64_t row_tiles(const Variant& v, const KernelShape& s) {
  const int64_t cluster = row_tile_cluster(v);
  return v.tile_rows ? std::max(ceil_div(s.rows, v.tile_rows * cluster) * cluster, s.least_row_tiles) : 1;
}
int64_t column_tiles(const Variant& v, const KernelShape& s) { return v.tile_cols ? ceil_div(s.cols, v.tile_cols) : 1; }

// The splits of attention that read entries at the typical context of KernelShapes.cpp; see LowerToExec.cpp.
int64_t typical_splits(const Target& target, const Variant& v, const KernelShape& s) {
  constexpr int64_t kBlocksPerUnit = 2, kMostSplits = 512 / 128;
  if (v.max_splits <= 1) return 1;
  return std::clamp(kBlocksPerUnit * target.units / (row_tiles(v, s) * s.k), int64_t{1}, std::min<int64_t>(kMostSplits, v.max_splits));
}

// At a pace that was measured.
double paced_us(const Target& target, const Variant& v, const KernelShape& s, const Pace& pace) {
  const int64_t rows = row_tiles(v, s), tiles = rows * column_tiles(v, s) * v.k_splits * typical_splits(target, v, s);
  const int64_t units = target.units / v.cluster * v.cluster, active = std::min(tiles, units), most = ceil_div(tiles, units);  // of an SM
  const bool reduces = v.max_splits == 0;  // attention's work is in its bytes
  const double depth = reduces ? static_cast<double>(s.k) / v.k_splits / 1024 : 1;
  const double products = depth * (s.code ? 1 + pace.group_columns / static_cast<double>(s.group) : 1);
  const double tile_bytes = (s.bytes + s.row_tile_bytes * static_cast<double>(rows)) / static_cast<double>(tiles);
  const double tile_memory = tile_bytes * static_cast<double>(active) / (target.bandwidth_gb_s * 1e3);
  const double busy = pace.busy_us * static_cast<double>(active) / target.units;
  const auto pass = [&](int64_t at_once) {
    const double count = static_cast<double>(at_once);
    return at_once ? std::max({products * pace.alone_us, products * busy * count, tile_memory * count}) : 0;
  };
  // Codes of 8 bits are exact in the type of the activations.
  const bool converts = s.code && (s.code != llm::CodeType::kU8 || v.int16_columns);
  const double activations = converts ? pace.row_us * static_cast<double>(s.rows) * depth : 0;
  // A block's first bytes take about half as long as a launch, behind the barriers of a ring as long.
  const double start = target.launch_us * (v.waits_itself ? 1 : 0.5);
  // The scales of the tokens behind a norm are computed one after the other, beside the products.
  const double scales = s.code ? 0 : pace.row_us * static_cast<double>(s.rows);
  const double passes = static_cast<double>(most / pace.at_once) * pass(pace.at_once) + pass(most % pace.at_once);
  return target.launch_us + start + activations + std::max(passes, scales) + static_cast<double>(most) * pace.tile_us + join_us(target, v, 1);
}

constexpr double kFastestBlock = 4;  // what one block reads at most, in shares of an SM

// By the shares of bandwidth and rate that the variant's row gives.
double shares_us(const Target& target, const Variant& v, const KernelShape& s, double fastest_block) {
  const double rows = static_cast<double>(s.rows), cols = static_cast<double>(s.cols);
  const double tiles_y = static_cast<double>(row_tiles(v, s)), tiles_x = static_cast<double>(column_tiles(v, s));
  // Tiles are computed whole, and the last wave of blocks holds the machine as long as a full one.
  const double padding = (v.tile_rows ? tiles_y * v.tile_rows / rows : 1) * (v.tile_cols ? tiles_x * v.tile_cols / cols : 1);
  double blocks = tiles_x * tiles_y * v.k_splits;
  if (v.max_splits > 1) blocks *= std::clamp(target.units / blocks, 1.0, static_cast<double>(v.max_splits));
  const double waves = static_cast<double>(ceil_div(static_cast<int64_t>(blocks), target.units)) * target.units / blocks;
  const double rate = (v.tensor_cores ? target.matrix_tflops : target.fp32_tflops) * 1e6;  // operations per microsecond
  const double compute = rate > 0 ? s.flops * padding * waves / (rate * v.compute_share) : 0;
  const double memory = (s.bytes + s.row_tile_bytes * tiles_y) / (target.bandwidth_gb_s * 1e3 * v.bandwidth_share) *
                        (v.blocks_per_sm ? 1 : std::min(waves, fastest_block));
  return std::max(compute, memory) + join_us(target, v, 2) + quantize_us(target, v, s) + target.launch_us;
}

}  // namespace

std::span<const KernelPace> paces_of(const Target& target) {
  for (const auto& [name, paces] : kPaces)
    if (name == target.name) return paces;
  return {};
}

const Pace* find_pace(const Target& target, const Variant& variant) {
  for (const KernelPace& row : paces_of(target))
    if (row.family == variant.family && matches(row.variant, variant.name)) return &row.pace;
  return nullptr;
}

double predict_us(const Target& target, const Variant& v, const KernelShape& s) {
  if (const Pace* pace = find_pace(target, v)) return paced_us(target, v, s, *pace);
  // A block reads no faster than an SM's share, as was seen where kernels were measured; of other targets more is assumed.
  return shares_us(target, v, s, paces_of(target).empty() ? kFastestBlock : static_cast<double>(target.units));
}

std::optional<double> cheapest_us(const Target& target, const KernelShape& s) {
  std::optional<double> cheapest;
  for (const Variant& v : all_variants(target.kind)) {
    if (v.external || !can_run(target, v, s)) continue;
    const double us = shares_us(target, v, s, kFastestBlock);
    if (!cheapest || us < *cheapest) cheapest = us;
  }
  return cheapest;
}

}  // namespace llmc
