#!/bin/bash
# The core of the runtime, without text, stays below 1 MB when stripped.  size_test.sh LIBRARY STRIP
set -euo pipefail
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
"$2" -o "$stripped" "$1"
bytes=$(stat -c %s "$stripped")
echo "$(basename "$1"): $bytes bytes stripped"
(( bytes < 1000000 ))
