"""Makes the models and plans that the tests of this folder run.

OUT/models/NAME            a seeded model of test/goldens
OUT/SET/NAME.fb            its plan, for each set of compile options
OUT/forced/CHOICE/NAME.fb  of the models with long heads: variants that llmc would not choose everywhere
OUT/metamorphic/NAME/*.fb  of a few models: base, embed, without-PASS, without-all: the same numbers are due

Sets: f32 (--kv-dtype f32 --activations f32) of all models; auto (llmc's defaults) of those whose weights are narrower, for
which this makes a difference; int8_kv (--kv-dtype int8; x86 alone) of all.
"""

import argparse
import json
import pathlib
import subprocess
import sys

FULL_PRECISION = ["--kv-dtype", "f32", "--activations", "f32"]
LONGEST_STEP = 256  # longer than any golden: `whole` is one step
METAMORPHIC_MODELS = ["qwen3", "qwen2_window"]  # bfloat16 with q and k norms; float32 with two KV groups
# Variants forced in the two models (float16, bfloat16) whose heads are as long as the tensor-core kernels of attention
# want them. Each choice: targets, and variants by model.
VOLTA, AMPERE, HOPPER = ["sm_70", "sm_75"], ["sm_80", "sm_86", "sm_89", "sm_90"], ["sm_90"]
F16_MODEL, BF16_MODEL = "llama_head_dim_64", "qwen3_head_dim_128"
FORCED = {
    "mma": (AMPERE, {F16_MODEL: ["attention=mma_f16", "linear=mma_f16_128x128"],
                     BF16_MODEL: ["attention=mma_bf16", "linear=mma_bf16_128x128"]}),
    "decode_mma": (AMPERE, {F16_MODEL: ["attention=decode_mma_f16", "linear=gemv_mma_f16_r16"],
                            BF16_MODEL: ["attention=decode_mma_bf16", "linear=gemv_mma_bf16_r16"]}),
    "wmma": (AMPERE, {F16_MODEL: ["linear=wmma_f16_64x64"], BF16_MODEL: ["linear=wmma_bf16_64x64"]}),
    "wmma_volta": (VOLTA, {F16_MODEL: ["linear=wmma_f16_64x64"], BF16_MODEL: ["linear=wmma_scaled_64x64"]}),
    "no_tensor_cores": (VOLTA + AMPERE, {model: ["attention=prefill_32x32", "linear=tiled_64x64"]
                                         for model in (F16_MODEL, BF16_MODEL)}),
    "persistent_r8": (HOPPER, {F16_MODEL: ["persistent=f16_r8"], BF16_MODEL: ["persistent=bf16_r8"]}),
    "persistent_r16": (HOPPER, {F16_MODEL: ["persistent=f16_r16"], BF16_MODEL: ["persistent=bf16_r16"]}),
}
STEP_TOKENS = {"persistent_r8": 8, "persistent_r16": 16}  # the longest steps of these kernels; else LONGEST_STEP
OPTIONAL_PASSES = ["canonicalize", "cse", "merge-qkv", "merge-gate-up", "fuse-glu", "order-glu-rows", "fuse-rope-kv-write", "fuse-add-rms-norm"]


def run(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(word) for word in command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def local_x86_targets(llmc):
    targets = json.loads(run([llmc, "targets", "--json"]))
    return [t["name"] for t in targets if t["kind"] == "x86" and t["runs_here"]]


class Maker:
    def __init__(self, args):
        self.args = args
        self.targets = args.targets or local_x86_targets(args.llmc)

    def model(self, name):
        golden = json.loads((self.args.goldens / f"{name}.json").read_text())
        folder = self.args.out / "models" / name
        run([self.args.make_model, self.args.goldens / golden["config"], "-o", folder,
             "--seed", golden["seed"], "--shards", golden["shards"], "--force"])
        return golden

    def plan(self, name, path, options, targets=None, step_tokens=LONGEST_STEP):
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [self.args.llmc, "compile", self.args.out / "models" / name, "--target", ",".join(targets or self.targets),
                   "-o", path, "-q", "--max-step-tokens", step_tokens, *options]
        if self.args.jobs:
            command += ["-j", self.args.jobs]
        if self.args.cache:
            command += ["--cache", self.args.cache]
        run(command)

    def plans_of(self, name):
        golden = self.model(name)
        self.plan(name, self.args.out / "f32" / f"{name}.fb", FULL_PRECISION)
        if golden["dtype"] != "float32" and "auto" in self.args.sets:
            self.plan(name, self.args.out / "auto" / f"{name}.fb", [])
        if "int8_kv" in self.args.sets:
            self.plan(name, self.args.out / "int8_kv" / f"{name}.fb", ["--kv-dtype", "int8"])
        if "forced" in self.args.sets:
            for choice, (targets, models) in FORCED.items():
                targets = [t for t in targets if t in self.targets]
                if name not in models or not targets:
                    continue
                options = [word for variant in models[name] for word in ("--force-variant", variant)]
                path = self.args.out / "forced" / choice / f"{name}.fb"
                self.plan(name, path, options, targets, STEP_TOKENS.get(choice, LONGEST_STEP))
                inspected = run([self.args.llmc, "inspect", path])
                for variant in models[name]:
                    if variant.split("=")[1] not in inspected:
                        raise RuntimeError(f"{path} has no kernel of the forced variant {variant}")
        if name in METAMORPHIC_MODELS and "metamorphic" in self.args.sets:
            folder = self.args.out / "metamorphic" / name
            self.plan(name, folder / "base.fb", FULL_PRECISION)
            self.plan(name, folder / "embed.fb", [*FULL_PRECISION, "--weights", "embed"])
            every = []
            for disabled in OPTIONAL_PASSES:
                self.plan(name, folder / f"without-{disabled}.fb", [*FULL_PRECISION, "--disable-pass", disabled],
                          self.args.pass_targets)
                every += ["--disable-pass", disabled]
            self.plan(name, folder / "without-all.fb", [*FULL_PRECISION, *every], self.args.pass_targets)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmc", required=True, type=pathlib.Path)
    parser.add_argument("--make-model", required=True, type=pathlib.Path)
    parser.add_argument("--goldens", required=True, type=pathlib.Path, help="the folder test/goldens")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--targets", nargs="*", help="default: the x86 targets that run here")
    parser.add_argument("--pass-targets", nargs="*", help="for the plans with passes disabled (default: the same)")
    parser.add_argument("--sets", nargs="*", default=["auto", "forced", "metamorphic"],
                        help="beside f32: auto, int8_kv, forced, metamorphic")
    parser.add_argument("--only", nargs="*", help="names of goldens (default: all)")
    parser.add_argument("--jobs", type=int, help="kernels compiled at once")
    parser.add_argument("--cache", help="kernel cache folder")
    args = parser.parse_args()
    maker = Maker(args)
    names = args.only or sorted(path.stem for path in args.goldens.glob("*.npy"))
    for name in names:
        try:
            maker.plans_of(name)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    print(f"{len(names)} models for {', '.join(maker.targets)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
