// Linear layers for few tokens, bound by reading the weights once: sm_90, 16-bit types. See FusedLinearArgs.
#pragma once

#include "cuda/hopper.h"
#include "cuda/linear_epilogue.h"

// One block per SM streams its share of the weight rows through a ring of asynchronous copies that never runs dry: it
// is filled before the wait for the launch before, and goes on filling while a tile's sums leave. The next launch is
// triggered with the last copies, so that its ring fills in the gap. Warps 0-7 share each stage's K; behind them 2 *
// Units warps fill, and the last one computes the row scales. The weight is the 16-row operand of mma m16n8k16 and the
// tokens are its 8 columns; as weights and tokens use the same order of k, 16 bytes of a row are the fragments of two
// products. Sums of the eight warps are added in warp order. Tile: y = 8 * TokenTiles rows, x of nx = a share of the
// columns. 288 + 64 * Units threads; Stages * (16 * Units + 8 * TokenTiles) * 576 + 256 * TokenTiles * (16 * Units + 1)
// + 32 * TokenTiles + 16 * Stages + 8 bytes of shared memory. K is a multiple of 8.
constexpr int kStreamDepth = 256, kStreamRowBytes = kStreamDepth * 2 + 64, kStreamWarps = 8;

// A tile of `Units` * 16 weight rows and `Tokens` tokens. `KWarps` of the warps share a stage's K; where these are not
// all of them, the others have other units.
template <int Units, int Tokens, int KWarps = kStreamWarps>
struct StreamOutputs {
  static constexpr int kUnits = Units, kUnit = 16, kRows = Units * kUnit, kTokens = Tokens;
  static constexpr int kWarpUnits = Units * KWarps / kStreamWarps;
  static constexpr int kPartialStride = kRows + 1, kPartial = kTokens * kPartialStride;
  static constexpr int kPartialBytes = KWarps * kPartial * 4;  // [warp, token, row]
  static constexpr int kPartials = 1;                          // of them; two spare a barrier
  static constexpr int kFillers = 2 * Units;                   // warps that fill a stage
  static constexpr int kWorkspaceBytes = 0;                    // shared memory of its own
  KERNEL_FN static void drain() {}                             // waits for copies of its own
  template <typename Args>
  KERNEL_FN static u32 fill_arrivals(const Args&) {  // of a filling warp at a stage's barrier
    return kWarp;
  }
  static_assert(kWarpUnits * kStreamWarps == Units * KWarps, "whole units");

  KERNEL_FN static int k_warp() { return threadIdx.x / kWarp % KWarps; }
  KERNEL_FN static int first_unit() { return threadIdx.x / kWarp / KWarps * kWarpUnits; }

  // A half warp finishes one unit of one token, a lane one row of it: the jobs of this half warp.
  static constexpr int kHalves = 2 * kStreamWarps, kJobs = (kTokens * Units + kHalves - 1) / kHalves;
  struct Job {
    int token, u, lane;
    i64 unit;
    bool exists;

    KERNEL_FN Job(int number, i64 rows, i64 first, i64 end) : lane(threadIdx.x % kUnit) {
      const int job = number * kHalves + static_cast<int>(threadIdx.x) / kUnit;
      token = job / Units, u = job % Units, unit = first + u;
      exists = token < rows && token < kTokens && unit < end;
    }
  };
  template <typename W>
  struct Inputs {
    UnitInputs<W> of_job[kJobs];
  };

  // What finish() needs for the units `first` .. `end` - 1 of the tokens row0 .. row0 + rows - 1, apart from the sums.
  template <typename W, Epilogue Kind, typename Args>
  KERNEL_FN static Inputs<W> load_inputs(const Args& args, i64 row0, i64 rows, i64 first, i64 end) {
    Inputs<W> in;
#pragma unroll
    for (int j = 0; j < kJobs; ++j) {
      const Job job(j, rows, first, end);
      in.of_job[j] = load_unit<W, Kind>(args, row0 + job.token, job.unit, job.exists, job.lane);
    }
    return in;
  }

  // The sum over all warps, in their order.
  KERNEL_FN static float total_of(const Job& job, const float* partial) {
    const float* sums = partial + (job.exists ? job.token * kPartialStride + job.u * kUnit + job.lane : 0);
    float total = sums[0];
#pragma unroll
    for (int p = 1; p < KWarps; ++p) total += sums[p * kPartial];
    return total;
  }

  // The sums of all warps to memory.
  template <typename W, typename A, typename KV, Epilogue Kind, typename Args>
  KERNEL_FN static void finish(const Args& args, const Inputs<W>& in, const float* partial, const float* scale,
                               i64 row0, i64 rows, i64 first, i64 end, const KvPlace* places = nullptr) {
#pragma unroll
    for (int j = 0; j < kJobs; ++j) {
      const Job job(j, rows, first, end);
      finish_unit<W, A, KV, Kind>(args, in.of_job[j], total_of(job, partial) * scale[job.exists ? job.token : 0], row0 + job.token,
                                  job.unit, job.exists, job.lane, places);
    }
  }
};

// Their sums: those of mma m16n8k16, 8 * TokenTiles tokens.
template <int Units, int TokenTiles, int KWarps = kStreamWarps>
struct StreamSums : StreamOutputs<Units, 8 * TokenTiles, KWarps> {
  using Outputs = StreamOutputs<Units, 8 * TokenTiles, KWarps>;
  using Outputs::kPartial, Outputs::kPartialStride, Outputs::kUnit, Outputs::kWarpUnits;

  float sum[kWarpUnits][TokenTiles][4];

  KERNEL_FN void clear() {
#pragma unroll
    for (int u = 0; u < kWarpUnits; ++u)
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m)
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[u][m][j] = 0.0f;
  }

  // This warp's sums to shared memory.
  KERNEL_FN void leave_sums(float* partial) const {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    float* mine = partial + Outputs::k_warp() * kPartial + Outputs::first_unit() * kUnit;
#pragma unroll
    for (int u = 0; u < kWarpUnits; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          mine[(m * 8 + 2 * t + j % 2) * kPartialStride + u * kUnit + g + j / 2 * 8] = sum[u][m][j];
        }
      }
    }
  }
};

// A stage of the ring holds kStreamDepth values of the weight rows, then of the tokens.
template <int Units, int TokenTiles>
struct StreamTile : StreamSums<Units, TokenTiles> {
  using Sums = StreamSums<Units, TokenTiles>;
  using Sums::kRows, Sums::kTokens, Sums::kUnit, Sums::sum;
  static constexpr int kDepth = kStreamDepth, kTokenRowBytes = kStreamRowBytes, kWeightBytes = kRows * kStreamRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokens * kStreamRowBytes;

  u32 token_at[TokenTiles];  // of this lane's tokens in a stage

  // `rows`: tokens that there are, at least one; lanes without one repeat the last.
  KERNEL_FN explicit StreamTile(i64 rows) {
    const int lane = threadIdx.x % kWarp, g = lane / 4;
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m)
      token_at[m] = (kRows + static_cast<u32>(min_of(i64{m * 8 + g}, rows - 1))) * kStreamRowBytes + lane_offset();
    this->clear();
  }

  // Of this lane's eight values within a stage's row.
  KERNEL_FN static u32 lane_offset() { return threadIdx.x / kWarp * 64 + threadIdx.x % 4 * 16; }

  // Adds the products of a stage, and arrives at `empty` when it is read.
  template <typename W>
  KERNEL_FN void multiply(const char* stage, u32 empty) {
    const int lane = threadIdx.x % kWarp, g = lane / 4;
    const u32 offset = lane_offset();
    const auto load = [&](u32 at) { return *reinterpret_cast<const uint4*>(stage + at); };
    uint4 low[Units], high[Units], token[TokenTiles];
#pragma unroll
    for (int u = 0; u < Units; ++u) {
      low[u] = load((u * kUnit + g) * kStreamRowBytes + offset);
      high[u] = load((u * kUnit + g + 8) * kStreamRowBytes + offset);
    }
#pragma unroll
    for (int m = 0; m < TokenTiles; ++m) token[m] = load(token_at[m]);
    mbarrier_arrive_warp(empty);
#pragma unroll
    for (int u = 0; u < Units; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        mma_16816<W>(sum[u][m], low[u].x, high[u].x, low[u].y, high[u].y, token[m].x, token[m].y);
        mma_16816<W>(sum[u][m], low[u].z, high[u].z, low[u].w, high[u].w, token[m].z, token[m].w);
      }
    }
  }
};

// Output units of 16 weight rows; of glu, eight rows of gate and eight of up.
template <Epilogue Kind>
KERNEL_FN i64 stream_units_of(const FusedLinearArgs& args) {
  constexpr int kOutputs = Kind == Epilogue::kGlu ? 8 : 16;
  return ((Kind == Epilogue::kGlu ? args.n / 2 : args.n) + kOutputs - 1) / kOutputs;
}

// Eight rows of a unit in memory, the last one repeated beyond the matrix.
struct StreamRows {
  const char* first;
  int last;
};
template <Epilogue Kind, typename Args>
KERNEL_FN StreamRows stream_rows(const Args& args, i64 unit, int half) {
  const i64 first = unit_row<Kind>(args, unit, half, 0);
  return {static_cast<const char*>(linear_of(args).w) + first * linear_of(args).k * 2,
          static_cast<int>(unit_row<Kind>(args, unit, half, 7) - first)};
}

// A warp copies its rows of a chunk of K: `destination` is this lane's place in the first.
template <int Rows = 8>
KERNEL_FN void stream_weights(const StreamRows& rows, i64 k, u32 chunk, u32 destination) {
  const u32 at = chunk * kStreamDepth + threadIdx.x % kWarp * 8;
  const bool valid = at < k;
  const char* source = rows.first + (valid ? at * 2ll : 0);
#pragma unroll
  for (int r = 0; r < Rows; ++r)
    copy_async16_streaming(destination + r * kStreamRowBytes, source + min_of(r, rows.last) * k * 2, valid);
}

// The same of the tokens `first`, `first` + `step`, ...
template <int Depth = kStreamDepth>
KERNEL_FN void stream_tokens(const char* x, i64 k, u32 chunk, u32 destination, int first, int step, int tokens) {
  for (int r = first; r < tokens; r += step) {
#pragma unroll
    for (int part = 0; part < Depth; part += kWarp * 8) {
      const u32 at = chunk * Depth + part + threadIdx.x % kWarp * 8;
      const bool valid = at < k;
      copy_async16(destination + r * (Depth * 2 + 64) + part * 2, x + r * k * 2 + (valid ? at * 2ll : 0), valid);
    }
  }
}

// A block's share of the units, and the ring that their chunks of K pass through: `tiles` of kUnits units, the chunks
// of each in turn.
template <typename Stream, int Stages, Epilogue Kind>
struct StreamRing {
  u32 chunks, tiles;
  i64 unit_begin, unit_end;
  u32 stages, full, empty;  // shared addresses: of the stages, and of a barrier for each

  KERNEL_FN StreamRing(const FusedLinearArgs& args, const Tile& tile, u32 shared, u32 barriers)
      : chunks(static_cast<u32>((args.k + Stream::kDepth - 1) / Stream::kDepth)),
        stages(shared),
        full(barriers),
        empty(full + Stages * 8) {
    const i64 units = stream_units_of<Kind>(args);
    unit_begin = units * tile.x / tile.nx, unit_end = units * (tile.x + 1) / tile.nx;
    tiles = static_cast<u32>((unit_end - unit_begin + Stream::kUnits - 1) / Stream::kUnits);
  }

  KERNEL_FN u32 steps() const { return tiles * chunks; }
  KERNEL_FN u32 ahead() const { return steps() < Stages ? steps() : Stages; }
  KERNEL_FN i64 first_unit(u32 step) const { return unit_begin + step / chunks * Stream::kUnits; }
  KERNEL_FN u32 stage(u32 step) const { return stages + step % Stages * Stream::kStageBytes; }
  KERNEL_FN u32 full_barrier(u32 step) const { return full + step % Stages * 8; }
  KERNEL_FN void wait_empty(u32 step) const { mbarrier_wait(empty + step % Stages * 8, (step / Stages - 1) & 1); }
};

// A filling warp copies half units, eight rows of a tile, and tokens.
template <typename Stream, int Stages, Epilogue Kind, typename Args>
KERNEL_FN void fill_with_tokens(const Args& all, const StreamRing<Stream, Stages, Kind>& ring, int filler, i64 row0,
                                i64 rows) {
  constexpr int kFillers = Stream::kFillers;
  const FusedLinearArgs& args = linear_of(all);
  const auto copy_weights = [&](u32 step) {
#pragma unroll
    for (int half = filler; half < 2 * Stream::kUnits; half += kFillers) {
      const i64 unit = ring.first_unit(step) + half / 2;
      if (unit >= ring.unit_end) return;
      Stream::template copy_weights<Kind>(all, unit, half, step % ring.chunks, ring.stage(step));
    }
  };
  for (u32 step = 0; step < ring.ahead(); ++step) copy_weights(step);

  dependency_wait();
  const int tokens = static_cast<int>(min_of(rows, i64{Stream::kTokens}));
  const char* x = static_cast<const char*>(args.x) + row0 * args.k * 2;
  const auto copy_tokens = [&](u32 step) {
    stream_tokens<Stream::kDepth>(x, args.k, step % ring.chunks,
                                  ring.stage(step) + Stream::kWeightBytes + threadIdx.x % kWarp * 16, filler, kFillers,
                                  tokens);
    copy_async_arrive(ring.full_barrier(step));
  };
  for (u32 step = 0; step < ring.ahead(); ++step) copy_tokens(step);
  for (u32 step = ring.ahead(); step < ring.steps(); ++step) {
    ring.wait_empty(step);
    copy_weights(step);
    copy_tokens(step);
  }
  dependency_trigger();
  copy_async_wait_all();
}

// What a stage holds of a dense weight. Quantized ones: linear_quantized_stream.h.
template <typename W, int Units, int TokenTiles>
struct DenseStream : StreamTile<Units, TokenTiles> {
  template <typename Args>
  KERNEL_FN DenseStream(const Args&, i64, i64 rows, char*) : StreamTile<Units, TokenTiles>(rows) {}

  // A warp copies a half unit's share of a chunk of K into its part of a stage.
  template <Epilogue Kind, typename Args>
  KERNEL_FN static void copy_weights(const Args& all, i64 unit, int half, u32 chunk, u32 stage) {
    stream_weights(stream_rows<Kind>(all, unit, half % 2), linear_of(all).k, chunk,
                   stage + half * 8 * kStreamRowBytes + threadIdx.x % kWarp * 16);
  }
  template <int Stages, Epilogue Kind, typename Args, typename ScaleRows>
  KERNEL_FN static void fill(const Args& all, const StreamRing<DenseStream, Stages, Kind>& ring, int filler, i64 row0,
                             i64 rows, const ScaleRows&) {
    fill_with_tokens(all, ring, filler, row0, rows);
  }
  KERNEL_FN void begin_chunk(u32, u32) {}
  // Adds the products of a stage, and arrives at `empty` when it is read.
  KERNEL_FN void multiply_chunk(const char* stage, u32 empty, u32) { this->template multiply<W>(stage, empty); }
};

// `Stream` as DenseStream; W: the type of bias and norm weights. The row scales are computed by a warp behind those
// that fill, or by the last of these.
template <typename Stream, typename W, typename A, typename KV, int Stages, Epilogue Kind, typename Args>
KERNEL_FN void stream_units(const Args& all, Tile tile, char* shared) {
  const FusedLinearArgs& args = linear_of(all);
  constexpr int kTokens = Stream::kTokens, Units = Stream::kUnits;
  char* workspace = shared + Stages * Stream::kStageBytes;
  float* partial = reinterpret_cast<float*>(workspace + Stream::kWorkspaceBytes);
  constexpr int kPartialFloats = Stream::kPartialBytes / static_cast<int>(sizeof(float));
  float* scale = partial + Stream::kPartials * kPartialFloats;  // [token]
  const StreamRing<Stream, Stages, Kind> ring(args, tile, shared_address(shared), shared_address(scale + kTokens));
  const u32 scaled = ring.empty + Stages * 8;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const i64 row0 = static_cast<i64>(tile.y) * kTokens;
  const i64 rows = args.counts->rows[args.row_count] - row0;  // no launch of a forward program writes the counts

  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(ring.full + s * 8, Stream::kFillers * Stream::fill_arrivals(all));
      mbarrier_init(ring.empty + s * 8, kStreamWarps * kWarpArrivals);
    }
    mbarrier_init(scaled, kWarpArrivals);
    fence_barrier_init();
  }
  __syncthreads();
  if (rows <= 0) {
    dependency_wait();
    dependency_trigger();
    return;
  }

  const auto scale_rows = [&] {
    for (int token = 0; token < kTokens; ++token) {
      const float s = token < rows ? row_scale_of(args, row0 + token, lane) : 1.0f;
      if (lane == 0) scale[token] = s;
    }
    mbarrier_arrive_warp(scaled);
  };
  if (warp >= kStreamWarps + Stream::kFillers) {
    dependency_wait();
    scale_rows();
    return;
  }
  if (warp >= kStreamWarps) {
    Stream::fill(all, ring, warp - kStreamWarps, row0, rows, scale_rows);
    return;
  }

  dependency_wait();
  Stream sums(all, row0, rows, workspace);
  u32 stage = 0, parity = 0;
  for (u32 i = 0; i < ring.tiles; ++i) {
    sums.clear();
    const i64 first = ring.unit_begin + static_cast<i64>(i) * Units;
    const auto inputs = Stream::template load_inputs<W, Kind>(epilogue_of(all), row0, rows, first, ring.unit_end);
    for (u32 chunk = 0; chunk < ring.chunks; ++chunk) {
      sums.begin_chunk(i, chunk);
      mbarrier_wait(ring.full + stage * 8, parity);
      sums.multiply_chunk(shared + stage * Stream::kStageBytes, ring.empty + stage * 8, chunk);
      if (++stage == Stages) stage = 0, parity ^= 1;
    }
    float* tile_partial = partial + static_cast<int>(i) % Stream::kPartials * kPartialFloats;
    sums.leave_sums(tile_partial);
    named_barrier_sync(1, kStreamWarps * kWarp);
    if (i == 0) mbarrier_wait(scaled, 0);
    Stream::template finish<W, A, KV, Kind>(epilogue_of(all), inputs, tile_partial, scale, row0, rows, first,
                                            ring.unit_end);
    if constexpr (Stream::kPartials == 1) named_barrier_sync(1, kStreamWarps * kWarp);
  }
  Stream::drain();
}

template <typename W, typename A, int Units, int TokenTiles, int Stages, Epilogue Kind>
KERNEL_FN void linear_stream(const FusedLinearArgs& args, Tile tile, char* shared) {
  stream_units<DenseStream<W, Units, TokenTiles>, W, A, float, Stages, Kind>(args, tile, shared);
}

template <typename W, typename A, typename KV, int Units, int TokenTiles, int Stages>
KERNEL_FN void linear_stream_rope(const LinearRopeArgs& args, Tile tile, char* shared) {
  stream_units<DenseStream<W, Units, TokenTiles>, W, A, KV, Stages, Epilogue::kRope>(args, tile, shared);
}
