# Sourced by scripts/demo and scripts/test.

jobs=${LLMC_JOBS:-$(nproc)}
export PATH="$PATH:${HOME:-/root}/.cargo/bin"

# step TITLE COMMAND...: runs the command under a heading and says how long it took; what it prints passes through.
step() {
  local title=$1 begin end
  shift
  echo "==> $title"
  begin=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  awk -v ns=$((end - begin)) 'BEGIN { printf "    (%.1f s)\n", ns / 1e9 }'
}
