"""Plans of the tensor-core kernels for quantized weights give the logits of the x86 kernels in float32: on the emulator, prompts in one step and
token by token."""

import json
import math
import pathlib
import sys
import tempfile

from commands import arguments, largest_difference, make_model, must, read_npy

IDS = [(7 * i + 3) % 96 for i in range(60)]  # fewer than the 64 rows of their bucket
LIMIT = 0.01  # of the largest logit: float16 operands, through two layers
SCHEMES = ["w4g32", "w8", "fp8"]
INTEGERS, BYTES = ["w4g32", "w8"], ["w8", "fp8"]
CODES = {"w4g32": "U4", "w8": "U8", "fp8": "E4m3"}


def few_tokens(variant):
    return [f"quantized_{family}={variant}" for family in ["glu", "add", "rope"]]


# What must be in the plan of a target, for these schemes; with --force-variant where the model is too small to choose it.
PLANS = [
    ("sm_80", SCHEMES, [], ["linear_quantized_gemv_mma<", "linear_quantized_gemv_rope<"]),
    ("sm_90", ["w4g32"], few_tokens("stream4_f16_r8"), ["linear_quantized_stream<", "linear_quantized_stream_rope<"]),
    ("sm_90", INTEGERS, few_tokens("int16_u{bits}_f16_r4"), ["linear_quantized_units<{code}, f16, f16, Int16Operands", "linear_quantized_units_rope<{code}, f16, f16, f16, Int16Operands"]),
    ("sm_90", SCHEMES, few_tokens("units{bits}_f16_r8"), ["linear_quantized_units<{code}, f16, f16, FloatOperands", "linear_quantized_units_rope<{code}, f16, f16, f16, FloatOperands"]),
    ("sm_90", ["w4g32"], ["quantized_fused=wgmma4_g32_r64_s4", "quantized_glu=wgmma4_g32_r64", "quantized_add=wgmma4_g32_r64_s6",
                          "quantized_rope=wgmma4_g32_r64_s4"], ["linear_quantized_wgmma<", "linear_quantized_wgmma_rope<"]),
    ("sm_90", BYTES, ["quantized_add=wgmma8_r64_s6"], ["linear_quantized_wgmma<"]),
    ("sm_86", SCHEMES, ["dequantize=fragments"], ["dequantize<"]),
]

# Activations in e4m3: kernels of products in e4m3 against the reference on activations that are rounded at the same points.
FP8 = ["quantized_fused=fp8_128x128", "quantized_glu=fp8_128x128", "quantized_add=fp8_128x128", "quantized_rope=fp8_128x128"]
FP8_REFERENCE = ["quantized_fused=fp8_naive", "quantized_glu=fp8_naive", "quantized_add=fp8_naive"]
FP8_LIMIT = 1e-4  # mean KL


def mean_kl(p_logits, q_logits, vocab):
    """Of rows of `vocab` logits each."""
    def log_softmax(row):
        top = max(row)
        total = math.log(sum(math.exp(x - top) for x in row))
        return [x - top - total for x in row]

    rows = range(0, len(p_logits), vocab)
    pairs = [(log_softmax(p_logits[r:r + vocab]), log_softmax(q_logits[r:r + vocab])) for r in rows]
    return sum(math.exp(x) * (x - y) for p, q in pairs for x, y in zip(p, q, strict=True)) / len(rows)


def compare_fp8_activations(args, folder):
    model, plan, config = folder / "fp8_model", folder / "plan.fb", folder / "config.json"
    ids, out = folder / "fp8_ids.json", folder / "logits.npy"
    config.write_text(json.dumps(json.loads(pathlib.Path(args.config).read_text()) | {"hidden_size": 128, "intermediate_size": 256}))
    ids.write_text(json.dumps([(7 * i + 3) % 96 for i in range(100)]))
    # Small weights: with those that show every missing piece one rounding to e4m3 that falls the other way moves all later tokens.
    must([args.make_model, config, "-o", model, "--dtype", "f16", "--seed", 5, "--std-mode", "realistic"])
    logits = []
    for forced, kernel, more in [(FP8_REFERENCE, "linear_fp8_naive<", ["--disable-pass", "fuse-rope-kv-write"]), (FP8, "linear_fp8_wgmma_rope<", [])]:
        variants = [w for f in forced for w in ("--force-variant", f)]
        must([args.llmc, "compile", model, "--quantize", "fp8", "--activations", "fp8", "--max-step-tokens", 128, "--target", "sm_90", "-q", "-o", plan,
              *variants, *more])
        if kernel not in must([args.llmc, "inspect", plan]):
            sys.exit(f"fp8 activations: the plan has no {kernel}")
        must([args.llmrt, "score", plan, "--device", "cuda", "--model-dir", model, "--ids", ids, "-o", out])
        logits.append(read_npy(out))
    divergence = mean_kl(*logits, vocab=96)
    print(f"fp8 activations: mean KL {divergence:.2e}", flush=True)
    if not 0 < divergence < FP8_LIMIT:
        sys.exit("the logits differ by more than rounding, or the same kernels ran")


def main():
    args = arguments(__doc__, "--llmrt-cpu")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        plan, out = folder / "plan.fb", folder / "logits.npy"
        model, ids = make_model(args, folder, IDS)
        for scheme in SCHEMES:
            bits = 4 if scheme.startswith("w4") else 8
            common = [args.llmc, "compile", model, "--quantize", scheme, "--max-step-tokens", 64, "-q", "-o", plan]
            must([*common, "--target", "native", "--kv-dtype", "f32", "--activations", "f32"])
            must([args.llmrt_cpu, "score", plan, "--device", "cpu", "--model-dir", model, "--ids", ids, "-o", out])
            expected = read_npy(out)
            for target, schemes, forced, kernels in PLANS:
                if scheme not in schemes:
                    continue
                variants = [w for f in forced for w in ("--force-variant", f.format(bits=bits))]
                must([*common, "--target", target, *variants])
                shown = must([args.llmc, "inspect", plan])
                kernels = [kernel.format(code=CODES[scheme]) for kernel in kernels]
                for kernel in kernels:
                    if kernel not in shown:
                        sys.exit(f"{scheme}, {target}: the plan has no {kernel}")
                for chunk in ([], ["--chunk", 1]):
                    must([args.llmrt, "score", plan, "--device", "cuda", "--model-dir", model, "--ids", ids, "-o", out, *chunk])
                    worst = largest_difference(read_npy(out), expected)
                    print(f"{scheme}, {target}, {kernels[0]}, {'decode' if chunk else 'prefill'}: largest difference {worst:.5f} of the largest logit", flush=True)
                    if not worst < LIMIT:
                        sys.exit("the logits differ by more than rounding")
        compare_fp8_activations(args, folder)


if __name__ == "__main__":
    main()
