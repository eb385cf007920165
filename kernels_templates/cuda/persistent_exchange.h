// A whole decode step of one or two tokens as one kernel, a block per SM: persistent.h, in which the blocks do not wait for each other between
// phases. What a phase writes for the next one leaves through an exchange (exchange.h) as well, and each warp takes what it needs of it
// as soon as it is there: no fence, no counter, and no second trip to memory. Where a phase needs memory (embeddings, norms that
// stand alone, the head), the blocks wait as there.
//
// The tokens of a linear phase stay in shared memory for as long as it runs, where each of the eight warps keeps the columns that it multiplies.
#pragma once

#include "cuda/persistent.h"

// The sums of `Units` * 16 weight rows and two tokens, from stages that hold weights alone.
template <int Units>
struct ExchangeTile : StreamOutputs<Units, kExchangeRows> {
  using Outputs = StreamOutputs<Units, kExchangeRows>;
  using Outputs::kPartial, Outputs::kPartialStride, Outputs::kUnit;
  static constexpr int kWeightBytes = 2 * Units * kBoxBytes, kStageBytes = kWeightBytes;

  float sum[Units][4];

  KERNEL_FN void clear() {
#pragma unroll
    for (int u = 0; u < Units; ++u)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[u][j] = 0.0f;
  }

  // Adds the products of a stage, and arrives at `empty` when it is read. `token`: this lane's eight values of the chunk; `step`: bytes from them to
  // those of the next place of the stage, 0 where that holds another unit. Lanes of tokens that do not exist give sums that nobody reads.
  template <typename W>
  KERNEL_FN void multiply(const char* stage, u32 weight_offset, const char* token, u32 step, u32 empty) {
    uint4 weight[2 * Units], x[Units];
#pragma unroll
    for (int i = 0; i < 2 * Units; ++i) weight[i] = *reinterpret_cast<const uint4*>(stage + i * kBoxBytes + weight_offset);
#pragma unroll
    for (int u = 0; u < Units; ++u) x[u] = *reinterpret_cast<const uint4*>(token + u * step);
    mbarrier_arrive_warp(empty);
#pragma unroll
    for (int u = 0; u < Units; ++u) {
      const uint4 low = weight[2 * u], high = weight[2 * u + 1];
      mma_16816<W>(sum[u], low.x, high.x, low.y, high.y, x[u].x, x[u].y);
      mma_16816<W>(sum[u], low.z, high.z, low.w, high.w, x[u].z, x[u].w);
    }
  }

  // One unit, whose columns the places of a stage have shared.
  KERNEL_FN void join_places() {
#pragma unroll
    for (int u = 1; u < Units; ++u)
#pragma unroll
      for (int j = 0; j < 4; ++j) sum[0][j] += sum[u][j];
  }

  // This warp's sums to shared memory: lanes with t = 0 have those of tokens 0 and 1.
  KERNEL_FN void leave_sums(float* partial) const {
    const int lane = threadIdx.x % kWarp, g = lane / 4;
    if (lane % 4 != 0) return;
    float* mine = partial + Outputs::k_warp() * kPartial;
#pragma unroll
    for (int u = 0; u < Units; ++u)
#pragma unroll
      for (int j = 0; j < 4; ++j) mine[j % 2 * kPartialStride + u * kUnit + g + j / 2 * 8] = sum[u][j];
  }
};

// `OperandBytes`: for the tokens of the widest layer, and at other times for attention.
template <int HeadDim, int Units, int Stages, int InFlight, int OperandBytes>
struct ExchangeShared {
  using Stream = ExchangeTile<Units>;
  using Position = RingPosition<Stages>;
  static constexpr int kStages = Stages, kInFlight = InFlight, kAttentionRingStages = 0;
  static constexpr bool kExchange = true;
  static constexpr int kChunksOfOne = Units;
  static constexpr int kAttentionBytes = 256 * (kPersistentAttentionStages * 128 / HeadDim) * (HeadDim + 8);
  static constexpr int kOperandsAt = Stages * Stream::kStageBytes;
  static constexpr int kScratchAt = kOperandsAt + OperandBytes;
  static constexpr int kPhasesAt = kScratchAt + (Stream::kPartialBytes + 127) / 128 * 128;
  static constexpr int kLinksAt = kPhasesAt + kPhaseCopies * static_cast<int>(sizeof(Phase));
  static constexpr int kPurposesAt = kLinksAt + kPhaseCopies * static_cast<int>(sizeof(PhaseLinks));
  static constexpr int kScaleAt = kPurposesAt + Stages * static_cast<int>(sizeof(StagePurpose));
  static constexpr int kPlacesAt = kScaleAt + Stream::kTokens * 4;
  static constexpr int kBarriersAt = kPlacesAt + Stream::kTokens * static_cast<int>(sizeof(KvPlace)) + 16;
  static constexpr int kBytes = kBarriersAt + (3 * Stages + 2) * 8;
  static_assert(kBytes <= 232448 && kPhaseCopies > Stages + 2 && kAttentionBytes <= OperandBytes && InFlight <= Stages && kBarriersAt % 8 == 0);

  char* ring;
  char* operands;            // [tokens][chunks of 256 columns], rows 64 bytes apart from a multiple of 128
  char* scratch;             // of bodies; attention takes that of operands
  Phase* phases;             // [kPhaseCopies]: phase p is at p % kPhaseCopies
  PhaseLinks* links;         // the same
  StagePurpose* purposes;    // [Stages]
  float* scale;              // [tokens]
  KvPlace* places;           // [tokens]
  const i32** places_table;  // the block table that they are from
  u32* has_units;            // whether this block has units of the phase
  u32 ring_address;
  u32 claimed, weights, empty;  // mbarriers a stage: its purpose is known; its weights are there; it is read
  u32 open, scaled;             // mbarriers of phases: it has begun; its row scales are there

  KERNEL_FN explicit ExchangeShared(char* shared)
      : ring(shared),
        operands(shared + kOperandsAt),
        scratch(shared + kScratchAt),
        phases(reinterpret_cast<Phase*>(shared + kPhasesAt)),
        links(reinterpret_cast<PhaseLinks*>(shared + kLinksAt)),
        purposes(reinterpret_cast<StagePurpose*>(shared + kPurposesAt)),
        scale(reinterpret_cast<float*>(shared + kScaleAt)),
        places(reinterpret_cast<KvPlace*>(shared + kPlacesAt)),
        places_table(reinterpret_cast<const i32**>(shared + kBarriersAt - 16)),
        has_units(reinterpret_cast<u32*>(shared + kBarriersAt - 8)),
        ring_address(shared_address(shared)),
        claimed(ring_address + kBarriersAt),
        weights(claimed + Stages * 8),
        empty(weights + Stages * 8),
        open(empty + Stages * 8),
        scaled(open + 8) {}

  KERNEL_FN void initialize() const {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(claimed + s * 8, 1);
      mbarrier_init(weights + s * 8, 1);
      mbarrier_init(empty + s * 8, kStreamWarps * kWarpArrivals);
    }
    mbarrier_init(open, kStreamWarps * kWarpArrivals);
    mbarrier_init(scaled, kWarpArrivals);
    *places_table = nullptr;
    fence_barrier_init();
  }
  KERNEL_FN void wait_for(Position at) const { mbarrier_wait(weights + at.stage * 8, at.parity); }
  KERNEL_FN const Phase& phase(i32 p) const { return phases[p % kPhaseCopies]; }
  KERNEL_FN PhaseLinks link(i32 p) const { return links[p % kPhaseCopies]; }
};

// A warp waits until all blocks have finished the phase before p.
KERNEL_FN void wait_for_blocks(const PersistentArgs& args, i32 p, Tile block) {
  if (threadIdx.x % kWarp == 0) grid_wait(args.sync + p - 1, block.nx);
  __syncwarp();
}

// --- Linear phases

// Bytes from one token's operands to the next one's: in other banks.
KERNEL_FN int operand_stride(i64 k) { return static_cast<int>((k + kStreamDepth - 1) / kStreamDepth) * kBoxRowBytes + 64; }

// This warp's columns of all tokens, 32 of every 256: from the words of the exchange, two values each, or from memory (tag 0).
template <typename A>
KERNEL_CALL void gather_operands(const FusedLinearArgs& linear, const u64* words, u32 tag, int tokens, char* operands) {
  // A lane has four columns of every fourth chunk: a place. Runs of four places of a token, four runs at once.
  constexpr int kPlaceColumns = 4, kChunksAtOnce = 4, kRun = 4, kRuns = 4;
  constexpr int kColumnStep = kChunksAtOnce * kStreamDepth, kRunColumns = kRun * kColumnStep;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int k = static_cast<int>(linear.k), padded = (k + kStreamDepth - 1) / kStreamDepth * kStreamDepth, stride = operand_stride(k);
  const int column = lane / 8 * kStreamDepth + warp * 32 + lane % 8 * kPlaceColumns;  // of the lane's first place
  const int runs = (padded + kRunColumns - 1) / kRunColumns;
  if (tag && tokens > 0) exchange_await(words + (static_cast<i64>(tokens - 1) * k + min_of(warp * 32, k - 2)) / 2, tag);
#pragma unroll 1
  for (int first = 0; first < tokens * runs; first += kRuns) {
    int token[kRuns], from[kRuns];  // of each run: its token, and the column of its first place
    u32 wanted = 0;
#pragma unroll
    for (int r = 0; r < kRuns; ++r) {
      token[r] = first + r >= runs ? 1 : 0;
      from[r] = (first + r - token[r] * runs) * kRunColumns + column;
      const int places = min_of((k - from[r] + kColumnStep - 1) / kColumnStep, kRun);
      if (token[r] < tokens) wanted |= lowest_bits(places) << r * kRun;
    }
    static_assert(kExchangeRows == 2, "a token, or the other");
    u64 arrived[kRuns * kRun][2];
    const auto index = [&](int i) { return static_cast<i64>(token[i / kRun]) * k + from[i / kRun] + i % kRun * kColumnStep; };
    if (tag) {
      exchange_receive<2>(arrived, tag, wanted, [&](int i) { return words + index(i) / 2; });
    } else {
#pragma unroll
      for (int i = 0; i < kRuns * kRun; ++i) {
        const uint2 pairs = wanted >> i & 1 ? *reinterpret_cast<const uint2*>(static_cast<const A*>(linear.x) + index(i)) : uint2{0, 0};
        arrived[i][0] = pairs.x, arrived[i][1] = pairs.y;
      }
    }
#pragma unroll
    for (int i = 0; i < kRuns * kRun; ++i) {
      const int at = from[i / kRun] + i % kRun * kColumnStep;
      // Zeros up to the end of a chunk: weights beyond K are zero, too, but what was here before may be no number.
      if (token[i / kRun] < tokens && at < padded)
        *reinterpret_cast<uint2*>(operands + token[i / kRun] * stride + at * 2) = uint2{exchange_bits(arrived[i][0]), exchange_bits(arrived[i][1])};
    }
  }
  __syncwarp();
}

KERNEL_FN ExchangePart part_of_input(const Phase& before) {
  return before.body == kPhaseAttention ? kExchangeAttended : before.body == kPhaseLinearGlu ? kExchangeGated : kExchangeScaled;
}

// The units of a linear phase that this block takes, up to the stage that ends it.
template <typename W, typename A, typename KV, Epilogue Kind, typename Args, typename Shared>
KERNEL_FN void exchange_linear(const PersistentArgs& persistent, const Args& args, const Shared& shared, const StepRows& step_rows, i32 p,
                               const ExchangeSink& sink, typename Shared::Position& at) {
  using Stream = typename Shared::Stream;
  constexpr int kThreads = kStreamWarps * kWarp;
  if (!shared.purposes[at.stage].has_units()) return;
  const FusedLinearArgs& linear = linear_of(args);
  const int rows = step_rows.of(linear.row_count);
  const PhaseLinks links = shared.link(p);
  if constexpr (Kind == Epilogue::kRope) find_places(args, shared, rows);
  gather_operands<A>(linear, p > 0 ? persistent.exchange[part_of_input(shared.phase(p - 1))] : nullptr, links.input, rows, shared.operands);

  const u32 lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, row = lane / 4, weight_offset = box_offset();
  const char* token = shared.operands + (row < static_cast<u32>(rows) ? row : 0) * operand_stride(linear.k) + warp * 64 + lane % 4 * 16;
  float* partial = reinterpret_cast<float*>(shared.scratch);
  static_assert(Stream::kJobs == 1, "a job a half warp");
  Stream sums;
  while (true) {
    shared.wait_for(at);
    const StagePurpose tile = shared.purposes[at.stage];
    if (!tile.has_units()) break;
    const typename Stream::Job job(0, rows, tile.first, tile.end);
    auto inputs = load_unit<W, Kind>(args, job.token, job.unit, job.exists, job.lane);
    const i64 residual_at = job.token * linear.n + unit_column<Kind>(job.unit, job.lane);
    const bool takes_residual = Kind == Epilogue::kAdd && links.residual && job.exists && column_exists<Kind>(linear, unit_column<Kind>(job.unit, job.lane));
    u64 residual[1][1] = {};
    if (Kind == Epilogue::kAdd) exchange_load(persistent.exchange[kExchangeResidual] + residual_at, takes_residual, residual[0]);
    sums.clear();
    while (true) {
      const StagePurpose stage = shared.purposes[at.stage];
      sums.template multiply<W>(shared.ring + at.stage * Stream::kStageBytes, weight_offset, token + stage.chunk * kBoxRowBytes,
                                stage.chunks > 1 ? kBoxRowBytes : 0, shared.empty + at.stage * 8);
      at.advance();
      if (stage.is_last) break;
      shared.wait_for(at);
    }
    if (tile.chunks > 1) sums.join_places();
    sums.leave_sums(partial);
    if (takes_residual) {  // written two phases ago: it is there
      if (exchange_tag(residual[0][0]) != links.residual)
        exchange_receive<1>(residual, links.residual, 1, [&](int) { return persistent.exchange[kExchangeResidual] + residual_at; });
      inputs.residual = exchange_float(residual[0][0]);
    }
    body_sync(kThreads);
    mbarrier_wait(shared.scaled, p & 1);
    finish_unit<W, A, KV, Kind>(args, inputs, Stream::total_of(job, partial) * shared.scale[job.exists ? job.token : 0], job.token, job.unit, job.exists, job.lane,
                                shared.places, sink);
    body_sync(kThreads);
  }
}

// 1 / sqrt(mean square + eps) of a token, of the squares in the exchange, added up as row_scale_of does it.
KERNEL_FN float exchanged_row_scale(const u64* squares, u32 tag, const FusedLinearArgs& linear, int token) {
  constexpr int kAhead = 8;
  const i64 parts = linear.square_parts;
  float sum = 0.0f;
  exchange_await(squares + token * parts, tag);
  for (i64 first = threadIdx.x % kWarp; first < parts; first += kAhead * kWarp) {
    u64 words[kAhead][1];  // 0 where there are no more
    const int left = static_cast<int>(min_of((parts - first + kWarp - 1) / kWarp, i64{kAhead}));
    exchange_receive<1>(words, tag, lowest_bits(left), [&](int i) { return squares + token * parts + first + i * kWarp; });
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sum += exchange_float(words[i][0]);
  }
  __syncwarp();
  return inverse_rms(warp_sum(sum), linear.k, linear.eps);
}

template <typename Shared>
KERNEL_FN void exchange_scale(const PersistentArgs& args, const Shared& shared, const StepRows& rows, Tile block) {
  const i32 count = static_cast<i32>(args.count);
  const int lane = threadIdx.x % kWarp;
  for (i32 p = 0; p < count; ++p) {
    mbarrier_wait(shared.open, p & 1);
    const Phase& phase = shared.phase(p);
    if (is_linear(phase) && *shared.has_units) {
      const FusedLinearArgs& linear = linear_args(phase);
      const PhaseLinks links = shared.link(p);
      if (links.waits) wait_for_blocks(args, p, block);
#pragma unroll 1
      for (int t = 0; t < rows.of(linear.row_count); ++t) {
        const float scale = links.input && linear.squares ? exchanged_row_scale(args.exchange[kExchangeSquares], links.input, linear, t)
                                                          : row_scale_of(linear, t, lane);
        if (lane == 0) shared.scale[t] = scale;
      }
    }
    mbarrier_arrive_warp(shared.scaled);
  }
}

// --- Attention

struct ExchangeLink {
  static constexpr bool kEarly = false, kExchange = true;
  const PersistentArgs& args;
  Tile block;
  i32 phase;
  u32 from;    // tag of the phase that wrote q and the entries of this step; 0: they are in memory when all blocks have finished it
  ExchangeSink sink;

  KERNEL_FN bool brings_entries() const { return from != 0; }
  KERNEL_FN void wait() const {
    if (!from) wait_for_blocks(args, phase, block);
  }

  // The fragments of the queries of `heads` heads, whose values begin at `first`.
  template <int HeadDim, int Steps>
  KERNEL_FN void receive_queries(i64 first, int heads, u32 (&q)[Steps][4]) const {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int h = lane / 4 + half * 8;
      const u64* words = args.exchange[kExchangeQueries] + (first + static_cast<i64>(h) * HeadDim) / 2 + lane % 4;
      u64 arrived[2 * Steps][1] = {};
      if (half * 8 < heads) exchange_receive<1>(arrived, from, h < heads ? ~0u >> (32 - 2 * Steps) : 0, [&](int i) { return words + i * 4; });
#pragma unroll
      for (int i = 0; i < 2 * Steps; ++i) q[i / 2][i % 2 * 2 + half] = exchange_bits(arrived[i][0]);
    }
    __syncwarp();
  }
  // The key and the value of an entry to shared memory; the value stands `to_value` values behind.
  template <int HeadDim>
  KERNEL_FN void receive_entry(i64 key_at, i64 to_value, char* key, char* value) const {
    for (int place = threadIdx.x % kWarp; place < HeadDim / 4; place += kWarp) {
      u64 words[2][2];
      exchange_receive<2>(words, from, 3, [&](int i) { return args.exchange[kExchangeEntries] + (key_at + i * to_value) / 2 + place * 2; });
      *reinterpret_cast<uint2*>(key + place * 8) = uint2{exchange_bits(words[0][0]), exchange_bits(words[0][1])};
      *reinterpret_cast<uint2*>(value + place * 8) = uint2{exchange_bits(words[1][0]), exchange_bits(words[1][1])};
    }
  }

  // merge_warps, and merge_splits shared out: split z merges the heads z, z + splits, ... when it finds all partial results of them.
  template <typename A, int HeadDim, int HeadChunk>
  KERNEL_FN void merge(const AttentionArgs& attention, Tile tile, const float* partial, i64 head0, int heads, int splits, int most_splits) const {
    constexpr int kWarps = 4, kStride = HeadDim + 2, kPairs = HeadDim / 2, kAhead = 10;
    const i64 first_head = static_cast<i64>(tile.y) * attention.heads + head0;
    const auto deliver = [&](int h, int d, float low, float high) {
      const i64 at = (first_head + h) * HeadDim + d;
      const u32 bits = pack2<A>(low, high);
      sink.pair(kExchangeAttended, at, true, bits);
      *reinterpret_cast<u32*>(static_cast<A*>(attention.out) + at) = bits;
    };
    for (int i = threadIdx.x; i < heads * kPairs; i += kWarps * kWarp) {
      const int h = i / kPairs, d = i % kPairs * 2;
      float top = -kInfinity;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) top = fmaxf(top, partial[(w * HeadChunk + h) * kStride + HeadDim]);
      const float reference = top == -kInfinity ? 0.0f : top;
      float total = 0.0f, low = 0.0f, high = 0.0f;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float* row = partial + (w * HeadChunk + h) * kStride;
        const float weight = exp2_fast(row[HeadDim] - reference);
        total = fmaf(weight, row[HeadDim + 1], total);
        low = fmaf(weight, row[d], low);
        high = fmaf(weight, row[d + 1], high);
      }
      if (splits == 1) {
        deliver(h, d, low / total, high / total);
        continue;
      }
      const i64 at = ((first_head + h) * most_splits + tile.z) * kStride;
      sink.value(kExchangePartials, at + d, low);
      sink.value(kExchangePartials, at + d + 1, high);
      if (d == 0) {
        sink.value(kExchangePartials, at + HeadDim, top);
        sink.value(kExchangePartials, at + HeadDim + 1, total);
      }
    }
    const int z = static_cast<int>(tile.z);
    if (splits == 1 || z >= heads) return;
    const int mine = (heads - z + splits - 1) / splits;
    for (int i = threadIdx.x; i < mine * kPairs; i += kWarps * kWarp) {
      const int h = z + i / kPairs * splits, d = i % kPairs * 2;
      const u64* words = args.exchange[kExchangePartials] + (first_head + h) * most_splits * kStride;
      float top = -kInfinity, total = 0.0f, low = 0.0f, high = 0.0f;
      for (int first = 0; first < splits; first += kAhead) {
        u64 arrived[2 * kAhead][2];  // of a split: maximum and sum, and this thread's pair
        exchange_receive<2>(arrived, sink.tag, lowest_bits(2 * min_of(splits - first, kAhead)),
                            [&](int s) { return words + (first + s / 2) * kStride + (s % 2 ? d : HeadDim); });
        float new_top = top;
#pragma unroll
        for (int s = 0; s < kAhead; ++s)
          if (first + s < splits) new_top = fmaxf(new_top, exchange_float(arrived[2 * s][0]));
        const float rescale = exp2_fast(top - new_top);  // every split has an entry: finite
        top = new_top, total *= rescale, low *= rescale, high *= rescale;
#pragma unroll
        for (int s = 0; s < kAhead; ++s) {
          if (first + s >= splits) continue;
          const float share = exp2_fast(exchange_float(arrived[2 * s][0]) - top);
          total = fmaf(share, exchange_float(arrived[2 * s][1]), total);
          low = fmaf(share, exchange_float(arrived[2 * s + 1][0]), low);
          high = fmaf(share, exchange_float(arrived[2 * s + 1][1]), high);
        }
      }
      deliver(h, d, low / total, high / total);
    }
  }
};

template <typename A, typename KV, int HeadDim>
KERNEL_FN void exchange_attention(const Phase& phase, const ExchangeLink& link, char* shared) {
  constexpr int kThreads = 128;
  if (threadIdx.x >= kThreads) return;
  constexpr int kMinEntries = 64;  // of a split: a run a warp, all of them on their way before the queries are there
  const DecodeTiles tiles(phase, min_of(static_cast<int>(link.block.nx), static_cast<int>(kExchangeBlocks)));
  for_each_tile(link.block, tiles.nx, tiles.ny, tiles.splits, kThreads, [&](Tile t) {
    attention_decode_mma_after<A, KV, HeadDim, kPersistentAttentionStages>(phase_args<AttentionArgs>(phase), t, shared,
                                                                           static_cast<int>(tiles.splits), kMinEntries, link);
  });
}

template <Epilogue Kind>
struct OfKind {
  static constexpr Epilogue kKind = Kind;
};

// 384 threads; ExchangeShared::kBytes of shared memory. Warps 0-7 run the bodies.
template <typename W, typename A, typename KV, int HeadDim, int Units, int Stages, int InFlight, int OperandBytes>
KERNEL_FN void persistent_exchange(const PersistentArgs& args, Tile tile, char* memory) {
  using Shared = ExchangeShared<HeadDim, Units, Stages, InFlight, OperandBytes>;
  constexpr int kThreads = kStreamWarps * kWarp;
  const Shared shared(memory);
  const int warp = threadIdx.x / kWarp;
  if (threadIdx.x == 0) shared.initialize();
  __syncthreads();
  dependency_wait();
  dependency_trigger();
  const StepRows rows(*args.counts);
  if (warp >= kStreamWarps) {
    registers_shrink<88>();
    switch (warp - kStreamWarps) {
      case 0:
        return persistent_plan<Units>(args, shared, rows, tile);
      case 1:
        return persistent_fetch_weights<Units>(args, shared);
      case 2:
        return exchange_scale(args, shared, rows, tile);
      default:
        return;
    }
  }
  registers_grow<208>();
  const i32 count = static_cast<i32>(args.count);
  const u32 first_tag = exchange_first_tag(args);
  typename Shared::Position at;
  for (i32 p = 0; p < count; ++p) {
    mbarrier_wait(shared.claimed + at.stage * 8, at.parity);  // the phase's arguments are here
    const Phase& phase = shared.phase(p);
    const PhaseLinks links = shared.link(p);
    const ExchangeSink sink{args.exchange, LinkFinder::tag_of(first_tag, p)};
    if (threadIdx.x == 0) *shared.has_units = shared.purposes[at.stage].has_units();
    mbarrier_arrive_warp(shared.open);
    if (links.waits && phase.body != kPhaseAttention) wait_for_blocks(args, p, tile);
    if (threadIdx.x == 0 && tile.x == 0) args.times[p] = device_time();
    const auto linear = [&](auto kind, const auto& all) {
      exchange_linear<W, A, KV, decltype(kind)::kKind>(args, all, shared, rows, p, sink, at);
    };
    switch (phase.body) {
      case kPhaseAttention:
        exchange_attention<A, KV, HeadDim>(phase, ExchangeLink{args, tile, p, links.input, sink}, shared.operands);
        break;
      case kPhaseLinear:
        linear(OfKind<Epilogue::kPlain>(), linear_args(phase));
        break;
      case kPhaseLinearGlu:
        linear(OfKind<Epilogue::kGlu>(), linear_args(phase));
        break;
      case kPhaseLinearAdd:
        linear(OfKind<Epilogue::kAdd>(), linear_args(phase));
        break;
      case kPhaseLinearRope:
        linear(OfKind<Epilogue::kRope>(), phase_args<LinearRopeArgs>(phase));
        break;
      default:
        persistent_rows<W, A, KV>(phase, tile, shared.scratch);
    }
    mbarrier_wait(shared.scaled, p & 1);
    shared.wait_for(at);              // no other role has to do with this stage any more
    named_barrier_sync(2, kThreads);  // this block has finished the phase
    if (threadIdx.x == 0 && links.arrives) grid_arrive(args.sync + p);
    mbarrier_arrive_warp(shared.empty + at.stage * 8);  // of the stage that ends it, and says where its arguments are
    at.advance();
  }
  // The last block to end leaves everything as the next step wants it.
  u32* is_last = shared.has_units;
  if (threadIdx.x == 0) *is_last = atomicAdd(args.sync + 2 * count, 1u) + 1 == tile.nx;
  named_barrier_sync(2, kThreads);
  if (!*is_last) return;
  for (i32 i = threadIdx.x; i <= 2 * count; i += kThreads) args.sync[i] = 0;
  if (threadIdx.x != 0) return;
  *reinterpret_cast<u32*>(args.exchange[kExchangeSteps]) = first_tag + static_cast<u32>(count);
  args.times[count] = device_time();
}
