"""Makes the checkpoints of this folder and their plans.

OUT/models/NAME, NAME.dense    model folders (checkpoints.py)
OUT/plans/NAME.fb              for --targets, default: the x86 targets that run here
OUT/embedded/NAME.fb           the weights inside, for one x86 target; projections not merged, so that a weight is a module's
"""

import argparse
import json
import pathlib
import subprocess
import sys

import checkpoints
import trained


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmc", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--targets")
    parser.add_argument("--embed", action="store_true", help="also OUT/embedded")
    parser.add_argument("--cache", help="kernel cache folder")
    parser.add_argument("--only", nargs="*", help="names of checkpoints.py or trained.py (default: all of the former)")
    parser.add_argument("options", nargs="*", help="behind --: further options of llmc compile")
    args = parser.parse_args()
    targets = args.targets or ",".join(t["name"] for t in json.loads(run([args.llmc, "targets", "--json"])) if t["kind"] == "x86" and t["runs_here"])
    cache = ["--cache", args.cache] if args.cache else []
    chosen = [m for m in [*checkpoints.models(), *trained.models()] if m.name in args.only] if args.only else checkpoints.models()
    for model in chosen:
        model.write(args.out / "models")
        common = [args.llmc, "compile", args.out / "models" / model.name, "-q", *cache, *args.options]
        (args.out / "plans").mkdir(parents=True, exist_ok=True)
        run([*common, "--target", targets, "-o", args.out / "plans" / f"{model.name}.fb"])
        if args.embed:
            (args.out / "embedded").mkdir(parents=True, exist_ok=True)
            run([*common, "--target", "x86-64-v3", "--weights", "embed", "--disable-pass", "merge-qkv", "--disable-pass", "merge-gate-up",
                 "-o", args.out / "embedded" / f"{model.name}.fb"])


if __name__ == "__main__":
    main()
