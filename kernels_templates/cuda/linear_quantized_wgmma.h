// Linear layers on quantized weights for 9 to 128 tokens on Hopper, which read the weights once: sm_90a, 16-bit
// operands. See QuantizedFusedArgs, QuantizedRopeArgs.
#pragma once

#include "cuda/linear_cluster_finish.h"
#include "cuda/quantized_fragments.h"

// The weight is the 64-row operand of wgmma, unpacked to registers; N tokens are the other one, in shared memory. A
// block takes one tile of 128 * Rows64 weight rows (for glu half of them gate, half of them the up that belongs to
// them; for RoPE whole heads), or with Splits > 1 the Splits blocks of a cluster share its K and add their sums through
// each other's shared memory. Thread 0 fills a ring of stages, 128 columns each, by tensor copies: the weights' before
// the launch before has ended. Lanes hold eight consecutive columns of the codes (quantized_weights.h), while wgmma
// takes two of each eight: warps 1 and 2 bring the tokens, as they land, into the order of the codes. Warp 3 copies
// scales and zeros. Warpgroups 1 and 2 unpack the next codes while the last ones are multiplied. The products of
// GroupBlocks * 32 columns are summed apart, then scaled in fp32: K and the groups are multiples of that, the rows of w
// of 8. Tile: x = a tile of the weight's rows (behind the last one, that of the next N tokens) and its split; y is not
// used. 384 threads; QuantizedWgmmaShared::kBytes bytes of shared memory. Boxes
// of x_map: 64 x N, of w_map (rows of eight, 16-bit elements): 64 x kBoxEights. Sums run in order of k.
constexpr int kQuantizedStageBlocks = 4;  // of 32 columns
constexpr int kQuantizedConsumers = 256, kQuantizedFirstConsumer = 128;  // threads

template <typename Code, int Rows64, int N, int GroupBlocks, Epilogue Kind>
struct QuantizedWgmmaStage {
  static constexpr int kUnits = 8 * Rows64, kEights = 2 * kUnits,
                       kBoxEights = Kind == Epilogue::kGlu ? kUnits : kEights;
  static constexpr int kTokens = N, kRowBytes = 128;
  static constexpr int kTiles = kQuantizedStageBlocks / FragmentTile<Code>::kBlocks;
  static constexpr int kCodePanels = kTiles * FragmentTile<Code>::kBytes / kRowBytes;  // 128 bytes of every eight rows
  static constexpr int kPanelBytes = kEights * kRowBytes, kCodeBytes = kCodePanels * kPanelBytes;
  static constexpr int kTokenPanels = kQuantizedStageBlocks * 32 * 2 / kRowBytes, kTokenPanelBytes = N * kRowBytes;
  static constexpr int kTokenBytes = kTokenPanels * kTokenPanelBytes, kBytes = kCodeBytes + kTokenBytes;
  static constexpr int kMaxGroups = kQuantizedStageBlocks / GroupBlocks;
  static constexpr int kScaleBytes = kMaxGroups * kEights * 16, kZeroBytes = kMaxGroups * kEights * 8;
  static_assert(kPanelBytes % 1024 == 0 && kTokenPanelBytes % 1024 == 0, "whole groups of swizzled rows");
};

// Where things stand in shared memory: the ring, scales and zeros of each stage, what the finish needs, barriers.
template <typename Stage, int N, int Stages>
struct QuantizedWgmmaShared {
  static constexpr int kScales = Stages * Stage::kBytes, kZeros = kScales + Stages * Stage::kScaleBytes;
  static constexpr int kFinish = kZeros + Stages * Stage::kZeroBytes, kBarriers = kFinish + kClusterFinishBytes<N, kQuantizedConsumers>;
  static constexpr int kBytes = kBarriers + 3 * 8 * Stages;
};

// What every role of a block knows of its tile.
template <typename Stage, Epilogue Kind, int Splits, typename Args>
struct QuantizedWgmmaTile {
  const Args& all;
  const FusedLinearArgs& args;
  u32 number, rank, begin, end;  // steps over K
  i64 row0;                      // the first token

  KERNEL_FN QuantizedWgmmaTile(const Args& all, Tile tile) : all(all), args(linear_of(all)) {
    const u32 steps = static_cast<u32>((args.k + kQuantizedStageBlocks * 32 - 1) / (kQuantizedStageBlocks * 32));
    const u32 width = static_cast<u32>(Kind == Epilogue::kGlu ? args.n / 2 : args.n),
              columns = Stage::kBoxEights * kFragmentRows;
    const u32 column_tiles = (width + columns - 1) / columns;
    number = tile.x / Splits % column_tiles, rank = Splits > 1 ? tile.x % Splits : 0;
    row0 = static_cast<i64>(tile.x / Splits / column_tiles) * Stage::kTokens;
    begin = steps * rank / Splits, end = steps * (rank + 1) / Splits;
  }
  // The first of box i's eights in the weight, and whether eight `e` of a stage exists.
  KERNEL_FN u32 first_eight(int box) const {
    return number * Stage::kBoxEights + static_cast<u32>(box ? args.n / 2 / kFragmentRows : 0);
  }
  KERNEL_FN u32 eight(int e) const {
    return first_eight(e / Stage::kBoxEights) + static_cast<u32>(e % Stage::kBoxEights);
  }
  KERNEL_FN bool has_eight(int e) const {
    const i64 eights = (Kind == Epilogue::kGlu ? args.n / 2 : args.n) / kFragmentRows;
    return number * Stage::kBoxEights + e % Stage::kBoxEights < eights;
  }
  // Where a stage has eight rows of unit u.
  KERNEL_FN u32 place(int u, int half) const {
    if constexpr (Kind == Epilogue::kGlu) return static_cast<u32>(half * Stage::kUnits + u);
    const i64 unit = static_cast<i64>(number) * Stage::kUnits + u;
    return static_cast<u32>(unit_row<Kind>(epilogue_of(all), unit, half, 0) / kFragmentRows) - number * Stage::kEights;
  }
};

// Warps `warp` of 2: the tokens of a stage from their order in memory into that of the codes, in place. Of every 32
// columns, lane t of four has columns 8 t .. 8 t + 7; column 8 t + 2 m + i goes to place 8 m + 2 t + i.
template <int N, int Panels>
KERNEL_FN void reorder_tokens(char* tokens, int warp) {
  constexpr int kAtOnce = 8, kTasks = N / 8 * Panels * 2;  // of 8 tokens and 32 columns of each
  static_assert(kTasks % (2 * kAtOnce) == 0, "whole rounds");
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll 1
  for (int first = warp * kAtOnce; first < kTasks; first += 2 * kAtOnce) {
    uint4 v[kAtOnce];
    char* rows = tokens + first / (2 * Panels) * 1024;
    const auto panel = [&](int i) { return rows + i / (2 * Panels) * 1024 + i / 2 % Panels * (N * 128); };
    // Even rows have one half of the panel's columns and odd rows the other: so the lanes that read at once read all
    // banks.
    const auto chunk = [](int row, int i) { return (row + i) % 2 * 4; };
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i)
      v[i] = *reinterpret_cast<const uint4*>(panel(i) + g * 128 + ((chunk(g, i) + t) ^ g) * 16);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int row = lane % 8;
      stmatrix_x4(shared_address(panel(i) + row * 128 + ((chunk(row, i) + lane / 8) ^ row) * 16), v[i].x, v[i].y,
                  v[i].z, v[i].w);
    }
  }
}

// The sums of a warp: of Rows64 times 16 rows and N tokens.
template <typename Code, typename S, typename A, int Rows64, int N, int GroupBlocks, Epilogue Kind>
struct QuantizedWgmmaSums {
  using Stage = QuantizedWgmmaStage<Code, Rows64, N, GroupBlocks, Kind>;
  using Codes = FragmentCodes<Code, A>;
  // A job: products of kJobBlocks * 32 columns of 16 rows a warp.
  static constexpr int kJobBlocks = GroupBlocks == 1 ? 1 : 2, kJobs = kQuantizedStageBlocks / kJobBlocks;

  using Fragments = FragmentTile<Code>;

  float sum[Rows64][N / 2];
  float part[Rows64][N / 2];  // of a group that is not scaled yet
  float scale[Rows64][2];
  FragmentZero zero[Rows64][2];
  u32 words[Rows64][2][Stage::kTiles][4];  // codes of a stage
  u32 place[Rows64][2];                    // eights of this warp's units in a stage
  u32 a[2][2 * kJobBlocks][4];
  const QuantizedGroups& groups;

  template <typename Tile>
  KERNEL_FN explicit QuantizedWgmmaSums(const Tile& tile) : groups(tile.all.groups) {
#pragma unroll
    for (int r = 0; r < Rows64; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) place[r][half] = tile.place(unit(r), half);
#pragma unroll
      for (int i = 0; i < N / 2; ++i) sum[r][i] = 0.0f;
    }
  }
  // Of the block, of 64 rows number r of the warpgroup.
  KERNEL_FN static int unit(int r) { return r * 8 + static_cast<int>(threadIdx.x / kWarp) - 4; }

  // The codes of a stage, and the operands of its first job.
  template <typename Step>
  KERNEL_FN void begin(const Step& step) {
    constexpr int kTilePanels = Fragments::kBytes / Stage::kRowBytes, kPanelLanes = kWarp / kTilePanels;
    const u32 lane = threadIdx.x % kWarp;
#pragma unroll
    for (int r = 0; r < Rows64; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const u32 eight = place[r][half];
        const char* at = step.stage + lane / kPanelLanes * Stage::kPanelBytes + eight * Stage::kRowBytes +
                         ((lane % kPanelLanes) ^ (eight % 8)) * 16;
#pragma unroll
        for (int tile = 0; tile < Stage::kTiles; ++tile)
          words_of(*reinterpret_cast<const uint4*>(at + tile * kTilePanels * Stage::kPanelBytes), words[r][half][tile]);
      }
    }
    if (GroupBlocks == kQuantizedStageBlocks) {
#pragma unroll
      for (int r = 0; r < Rows64; ++r) begin_group(step, r, 0);
    }
    prepare(step, 0);
  }

  // Adds the products of a stage, and begins the next one. None is under way at its end: the assembler would not see
  // past the loop over stages which registers are still in use, and make every product wait.
  template <typename Step, typename Next>
  KERNEL_FN void multiply(const Step& step, Next next) {
    const u64 tokens = wgmma_operand(shared_address(step.stage + Stage::kCodeBytes));
    constexpr int kEnd = kJobs * Rows64;
#pragma unroll
    for (int job = 0; job < kEnd; ++job) {
      const int set = job % 2, r = job % Rows64, first = job / Rows64 * kJobBlocks;
      wgmma_fence();
#pragma unroll
      for (int p = 0; p < 2 * kJobBlocks; ++p) {
        const int k16 = first * 2 + p;  // 16 columns, of four in a panel
        wgmma_registers<A, N>(part[r], a[set][p], tokens + (k16 / 4) * (Stage::kTokenPanelBytes >> 4) + k16 % 4 * 2,
                              !begins(job) || p > 0);
      }
      wgmma_commit();
      // While it is computed, the sums of the job before are read and the operands of the next one written.
      const int before = (r + Rows64 - 1) % Rows64;
      const float own_scale[2] = {scale[r][0], scale[r][1]};
      if (Rows64 > 1 || !ends(job) || job + 1 == kEnd) {
        wgmma_wait<1>();
        wgmma_used(a[1 - set]);
        if (Rows64 > 1 && job > 0 && ends(job - 1)) add_part(before, scale[before]);
      } else {
        wgmma_wait<0>();
        wgmma_used(a[set]);
        add_part(r, own_scale);
      }
      if (job + 1 < kEnd) {
        prepare(step, job + 1);
      } else {
        begin(next());
        wgmma_wait<0>();
        wgmma_used(a[set]);
        add_part(r, own_scale);
      }
    }
  }

 private:
  // Whether a job is the first, or the last, of the products that are scaled together.
  KERNEL_FN static bool begins(int job) { return GroupBlocks == 1 || job < Rows64; }
  KERNEL_FN static bool ends(int job) { return GroupBlocks == 1 || job >= (kJobs - 1) * Rows64; }

  KERNEL_FN void add_part(int r, const float (&by)[2]) {
    wgmma_finished(part[r]);
#pragma unroll
    for (int i = 0; i < N / 2; ++i) sum[r][i] = fmaf(part[r][i], by[i / 2 % 2], sum[r][i]);
  }

  template <typename Step>
  KERNEL_FN void begin_group(const Step& step, int r, u32 slot) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const u32 at = (slot * Stage::kEights + place[r][half]) * kFragmentRows + threadIdx.x % kWarp / 4;
      scale[r][half] = to_float(reinterpret_cast<const S*>(step.scales)[at]) * Codes::kScale;
      zero[r][half] = Codes::zero(groups.zeros ? reinterpret_cast<const unsigned char*>(step.zeros)[at]
                                               : static_cast<u32>(groups.zero));
    }
  }

  // The operands of a job.
  template <typename Step>
  KERNEL_FN void prepare(const Step& step, int job) {
    const int set = job % 2, r = job % Rows64, first = job / Rows64 * kJobBlocks;
    if (GroupBlocks == 1) begin_group(step, r, step.group_slot(first));
#pragma unroll
    for (int b = 0; b < kJobBlocks; ++b) {
      const int block = first + b, tile = block / Fragments::kBlocks;
      const int word = block % Fragments::kBlocks * Fragments::kBlockWords;
      u32 low[4], high[4];
      Codes::unpack(words[r][0][tile] + word, zero[r][0], low);
      Codes::unpack(words[r][1][tile] + word, zero[r][1], high);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        u32(&to)[4] = a[set][b * 2 + i];
        to[0] = low[2 * i], to[1] = high[2 * i], to[2] = low[2 * i + 1], to[3] = high[2 * i + 1];
      }
    }
  }
};

// A stage as a warp of products sees it.
template <int GroupBlocks>
struct QuantizedWgmmaStep {
  const char *stage, *scales, *zeros;
  BlockGroups group_of;
  u32 block, last_block;  // of 32 columns: the stage's first, and the last that there is

  // Number of the group of block b of the stage, among those of the stage.
  KERNEL_FN u32 group_slot(int b) const {
    return group_of.of(block + b < last_block ? block + b : last_block) - group_of.of(block);
  }
};

template <typename Code, typename S, typename A, typename KV, int Rows64, int N, int GroupBlocks, int Stages,
          Epilogue Kind, int Splits, typename Args>
KERNEL_FN void quantized_wgmma_tile(const Args& all, Tile grid_tile, char* shared) {
  using Sums = QuantizedWgmmaSums<Code, S, A, Rows64, N, GroupBlocks, Kind>;
  using Stage = typename Sums::Stage;
  using Shared = QuantizedWgmmaShared<Stage, N, Stages>;
  using Finish = ClusterFinish<Stage::kUnits, N, Splits, Kind, Args, kQuantizedConsumers, kQuantizedFirstConsumer, 12>;
  static_assert(sizeof(S) == 2 && sizeof(A) == 2, "16-bit scales and operands");
  // Those that a warpgroup takes must be given up by others, or it waits for ever: 384 threads start with 168 each.
  constexpr int kProducerRegisters = 56, kConsumerRegisters = 224, kStartRegisters = 168;
  static_assert(kProducerRegisters + 2 * kConsumerRegisters <= 3 * kStartRegisters, "see above");
  static_assert(Finish::kPartialBytes <= Shared::kScales, "sums take the place of the ring");
  constexpr int kConsumerWarps = kQuantizedConsumers / kWarp, kReorderWarps = 2;
  const QuantizedWgmmaTile<Stage, Kind, Splits, Args> tile(all, grid_tile);
  const FusedLinearArgs& args = tile.args;
  const QuantizedGroups& groups = all.groups;
  const u32 ring = shared_address(shared), full = ring + Shared::kBarriers, empty = full + Stages * 8,
            landed = empty + Stages * 8;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(full + s * 8, 1 + kReorderWarps * kWarpArrivals + kWarp);
      mbarrier_init(empty + s * 8, kConsumerWarps * kWarpArrivals);
      mbarrier_init(landed + s * 8, 1);
    }
    fence_barrier_init();
    tensor_map_acquire(args.x_map);
    tensor_map_acquire(args.w_map);
    tensor_map_prefetch(args.x_map);
    tensor_map_prefetch(args.w_map);
  }
  __syncthreads();
  const u32 steps = tile.end - tile.begin, ahead = steps < Stages ? steps : Stages;

  if (warp < 4) {
    registers_shrink<kProducerRegisters>();
    if (threadIdx.x == 0) {
      const auto copy_codes = [&](u32 step) {
        const u32 stage = step % Stages, bar = full + stage * 8;
        mbarrier_expect_tx(bar, Stage::kCodeBytes);
#pragma unroll
        for (int panel = 0; panel < Stage::kCodePanels; ++panel) {
#pragma unroll
          for (int box = 0; box < Stage::kEights / Stage::kBoxEights; ++box)
            tensor_copy(
                ring + stage * Stage::kBytes + panel * Stage::kPanelBytes + box * Stage::kBoxEights * Stage::kRowBytes,
                args.w_map, ((tile.begin + step) * Stage::kCodePanels + panel) * (Stage::kRowBytes / 2),
                tile.first_eight(box), bar, kCacheFirstOut);
        }
      };
      for (u32 step = 0; step < ahead; ++step) copy_codes(step);
      dependency_wait();
      dependency_trigger();
      for (u32 step = 0; step < steps; ++step) {
        const u32 stage = step % Stages, bar = landed + stage * 8;
        if (step >= Stages) {
          mbarrier_wait(empty + stage * 8, (step / Stages - 1) & 1);
          copy_codes(step);
        }
        mbarrier_expect_tx(bar, Stage::kTokenBytes);
#pragma unroll
        for (int panel = 0; panel < Stage::kTokenPanels; ++panel)
          tensor_copy(ring + stage * Stage::kBytes + Stage::kCodeBytes + panel * Stage::kTokenPanelBytes, args.x_map,
                      ((tile.begin + step) * Stage::kTokenPanels + panel) * (Stage::kRowBytes / 2),
                      static_cast<u32>(tile.row0), bar, kCacheNormal);
      }
    } else if (warp == 1 || warp == 2) {
      for (u32 step = 0; step < steps; ++step) {
        const u32 stage = step % Stages;
        mbarrier_wait(landed + stage * 8, step / Stages & 1);
        reorder_tokens<N, Stage::kTokenPanels>(shared + stage * Stage::kBytes + Stage::kCodeBytes, warp - 1);
        fence_shared_async();  // wgmma reads what this warp wrote
        mbarrier_arrive_warp(full + stage * 8);
      }
    } else if (warp == 3) {
      const BlockGroups group_of(groups.group);
      const u32 blocks = static_cast<u32>(args.k / 32),
                row_groups = static_cast<u32>((args.k + groups.group - 1) / groups.group);
      for (u32 step = 0; step < steps; ++step) {
        const u32 stage = step % Stages, block = (tile.begin + step) * kQuantizedStageBlocks;
        const u32 last = block + kQuantizedStageBlocks <= blocks ? block + kQuantizedStageBlocks - 1 : blocks - 1;
        const u32 first = group_of.of(block), count = group_of.of(last) - first + 1;
        if (step >= Stages) mbarrier_wait(empty + stage * 8, (step / Stages - 1) & 1);
#pragma unroll
        for (int e = lane; e < Stage::kEights; e += kWarp) {
          const bool valid = tile.has_eight(e);
          const i64 at = valid ? (static_cast<i64>(tile.eight(e)) * row_groups + first) * kFragmentRows : 0;
          const u32 to = stage * Stage::kMaxGroups * Stage::kEights + e;
          for (u32 i = 0; i < count; ++i) {
            copy_async16(ring + Shared::kScales + (to + i * Stage::kEights) * 16,
                         static_cast<const S*>(groups.scales) + at + (valid ? i * kFragmentRows : 0), valid);
            if (groups.zeros && valid)
              copy_async8(ring + Shared::kZeros + (to + i * Stage::kEights) * 8, groups.zeros + at + i * kFragmentRows);
          }
        }
        copy_async_arrive(full + stage * 8);
      }
      copy_async_wait_all();
    }
    if constexpr (Splits > 1) {
      cluster_sync();  // the sums of all blocks stand in their shared memory
      cluster_sync();  // and are read
    }
  } else {
    registers_grow<kConsumerRegisters>();
    dependency_wait();
    Finish finish(all, tile.number, tile.rank, tile.row0, shared + Shared::kFinish);
    finish.template prepare<kQuantizedConsumers, kQuantizedFirstConsumer, 1>();
    Sums sums(tile);
    const BlockGroups group_of(groups.group);
    const auto landed_step = [&](u32 step) {
      const u32 stage = step % Stages;
      mbarrier_wait(full + stage * 8, step / Stages & 1);
      return QuantizedWgmmaStep<GroupBlocks>{shared + stage * Stage::kBytes,
                                             shared + Shared::kScales + stage * Stage::kScaleBytes,
                                             shared + Shared::kZeros + stage * Stage::kZeroBytes,
                                             group_of,
                                             (tile.begin + step) * kQuantizedStageBlocks,
                                             static_cast<u32>(args.k / 32) - 1};
    };
    if (steps > 0) sums.begin(landed_step(0));
    for (u32 step = 0; step < steps; ++step) {
      // Behind the last stage it is begun again, for nothing: a branch would be in the way of the products.
      sums.multiply(landed_step(step), [&] { return landed_step(step + 1 < steps ? step + 1 : step); });
      mbarrier_arrive_warp(empty + step % Stages * 8);
    }
    named_barrier_sync(1, kQuantizedConsumers);  // the ring is read
#pragma unroll
    for (int r = 0; r < Rows64; ++r) finish.leave(shared, sums.sum[r], Sums::unit(r) * 16, Sums::unit(r) * 16 + 8);
    const auto inputs = finish.template load_inputs<A>(0);
    if constexpr (Splits > 1) {
      cluster_sync();
    } else {
      named_barrier_sync(1, kQuantizedConsumers);
    }
    finish.template store<A, KV>(shared, inputs);
  }
}

template <typename Code, typename S, typename A, int Rows64, int N, int GroupBlocks, int Stages, Epilogue Kind,
          int Splits>
KERNEL_FN void linear_quantized_wgmma(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  quantized_wgmma_tile<Code, S, A, float, Rows64, N, GroupBlocks, Stages, Kind, Splits>(args, tile, shared);
}

// RoPE over whole heads of HeadDim.
template <typename Code, typename S, typename A, typename KV, int HeadDim, int Rows64, int N, int GroupBlocks,
          int Stages, int Splits>
KERNEL_FN void linear_quantized_wgmma_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  static_assert(128 * Rows64 % HeadDim == 0, "a tile of whole heads");
  quantized_wgmma_tile<Code, S, A, KV, Rows64, N, GroupBlocks, Stages, Epilogue::kRope, Splits>(args, tile, shared);
}
