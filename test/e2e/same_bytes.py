"""The same model and options give the same plan bytes, whatever the folder, the number of jobs and the cache."""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--target", default="x86-64-v3")
    args = parser.parse_args()
    args.llmc, args.model = pathlib.Path(args.llmc).resolve(), args.model.resolve()

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plans = {}

        def compile_to(label, model, subfolder, *options):
            output = folder / subfolder / "plan.fb"
            output.parent.mkdir(parents=True)
            command = [args.llmc, "compile", model, "--target", args.target, "-q", "-o", output, *options]
            subprocess.run([str(word) for word in command], check=True, cwd=output.parent)
            plans[label] = output.read_bytes()

        # Copied without the training folder: only what a Hugging Face folder holds.
        copy = folder / "another place" / args.model.name
        copy.mkdir(parents=True)
        for file in args.model.iterdir():
            if file.is_file():
                shutil.copy(file, copy)

        cache = folder / "cache"
        compile_to("-j1, no cache", args.model, "a", "-j1", "--no-cache")
        compile_to("-j2, no cache", args.model, "b/deeper", "-j2", "--no-cache")
        compile_to("model copied elsewhere", copy, "c", "-j2", "--cache", cache)
        compile_to("from the cache", args.model, "d", "-j1", "--cache", cache)
        compile_to("embedded, -j1", args.model, "e", "-j1", "--cache", cache, "--weights", "embed")
        compile_to("embedded, copied, -j2", copy, "f", "-j2", "--cache", cache, "--weights", "embed")

        failed = False
        for first, second in [
            ("-j1, no cache", "-j2, no cache"),
            ("-j1, no cache", "model copied elsewhere"),
            ("-j1, no cache", "from the cache"),
            ("embedded, -j1", "embedded, copied, -j2"),
        ]:
            same = plans[first] == plans[second]
            print(f"{'same' if same else 'DIFFERENT'}: {first} ({len(plans[first])} bytes) and {second} ({len(plans[second])} bytes)")
            failed |= not same
        # Nothing of this machine is in the plan.
        for label, plan in plans.items():
            for trace in (str(folder), str(args.model.parent)):
                if trace.encode() in plan:
                    print(f"{label}: the plan holds the path {trace}")
                    failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
