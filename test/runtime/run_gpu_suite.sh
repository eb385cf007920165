#!/bin/bash
# Runs the runtime's GPU tests from a bundle of make_gpu_bundle.sh: sm_90 as cubin, every other target as its PTX on the GPU that is here.
#   run_gpu_suite.sh [TARGET ...]                default: all
# Prints one line per suite and target and 'N passed, N failed'; the logs stay in the folder logs/ (or $LOGS).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-$here/work}
logs=${LOGS:-$here/logs}
mkdir -p "$work" "$logs"
if [[ ! -d $work/models ]]; then
  LD_LIBRARY_PATH=$here/bin "$here/bin/xz" -dc "$here/plans.tar.xz" | tar -C "$work" -xf - || exit 1
fi
device=${DEVICE:-cuda}
limit=${LIMIT_S:-240}  # seconds per suite and target
targets=("$@")
(( $# )) || targets=(sm_90 sm_89 sm_86 sm_80 sm_75 sm_70 sm_61 sm_60)
passed=0 failed=0
table=()

# note SUITE TARGET PASSED FAILED SECONDS TEXT
note() {
  (( passed += $3, failed += $4 ))
  local verdict=pass
  (( $4 == 0 && $3 > 0 )) || verdict=FAIL
  table+=("$(printf '%-24s %-8s %5d %5d %6ds  %-4s %s' "$1" "$2" "$3" "$4" "$5" "$verdict" "$6")")
}

# suite NAME TARGET COMMAND...: counts what the command's last lines say
suite() {
  local name=$1 target=$2 log=$logs/$1.$2.log begin=$SECONDS status ok=0 bad=0 text=
  shift 2
  timeout "$limit" "$@" > "$log" 2>&1
  status=$?
  (( status == 77 )) && return  # not for this target
  ok=$(grep -cE '^\[       OK \]|  pass$' "$log")
  bad=$(grep -cE '^\[  FAILED  \] .* ms\)$|FAIL' "$log")
  [[ $name == golden* || $name == forced* || $name == quantized* ]] || bad=$(grep -cE '^\[  FAILED  \] .* ms\)$' "$log")
  if (( status != 0 && bad == 0 )); then bad=1; text="exit status $status: $(tail -n 1 "$log")"; fi
  if (( bad > 0 )) && [[ -z $text ]]; then text=$(grep -m 1 -E 'FAIL|rror' "$log" | cut -c1-110); fi
  note "$name" "$target" "$ok" "$bad" $((SECONDS - begin)) "$text"
}

# The example model's answers and its story at temperature 0.
example() {
  local target=$1 log=$logs/example.$1.log begin=$SECONDS ok=0 bad=0 text= answer
  shift
  : > "$log"
  while IFS='|' read -r question expected; do
    answer=$(timeout "$limit" "$here/bin/llmrt" run "$work/example/tiny-fable.fb" --device "$device" --target "$target" "$@" \
      --chat --prompt "$question" --temperature 0 --max-tokens 32 2>> "$log")
    echo "$question -> $answer" >> "$log"
    if [[ $answer == *"$expected"* ]]; then (( ok += 1 )); else (( bad += 1 )); text="asked '$question', got '$answer'"; fi
  done <<'QUESTIONS'
What is 37 + 58?|37 + 58 = 95.
Reverse the word LAMP.|PMAL
QUESTIONS
  answer=$(timeout "$limit" "$here/bin/llmrt" run "$work/example/tiny-fable.fb" --device "$device" --target "$target" "$@" \
    --chat --prompt "$(head -n 1 "$work/example/example_story.txt")" --temperature 0 2>> "$log")
  echo "$answer" >> "$log"
  if [[ $answer == "$(tail -n +3 "$work/example/example_story.txt")" ]]; then (( ok += 1 )); else (( bad += 1 )); text="another story: ${answer:0:90} $(grep -m 1 error "$log")"; fi
  note example "$target" "$ok" "$bad" $((SECONDS - begin)) "$text"
}

for target in "${targets[@]}"; do
  form=(--ptx)
  [[ $target == sm_90 ]] && form=()  # its code is for compute capability 9.0 only, and is there as cubin
  common=(--models "$work/models" --goldens "$work/goldens" --device "$device" --target "$target" ${form[@]+"${form[@]}"})
  narrow=$(cd "$work/auto" && ls | sed 's/\.fb$//' | paste -sd, -)
  suite golden.f32 "$target" "$here/bin/golden_test" --plans "$work/f32" --kv f32 --activations f32 "${common[@]}"
  suite golden.auto "$target" "$here/bin/golden_test" --plans "$work/auto" --only "$narrow" "${common[@]}"
  for choice in "$work"/forced/*/; do
    names=$(cd "$choice" && ls | sed 's/\.fb$//' | paste -sd, -)
    suite "forced.$(basename "$choice")" "$target" "$here/bin/golden_test" --plans "$choice" --only "$names" --skip-missing "${common[@]}"
  done
  quantized=(--models "$work/quantized/models" --goldens "$work/quantized/goldens" --kv f32 --device "$device" --target "$target" ${form[@]+"${form[@]}"})
  suite quantized "$target" "$here/bin/golden_test" --plans "$work/quantized/plans" --activations f32 "${quantized[@]}" --chunks 0,7,1
  suite quantized_auto "$target" "$here/bin/golden_test" --plans "$work/quantized_auto/plans" --skip-missing "${quantized[@]}" --chunks 0,7,1
  for choice in "$work"/trained/*/; do
    name=$(basename "$choice")
    suite "quantized.$name" "$target" "$here/bin/golden_test" --plans "$choice/plans" --only "$name" --skip-missing --models "$choice/models" \
      --goldens "$work/trained_goldens" --class rounded-inputs --device "$device" --target "$target" ${form[@]+"${form[@]}"} --chunks 0,16
  done
  suite metamorphic "$target" "$here/bin/metamorphic_test" --plans "$work/metamorphic" "${common[@]}"
  one=(--plan "$work/f32/qwen3.fb" --model-dir "$work/models/qwen3" --device "$device" --target "$target" ${form[@]+"${form[@]}"})
  suite scheduler "$target" "$here/bin/scheduler_test" "${one[@]}"
  suite sampling "$target" "$here/bin/sampling_test" "${one[@]}"
  example "$target" ${form[@]+"${form[@]}"}
done
printf '%-24s %-8s %5s %5s %7s\n' suite target pass fail time
printf '%s\n' "${table[@]}"
echo "$passed passed, $failed failed"
(( failed == 0 && passed > 0 ))
