"""A persistent kernel gives what the launches that it stands for give: logits of prompts, chunk by chunk, and generated ids; on the emulator,
where its blocks really wait for each other."""

import json
import pathlib
import sys
import tempfile

from commands import arguments, completed, largest_difference, make_model, read_npy

IDS = [(7 * i + 3) % 90 for i in range(41)]
PROMPT = 140  # long enough for two splits of attention
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
        # A head large enough for the kernel that can be a phase to be the fastest.
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(pathlib.Path(args.config).read_text()) | {"vocab_size": 4224}))
        args.config = config
        model, ids = make_model(args, folder, IDS)
        kernels = [(2, "f16_r2", "persistent_exchange", "2, 9, 4, 73728"), (8, "f16_r8", "persistent", "2, 1, 10, 4"),
                   (16, "f16_r16", "persistent", "2, 2, 8, 4")]
        for step_tokens, name, body, variant in kernels:
            plan = folder / f"{step_tokens}.fb"
            must([args.llmc, "compile", model, "--target", "sm_90", "--max-step-tokens", step_tokens, "--max-batch", min(step_tokens, 4), "-q", "-o", plan,
                  "--force-variant", f"persistent={name}"])
            if f"{body}<f16, f16, f16, 64, {variant}>" not in must([args.llmc, "inspect", plan]):
                sys.exit(f"the plan for {step_tokens} tokens has no kernel {body}<..., {variant}>")

            def logits(*options):
                out = folder / "out.npy"
                must([args.llmrt, "score", plan, "--device", "cuda", "--model-dir", model, "--ids", ids, "-o", out, *options])
                return read_npy(out)

            got, expected = logits(), logits("--no-persistent")
            worst = largest_difference(got, expected)
            print(f"steps of {step_tokens}: largest difference {worst:.5f} of the largest logit")
            if not worst < LIMIT:
                sys.exit("the logits differ by more than rounding")

        def generated(step_tokens, *options):
            run = [args.llmrt, "run", folder / f"{step_tokens}.fb", "--device", "cuda", "--model-dir", model, "--prompt-ids", ",".join(str((5 * i + 9) % 90) for i in range(PROMPT)),
                   "--max-tokens", 12,
                   "--temperature", 0, "--json", *options]
            return json.loads(must(run))["ids"]

        for step_tokens in (2, 8):
            got, expected = generated(step_tokens), generated(step_tokens, "--no-persistent")
            print("generated", got)
            if got != expected:
                sys.exit(f"the persistent kernel for {step_tokens} tokens generated {got}, its launches {expected}")


if __name__ == "__main__":
    main()
