"""How far the cost model's own choices are from the fastest of the measured kernels: llmc tune --check on a file that comes with llmc."""

import argparse
import json
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--tuning", required=True)
    parser.add_argument("--worst", type=float, required=True, help="of a shape: 0.1 is 10 %% slower than the fastest")
    parser.add_argument("--mean", type=float, required=True)
    args = parser.parse_args()

    done = subprocess.run([args.llmc, "tune", "--check", args.tuning, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check = json.loads(done.stdout)
    failed = check["not_measured"] > 0 or check["worst"] > args.worst or check["mean"] > args.mean
    for v in check["verdicts"]:
        if v["chosen_us"] == 0 or v["chosen_us"] > (1 + args.worst) * v["best_us"]:
            print(f"{v['shape']}: chooses {v['chosen']} ({v['chosen_us']} us), {v['best']} takes {v['best_us']} us")
    print(f"{check['shapes']} shapes, {check['not_measured']} without a time: worst {check['worst']:.3f} (at most {args.worst}), "
          f"mean {check['mean']:.4f} (at most {args.mean})")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
