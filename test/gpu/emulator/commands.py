"""What the comparisons of this folder share: commands that must succeed, and the logits that llmrt score writes."""

import os
import struct
import subprocess
import sys


def completed(words, **variables):
    """The finished process; ends the test if it failed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**os.environ, **variables})
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(w) for w in words)}\n{done.stdout}{done.stderr}")
    return done


def must(words):
    return completed(words).stdout


def read_npy(path):
    data = path.read_bytes()
    (header,) = struct.unpack_from("<H", data, 8)
    return struct.unpack(f"<{(len(data) - 10 - header) // 4}f", data[10 + header:])
