#!/usr/bin/env python3
"""The anchor peer: PyTorch with torch.compile, a static cache and one CUDA graph per step; random weights.

Compiled as gpt-fast does (coordinate descent tuning, so that one-row products become streaming kernels). Prints one
JSON object of the shape described in README.md. Shapes that --budget leaves no time for are named in "left_out".
"""
import argparse
import json
import statistics
import sys
import time

import torch

import llama
from timing import seconds, sync

DECODE_STEPS = 128  # of one run; the context is that of the one in the middle


def compiled(function, backend):
    if backend == "none":
        return function
    return torch.compile(function, backend=backend, dynamic=False, fullgraph=True)


def captured(step, device):
    """Runs step() often enough to compile it, and returns what replays it: a CUDA graph, or step itself."""
    step()  # compiles
    sync(device)
    if device != "cuda":
        return step
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()  # libraries allocate their workspaces before the capture
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Anchor:
    def __init__(self, model, device, backend):
        self.model, self.device, self.backend = model, device, backend

    def functions(self):
        torch._dynamo.reset()  # each shape compiled for itself, none made dynamic
        return {"run_layer": compiled(llama.layer, self.backend), "run_head": compiled(llama.head, self.backend)}

    def decode_ms(self, batch, context, repeats):
        first = max(0, context - DECODE_STEPS // 2)
        functions, cache = self.functions(), self.model.new_cache(batch, first + DECODE_STEPS)
        ids = torch.zeros(batch, 1, dtype=torch.long, device=self.device)
        position = torch.full((1,), first, dtype=torch.long, device=self.device)

        def step():
            ids.copy_(self.model.step(ids, position, cache, **functions)[1])
            position.add_(1)

        replay = captured(step, self.device)
        samples, group = [], 16
        for _ in range(repeats):
            position.fill_(first)
            groups = (DECODE_STEPS - group) // group
            samples += [seconds(lambda: [replay() for _ in range(group)], self.device, 1, 0) / group
                        for _ in range(groups)]
        return 1e3 * statistics.median(samples)

    def prefill_ms(self, tokens, repeats):
        functions, cache = self.functions(), self.model.new_cache(1, tokens)
        ids = torch.arange(tokens, device=self.device)[None] % self.model.config.vocab
        positions = torch.arange(tokens, device=self.device)
        replay = captured(lambda: self.model.step(ids, positions, cache, **functions), self.device)
        return 1e3 * seconds(replay, self.device, repeats)


def measure(o):
    begin = time.perf_counter()
    torch._inductor.config.coordinate_descent_tuning = True  # one-row products as streaming kernels
    torch.set_float32_matmul_precision("high")
    dtype = torch.bfloat16
    anchor = Anchor(llama.Llama(llama.Config.of(o.config), o.device, dtype), o.device, o.backend)
    sync(o.device)
    result = {"name": "torch.compile anchor", "version": torch.__version__, "dtype": "bf16",
              "notes": f"backend {o.backend}, layer compiled once per shape, one CUDA graph per step",
              "decode": [], "prefill": [], "left_out": []}
    jobs = [("decode", o.decode[0])] if o.decode else []
    jobs += [("prefill", t) for t in o.prefill[:1]] + [("decode", b) for b in o.decode[1:]]
    jobs += [("prefill", t) for t in o.prefill[1:]]
    for kind, size in jobs:
        at = time.perf_counter()
        if at - begin > o.budget:
            result["left_out"].append(f"{kind} {size}: no time left")
            continue
        try:
            if kind == "decode":
                ms = anchor.decode_ms(size, o.context, o.repeats)
                result["decode"].append({"batch": size, "context": o.context, "ms_per_step": ms,
                                         "tokens_per_s": size * 1e3 / ms})
            else:
                ms = anchor.prefill_ms(size, 3 * o.repeats)
                result["prefill"].append({"tokens": size, "ms": ms, "tokens_per_s": size * 1e3 / ms})
        except Exception as error:  # the other shapes still tell something
            result["left_out"].append(f"{kind} {size}: {type(error).__name__}: {str(error)[:300]}")
        print(f"anchor: {kind} {size}: {time.perf_counter() - at:.1f} s", file=sys.stderr)
        if o.device == "cuda":
            torch.cuda.empty_cache()
    result["measured_in_s"] = time.perf_counter() - begin
    return result


def sizes(text):
    return [int(n) for n in text.split(",") if n]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--config", required=True, help="config.json of the model shape")
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    p.add_argument("--backend", default="inductor", help="of torch.compile; eager: traced only; none: not compiled")
    p.add_argument("--decode", type=sizes, default=[1, 2, 8, 32], help="batches")
    p.add_argument("--context", type=int, default=512)
    p.add_argument("--prefill", type=sizes, default=[512, 2048], help="tokens of one prompt")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--budget", type=float, default=90, help="seconds after which no further shape is begun")
    with torch.no_grad():
        print(json.dumps(measure(p.parse_args())))


if __name__ == "__main__":
    main()
