"""A persistent kernel gives what the launches that it stands for give: logits of prompts, chunk by chunk, and generated ids; on the emulator,
where its blocks really wait for each other."""

import json
import pathlib
import sys
import tempfile

from commands import arguments, completed, largest_difference, make_model, read_npy

IDS = [(7 * i + 3) % 90 for i in range(41)]
LIMIT = 0.005  # of the largest logit: float16 operands are rounded after sums of another order


def must(words):
    done = completed(words, LLM_EMULATOR_TRACE="1")
    if "--device" in words and ("emulator: persistent" in done.stderr) == ("--no-persistent" in words):
        sys.exit(f"{' '.join(str(w) for w in words)}: the wrong kernels ran")
    return done.stdout


def main():
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, ids = make_model(args, folder, IDS)
        for step_tokens, name, variant in [(8, "f16_r8", "2, 1, 10, 4"), (16, "f16_r16", "2, 2, 8, 4")]:
            plan = folder / f"{step_tokens}.fb"
            must([args.llmc, "compile", model, "--target", "sm_90", "--max-step-tokens", step_tokens, "--max-batch", 4, "-q", "-o", plan,
                  "--force-variant", f"persistent={name}"])
            if f"persistent<f16, f16, f16, 64, {variant}>" not in must([args.llmc, "inspect", plan]):
                sys.exit(f"the plan for {step_tokens} tokens has no persistent kernel <..., {variant}>")

            def logits(*options):
                out = folder / "out.npy"
                must([args.llmrt, "score", plan, "--device", "cuda", "--model-dir", model, "--ids", ids, "-o", out, *options])
                return read_npy(out)

            got, expected = logits(), logits("--no-persistent")
            worst = largest_difference(got, expected)
            print(f"steps of {step_tokens}: largest difference {worst:.5f} of the largest logit")
            if not worst < LIMIT:
                sys.exit("the logits differ by more than rounding")

        def generated(*options):
            run = [args.llmrt, "run", folder / "8.fb", "--device", "cuda", "--model-dir", model, "--prompt-ids", "5,9,33,7,71", "--max-tokens", 20,
                   "--temperature", 0, "--json", *options]
            return json.loads(must(run))["ids"]

        got, expected = generated(), generated("--no-persistent")
        print("generated", got)
        if got != expected:
            sys.exit(f"the persistent kernel generated {got}, its launches {expected}")


if __name__ == "__main__":
    main()
