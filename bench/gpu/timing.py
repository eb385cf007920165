"""Medians of timed work on a GPU (events) or on the CPU (clock)."""
import statistics
import time

import torch


def sync(device):
    if device == "cuda":
        torch.cuda.synchronize()


def seconds(work, device, repeats, warmup=3):
    """Median seconds of work(), each call timed on its own."""
    for _ in range(warmup):
        work()
    sync(device)
    samples = []
    for _ in range(repeats):
        if device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            end.synchronize()
            samples.append(begin.elapsed_time(end) * 1e-3)
        else:
            begin = time.perf_counter()
            work()
            samples.append(time.perf_counter() - begin)
    return statistics.median(samples)
