"""llmc tune measures every variant of a model's shapes, llmc compile --tuning takes the fastest, llmc tune --check compares."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--families", default="linear")
    parser.add_argument("--activations", default="auto")
    parser.add_argument("--measure-kernels", help="llm-measure-kernels; without, llmc measures by itself")
    args = parser.parse_args()

    def llmc(*words, status=0):
        done = subprocess.run([args.llmc, *[str(w) for w in words]], capture_output=True, text=True)
        if "cannot load NVRTC" in done.stderr:
            print(f"skipped: no NVRTC to compile for {args.target} with; see scripts/setup")
            sys.exit(SKIPPED)
        assert done.returncode == status, f"llmc {words}: status {done.returncode}\n{done.stderr}"
        return done.stdout if status == 0 else done.stderr

    limits = ["--target", args.target, "--max-batch", 2, "--max-step-tokens", 16, "--max-context", 64, "--cache", args.cache]
    limits += ["--activations", args.activations]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        times, plan = folder / "times.txt", folder / "plan.fb"
        tune = ["tune", args.model, *limits, "--families", args.families]
        if args.measure_kernels:
            llmc(*tune, "--plans", folder / "plans")
            measure = [args.measure_kernels, folder / "plans", "--seconds-per-kernel", "0.001", "-o", times]
            subprocess.run(measure, check=True, stderr=subprocess.DEVNULL)
            rows = folder / "plans" / "model00-round00.txt"
            count = len(rows.read_text().splitlines())
            rows.write_text(rows.read_text() + "1 1 x\n")
            bad = subprocess.run(measure[:-1] + [folder / "bad.txt"], capture_output=True, text=True)
            assert bad.returncode == 1 and f"model00-round00.txt, line {count + 1}: expected" in bad.stderr, bad.stderr
        else:
            llmc(*tune, "--seconds-per-kernel", 0.001, "-o", times)
        lines = [line.split() for line in times.read_text().splitlines()[1:] if not line.startswith("#")]
        fastest, variants = {}, {}
        for *shape, _, _, _, variant, us in lines:
            key = tuple(shape)
            variants.setdefault(key, []).append(variant)
            fastest[key] = min(fastest.get(key, (float("inf"), "")), (float(us), variant))
        assert {key[1] for key in variants} == set(args.families.split(",")), variants.keys()
        assert {int(key[6]) for key in variants} >= {1, 2, 16}, "a bucket was left out"
        assert all(len(set(v)) == len(v) > 1 for v in variants.values()), variants

        llmc("compile", args.model, *limits, "--tuning", times, "-q", "-o", plan)
        measured = {}
        for program in json.loads(llmc("inspect", plan, "--json"))["targets"][0]["programs"]:
            for choice in program["choices"]:
                if program["kind"] == "forward" and choice["op"].split()[0] in args.families.split(","):
                    assert choice["runner_up"].endswith(" us measured)"), choice
                    us = float(choice["runner_up"].split("chosen ")[1].split()[0])
                    measured[us, choice["variant"]] = True
        wanted = {(round(us, 2), variant) for us, variant in fastest.values()}
        # A time has three digits in the file and two in the plan.
        for us, variant in measured:
            assert any(abs(us - w) < 0.011 and variant == v for w, v in wanted), (us, variant, wanted)
        assert len(measured) > 1

        verdict = json.loads(llmc("tune", "--check", times, "--json"))
        assert verdict["shapes"] == len(fastest) and verdict["worst"] >= verdict["mean"] >= 0, verdict
        assert "worst" in llmc("tune", "--check", times)
        # Nothing is written where nothing can be measured.
        absent = folder / "absent.txt"
        assert "no kernel family 'conv'" in llmc("tune", args.model, *limits, "--families", "conv", "-o", absent, status=1)
        assert "more than one kernel" in llmc("tune", args.model, *limits, "--families", "sample", "-o", absent, status=1)
        assert not absent.exists()
    print(f"{args.target}: {len(fastest)} shapes, {len(lines)} measurements, {len(measured)} choices by them")


if __name__ == "__main__":
    sys.exit(main())
