"""Every configuration of test/goldens/configs, as a seeded model, compiles for x86-64-v3 and can be inspected."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--make-model", required=True)
    parser.add_argument("--configs", required=True, type=pathlib.Path)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--target", default="x86-64-v3")
    args = parser.parse_args()

    failed = []
    configs = sorted(args.configs.glob("*.json"))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for config in configs:
            model, plan = folder / config.stem, folder / f"{config.stem}.fb"
            steps = [
                [args.make_model, config, "-o", model, "--seed", 1],
                [args.llmc, "compile", model, "--target", args.target, "--cache", args.cache, "-o", plan],
                [args.llmc, "inspect", plan, "--json"],
            ]
            for step in steps:
                done = subprocess.run([str(word) for word in step], capture_output=True, text=True)
                if done.returncode != 0:
                    print(f"{config.stem}: {' '.join(str(word) for word in step)}\n{done.stderr}")
                    failed.append(config.stem)
                    break
            else:
                facts = json.loads(done.stdout)
                wanted = json.loads(config.read_text())
                got = facts["model"]
                if got["layers"] != wanted["num_hidden_layers"] or got["vocab"] != wanted["vocab_size"] or not facts["targets"][0]["programs"]:
                    print(f"{config.stem}: the plan describes another model: {got}")
                    failed.append(config.stem)
    print(f"{len(configs) - len(failed)} of {len(configs)} compiled" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed or not configs else 0


if __name__ == "__main__":
    sys.exit(main())
