#!/bin/bash
# Compiles the example model for a CUDA target and runs the plan with the emulator in the place of the GPU.
#   run_example.sh LLMC LLMRT_EMULATED MODEL_DIR WORK_DIR
set -euo pipefail
llmc=$1 llmrt=$2 model=$3 work=$4
mkdir -p "$work"
"$llmc" compile "$model" --target sm_61 -o "$work/sm_61.fb"
ask() {
  "$llmrt" run "$work/sm_61.fb" --device cuda --model-dir "$model" --chat --prompt "$1" --temperature 0 --max-tokens 24
}
check() {
  local answer
  answer=$(ask "$1" 2>/dev/null)
  if [[ $answer != *"$2"* ]]; then
    echo "asked '$1', got '$answer', expected '$2'" >&2
    exit 1
  fi
}
check "What is 37 + 58?" "37 + 58 = 95."
check "Reverse the word LAMP." "PMAL"
