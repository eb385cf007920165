"""A compile that finds nothing in the kernel cache stays below a minute on two cores: the shape of Llama-3-8B, default options, every
kernel that a bucket needs. The limit grows where fewer cores may be used (LLMC_JOBS, or the machine's). Exit status 77: no NVRTC here."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

LIMIT_S, CORES = 60, 2
SKIPPED = 77


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--make-model", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--quantize", help="with quantized weights")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S, help="for two cores")
    args = parser.parse_args()

    usable = max(1, min(len(os.sched_getaffinity(0)), int(os.environ.get("LLMC_JOBS") or CORES), CORES))
    limit_s = args.limit_s * CORES / usable
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, plan = folder / "model", folder / "plan.fb"
        # Files of the right size without content: compiling reads headers alone.
        subprocess.run([args.make_model, args.config, "-o", model, "--headers-only"], check=True, stdout=subprocess.DEVNULL)
        start = time.monotonic()
        command = [args.llmc, "compile", model, "--target", args.target, "--no-cache", "-q", "-j", str(usable), "-o", plan]
        command += ["--quantize", args.quantize] if args.quantize else []
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        seconds = time.monotonic() - start
        if "cannot load NVRTC" in done.stderr:
            print(f"skipped: no NVRTC to compile for {args.target} with; see scripts/setup")
            return SKIPPED
        if done.returncode != 0:
            print(done.stderr)
            return 1
        facts = json.loads(subprocess.run([args.llmc, "inspect", plan, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    kernels = len(facts["targets"][0]["kernels"])
    scaled = "" if usable == CORES else f" (scaled from {args.limit_s:.0f} s for {CORES} cores)"
    print(f"{args.target}{' ' + args.quantize if args.quantize else ''}: {kernels} kernels in {seconds:.1f} s on {usable} cores; limit {limit_s:.0f} s{scaled}")
    return 0 if seconds < limit_s and kernels > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
