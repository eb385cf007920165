#!/usr/bin/env python3
"""What the machine can do at best: copy, read, bf16 matrix product. Prints one JSON object.

Rates are medians. copy counts bytes read and written; read is the fastest of several reductions over one large buffer.
"""
import argparse
import json

import torch

from timing import seconds


def measure(device, read_bytes, copy_bytes, matrices, repeats):
    result = {}
    data = torch.randn(read_bytes // 4, device=device, dtype=torch.float32)
    reductions = {"sum": data.sum, "max": data.max, "any": lambda: data.view(torch.int32).any(), "norm": data.norm}
    rates = {name: read_bytes / seconds(work, device, repeats) / 1e9 for name, work in reductions.items()}
    best = max(rates, key=rates.get)
    result["read_gb_s"], result["read_by"] = rates[best], best
    del data
    source = torch.randint(0, 255, (copy_bytes,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    result["copy_gb_s"] = 2 * copy_bytes / seconds(lambda: target.copy_(source), device, repeats) / 1e9
    del source, target
    for n in matrices:
        a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
        out = torch.empty_like(a)
        result[f"matmul_{n}_tflop_s"] = 2 * n**3 / seconds(lambda: torch.matmul(a, b, out=out), device, repeats) / 1e12
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: tiny sizes, to test this program")
    p.add_argument("--repeats", type=int, default=20)
    o = p.parse_args()
    if o.device == "cuda":
        result = measure("cuda", 4 << 30, 2 << 30, [8192, 4096], o.repeats)
    else:
        result = measure("cpu", 1 << 20, 1 << 20, [128, 64], 3)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
