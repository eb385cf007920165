#!/bin/bash
# Makes a folder that a GPU machine needs to run the runtime's GPU tests: no compiler, no build, only libc and the NVIDIA driver are
# expected there.
#   make_gpu_bundle.sh OUTDIR [BUILD_DIR]        here; BUILD_DIR is build/release by default
#   OUTDIR/run_gpu_suite.sh                      there
# LLMC_NVRTC names the folder of libnvrtc.so.12 if llmc does not find it by itself; LLMC_JOBS, the kernels compiled at once.
set -euo pipefail
(( $# >= 1 )) || { sed -n '2,6s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
build=$(cd "${2:-$root/build/release}" && pwd)

tests=(golden_test metamorphic_test sampling_test scheduler_test)
for program in llmc llm-make-model llmrt "${tests[@]}"; do
  [[ -x $build/bin/$program ]] || { echo "make_gpu_bundle: error: $build/bin/$program is missing; build it first" >&2; exit 1; }
done

targets=(sm_60 sm_61 sm_70 sm_75 sm_80 sm_86 sm_89 sm_90)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Plans with passes disabled: one target each of plain kernels, of mma.sync, and the newest.
python3 "$here/make_test_plans.py" --llmc "$build/bin/llmc" --make-model "$build/bin/llm-make-model" \
  --goldens "$root/test/goldens" --out "$work/plans" --targets "${targets[@]}" --pass-targets sm_61 sm_80 sm_90 \
  ${LLMC_JOBS:+--jobs "$LLMC_JOBS"}
# Quantized checkpoints: with operands of float32 for all, and with those that llmc takes by itself where they are of 16 bits.
quantized_plans() {
  python3 "$root/test/quantized/make_plans.py" --llmc "$build/bin/llmc" --out "$work/plans/$1" --targets "$2" \
    -- --kv-dtype f32 --activations "$3" ${LLMC_JOBS:+-j "$LLMC_JOBS"}
  rm -rf "$work/plans/$1"/models/*.dense
}
quantized_plans quantized "$(IFS=,; echo "${targets[*]}")" f32
quantized_plans quantized_auto sm_75,sm_80,sm_90 auto
rm -rf "$work/plans/quantized_auto/models"
# The trained model with inputs in int8, by dp4a, and in e4m3.
trained_plans() {
  python3 "$root/test/quantized/make_plans.py" --llmc "$build/bin/llmc" --out "$work/plans/trained/$1" --targets "$2" --only "$1" \
    -- "${@:3}" ${LLMC_JOBS:+-j "$LLMC_JOBS"}
}
trained_plans tiny_fable_w8_dp4a sm_61 --quantize w8 --activations int8
trained_plans tiny_fable_fp8 sm_90 --quantize fp8 --activations fp8
trained_plans tiny_fable_fp8_block sm_90 --activations fp8
mkdir "$work/plans/example" "$work/plans/goldens" "$work/plans/quantized/goldens" "$work/plans/trained_goldens"
"$build/bin/llmc" compile "$root/examples/tiny-fable" --target "$(IFS=,; echo "${targets[*]}")" -q \
  ${LLMC_JOBS:+-j "$LLMC_JOBS"} -o "$work/plans/example/tiny-fable.fb"
cp "$root"/test/goldens/*.json "$root"/test/goldens/*.npy "$work/plans/goldens/"
cp "$root"/test/quantized/*.json "$root"/test/quantized/*.npy "$work/plans/quantized/goldens/"
cp "$root"/test/quantized/trained/tiny_fable* "$work/plans/trained_goldens/"
cp "$here/example_story.txt" "$root"/examples/tiny-fable/*.safetensors "$work/plans/example/"

# The plans share most of their kernels: packed together they take a small part of their size. xz travels with them.
mkdir -p "$out/bin"
tar -C "$work/plans" -cf - . | xz -T1 -6 --lzma2=dict=128MiB > "$out/plans.tar.xz"
cp "$(command -v xz)" "$out/bin/"
cp "$(ldd "$(command -v xz)" | awk '/liblzma/ {print $3}')" "$out/bin/"
for program in llmrt "${tests[@]}"; do
  strip -o "$out/bin/$program" "$build/bin/$program"
done
cp "$here/run_gpu_suite.sh" "$out/"
du -sh "$out" | awk '{print "GPU bundle: " $1 "B in " $2}'
