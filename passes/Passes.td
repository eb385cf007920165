// Every pass of the compiler, with the reason why it exists. Pipelines.cpp strings them together.
#ifndef LLMC_PASSES
#define LLMC_PASSES

include "mlir/Pass/PassBase.td"

def MergeQkv : Pass<"merge-qkv", "mlir::func::FuncOp"> {
  let summary = "Merge the q, k and v projections of a layer into one linear";
  let description = [{
    Why: three short matrix products on the same input become one taller product: two launches fewer per layer, one read of the
    activations, and enough rows to fill the machine. The weight becomes a recipe of three parts, so nothing is repacked on disk.
  }];
}

def MergeGateUp : Pass<"merge-gate-up", "mlir::func::FuncOp"> {
  let summary = "Merge the gate and up projections of an MLP into one linear";
  let description = [{
    Why: as merge-qkv, for the largest matrices of the layer.
  }];
}

def FuseGlu : Pass<"fuse-glu", "mlir::func::FuncOp"> {
  let summary = "mul(silu(gate), up) becomes glu(gate, up)";
  let description = [{
    Why: two launches and a round trip of the widest activation through memory become one launch.
  }];
}

def OrderGluRows : Pass<"order-glu-rows", "mlir::func::FuncOp"> {
  let summary = "Rows of gate and up in the order in which an ordered down projection takes its columns";
  let description = [{
    Why: the columns of an ordered weight's input are gathered by a launch of their own. Rows of a weight can stand in any order, which costs nothing
    when it is loaded; so the projections in front make the input of the down projection as it is wanted.
  }];
}

def FuseAddRmsNorm : Pass<"fuse-add-rms-norm", "mlir::func::FuncOp"> {
  let summary = "rms_norm(add(residual, delta)) becomes add_rms_norm";
  let description = [{
    Why: the sum is in registers when the norm needs it; one launch and one read of the residual stream fewer, twice per layer.
  }];
}

def FuseRopeKvWrite : Pass<"fuse-rope-kv-write", "mlir::func::FuncOp"> {
  let summary = "Per-head norms, RoPE of q and k, and the KV-cache write become one launch";
  let description = [{
    Why: five small launches per layer (two norms, two rotations, a copy) touch the same few kilobytes; in a decode step they cost
    more in launch latency than in work.
  }];
}

def NarrowScales : Pass<"narrow-scales", "mlir::ModuleOp"> {
  let summary = "Round float32 scales of quantized weights to the type of the model, where that lets matrix units take its operands";
  let description = [{
    Why: bitsandbytes and fp8 checkpoints have float32 scales, of models in fp16 or bf16; as they are, these weights are multiplied in float32 math
    alone. Rounding a scale changes weights by no more than rounding them, which is what a dequantized checkpoint of the model's type would do.
    Scales become fp16 only for codes whose values are at most 1 (nf4, fp4). `--activations f32` keeps them.
  }];
}

def NarrowOperands : Pass<"narrow-operands", "mlir::ModuleOp"> {
  let summary = "Store the inputs of linear layers in the type that the target's matrix units take";
  let description = [{
    Why: a tensor core takes fp16 or bf16 operands. Rounding once, where the value is produced, halves its traffic and saves the conversion in
    every tile. Only operands are narrowed: the residual stream, scores, sums and logits stay float32. Targets whose row says
    float32 operands (sm_60, sm_61, x86 without AMX) keep everything in float32, unless float16 products are to go to cuBLAS (`--gemm cublas`), which
    takes one type for both.
  }];
}

def VerifyModel : Pass<"verify-model", "mlir::ModuleOp"> {
  let summary = "What may no longer exist behind the model passes";
  let description = [{
    Why: lowering handles exactly the forms that this stage leaves; a clear error here beats a wrong kernel later. Checks that `@forward` and
    `@sample` exist, that every activation leads with one dynamic dimension, and that no operation of another dialect is left.
  }];
}

def ExpandBuckets : Pass<"expand-buckets", "mlir::ModuleOp"> {
  let summary = "One copy of @forward and @sample for every bucket (tokens, sequences, logit rows)";
  let description = [{
    Why: in a bucket every shape is a constant, so kernels can be chosen, grids sized and memory planned at compile time. The true counts of
    a step stand in device memory; a bucket bounds a grid, never the work.
  }];
}

def QuantizeActivations : Pass<"quantize-activations", "mlir::ModuleOp"> {
  let summary = "Quantize the inputs of linear layers on integer codes to int8";
  let description = [{
    Why: an instruction that multiplies four pairs of bytes and adds the products to an int32 (dp4a, VNNI) does the work of four fused multiply-adds, and
    needs no conversion of the weights. Each row gets a scale for each group of columns (the longest that the layer can take, up to the target's), in a launch of its own that all projections of the same input
    share. Done per bucket, on targets whose row says so, where the predicted cost is lower; `--activations f32` turns it off, `--activations int8` takes it wherever it can. Codes that are no
    integers, and groups that are no multiple of 32, keep their float32 input.
  }];
}

def DequantizeWeights : Pass<"dequantize-weights", "mlir::ModuleOp"> {
  let summary = "Where a step has many tokens, make a quantized weight dense before its product";
  let description = [{
    Why: with many tokens a projection is bound by arithmetic, and the kernels of dense 16-bit weights have the best of it; writing the weight once
    and reading it again costs less than unpacking it in every tile. Done per bucket, where the predicted cost is lower. The weight is
    rounded to the type of the operands, which is what a dequantized checkpoint would hold.
  }];
}

def PanelOperands : Pass<"panel-operands", "mlir::ModuleOp"> {
  let summary = "Where a matrix unit reads the input of linear layers tile by tile, let its producer write it so";
  let description = [{
    Why: AMX loads tiles of 16 rows, which lie a row's length apart and fall into one set of the L1. A layer that brings its input into
    the order of tiles does so in every tile of its outputs, which took a seventh of a prompt's time; the norm, gate or attention that computes the input can
    write that order at no cost. Done per bucket, where all readers have kernels for it and the predicted cost is lower. Inputs in float32
    are rounded to bf16, as the kernels without panels do.
  }];
}

def FuseEpilogues : Pass<"fuse-epilogues", "mlir::ModuleOp"> {
  let summary = "Fold norms, activations and residual additions into the projections around them";
  let description = [{
    Why: between two projections of a decode step stand launches that move almost nothing and cost a boundary each. A projection's epilogue can add
    the residual, multiply by the next norm's weight and leave partial sums of squares, so that the next projection reads its operand as it
    is and applies the norm's scale to its sums; likewise silu(gate) * up. Done per bucket, where the target has kernels for it and the
    predicted cost is lower; RoPE and the cache write go behind the merged q, k and v in the same way. Leaves projections alone that `--force-variant linear=` or `--gemm cublas` speak of.
  }];
}

def SelectKernels : Pass<"select-kernels", "mlir::ModuleOp"> {
  let summary = "Choose a kernel variant for every operation by its predicted cost";
  let description = [{
    Why: the best variant depends on target, type, bucket and shape. Each variant is asked for its cost (bytes over bandwidth, operations over
    rate, with tiles and waves rounded up, plus the launch); the cheapest wins and the runner-up is kept for `llmc inspect`.
    Where variants were measured for exactly this shape (`llm.tuning`), the fastest of these wins instead.
    `--force-variant family=name` overrules both wherever the variant can run. A vendor's library is never chosen by cost: with `--gemm cublas` it gets the linear
    layers that it can run (rows enough, one type for both).
  }];
}

def LowerToExec : Pass<"lower-to-exec", "mlir::ModuleOp"> {
  let summary = "Turn bucket functions into programs of launches on buffers";
  let description = [{
    Why: from here on only kernels, pointers and constants exist, which is all that the runtime knows. Slices become pointer offsets.
  }];
  let dependentDialects = ["llmc::exec::ExecDialect"];
}

def FormPersistent : Pass<"form-persistent", "mlir::ModuleOp"> {
  let summary = "Name the persistent kernel that can run all launches of a program";
  let description = [{
    Why: between two kernels no weights are on their way, and a decode step of few tokens is nothing but weights on their way. Where every launch
    of a forward program has a body in the family `persistent` and all share one 16-bit type, that kernel runs them as its phases. The launches
    stay: they are the phases, and what runs where the kernel is switched off. For which numbers of tokens it pays is a measured property of the
    target; `--force-variant persistent=NAME` takes it wherever it can run.
  }];
}
def Schedule : Pass<"schedule", "mlir::ModuleOp"> {
  let summary = "Write each launch's predecessors";
  let description = [{
    Why: a CUDA graph runs what does not depend on each other side by side. Predecessors follow from reads and writes of the same object (buffer,
    KV layer, state) and are reduced: an edge that others imply is dropped.
  }];
}

def PlanMemory : Pass<"plan-memory", "mlir::ModuleOp"> {
  let summary = "Give every activation buffer an offset in one arena";
  let description = [{
    Why: nothing is allocated while running. Two buffers share memory if every access to the one must come before every access to the other in
    the partial order of the launches (not merely in list order). Largest buffers are placed first, each at the lowest free offset.
  }];
}

def VerifyExec : Pass<"verify-exec", "mlir::ModuleOp"> {
  let summary = "What must hold before a plan is written";
  let description = [{
    Why: the last line of defence against memory corruption on the device. Checks that every buffer has an offset inside the arena, that
    arguments begin inside their buffer, that buffers which overlap in memory are ordered, that every launch's predecessors cover its
    hazards, and that all symbols resolve.
  }];
}

#endif
