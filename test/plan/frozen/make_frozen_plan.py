"""Makes the frozen plan of the format version that llmc writes now: VERSION.fb, and VERSION.json with what it computes.

    make_frozen_plan.py --build build/release

The plan is of a seeded model (config.json) for x86-64-v3, with embedded and hashed weights, signed by frozen.key: a key
that everybody knows (RFC 8032, section 7.1, test 1) and nobody may trust. When one is due: docs/plan-format.md, section
Versions.
An existing version is not made again.
"""

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
IDS = [1, 7, 30, 12, 12, 3, 25, 9, 16, 4, 21, 28]
GENERATED = 12


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stderr}")
    return done.stdout


def read_npy(path):
    data = path.read_bytes()
    begin = 10 + struct.unpack("<H", data[8:10])[0]
    return list(struct.unpack(f"<{(len(data) - begin) // 4}f", data[begin:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path, help="build folder, with bin/llmc and bin/llmrt")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=HERE, help="default: the folder of this script")
    args = parser.parse_args()
    program = args.build.resolve() / "bin"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, plan = folder / "frozen", folder / "plan.fb"
        run(program / "llm-make-model", HERE / "config.json", "-o", model, "--seed", "4")
        run(program / "llmc", "compile", model, "--target", "x86-64-v3", "--weights", "embed", "--hash-weights",
            "--max-batch", "1", "--max-step-tokens", "16", "-q", "-o", plan)
        run(program / "llmc", "sign", plan, "--key", HERE / "frozen.key")
        major, minor = struct.unpack("<HH", plan.read_bytes()[8:12])
        version = f"{major}.{minor}"
        for suffix in ("fb", "json"):
            if (args.output / f"{version}.{suffix}").exists():
                sys.exit(f"{version}.{suffix} is there already: a frozen plan is never made again")
        (folder / "ids.json").write_text(json.dumps(IDS))
        logits = folder / "logits.npy"
        run(program / "llmrt", "score", plan, "--device", "cpu", "--ids", folder / "ids.json", "-o", logits)
        text = run(program / "llmrt", "run", plan, "--device", "cpu", "--temperature", "0", "--ignore-eos",
                   "--max-tokens", GENERATED, "--prompt-ids", ",".join(map(str, IDS)), "--json")
        expected = {"ids": IDS, "generated": json.loads(text)["ids"],
                    "logits": [float(f"{x:.7g}") for x in read_npy(logits)]}
        (args.output / f"{version}.json").write_text(json.dumps(expected) + "\n")
        (args.output / f"{version}.fb").write_bytes(plan.read_bytes())
    print(f"{args.output / version}.fb, .json")


if __name__ == "__main__":
    main()
