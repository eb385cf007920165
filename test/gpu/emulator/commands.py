"""What the comparisons of this folder share: commands that must succeed, and the logits that llmrt score writes."""

import argparse
import json
import os
import struct
import subprocess
import sys


def run(words, **variables):
    """The finished process, with these environment variables."""
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**os.environ, **variables})


def completed(words, **variables):
    """The same; ends the test if it failed."""
    done = run(words, **variables)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(w) for w in words)}\n{done.stdout}{done.stderr}")
    return done


def must(words, **variables):
    return completed(words, **variables).stdout


def read_npy(path):
    data = path.read_bytes()
    (header,) = struct.unpack_from("<H", data, 8)
    return struct.unpack(f"<{(len(data) - 10 - header) // 4}f", data[10 + header:])


def arguments(description, *more):
    """Paths by option: of llmc, llmrt and llm-make-model, the model's config.json, and `more`."""
    parser = argparse.ArgumentParser(description=description)
    for name in ["--llmc", "--llmrt", "--make-model", "--config", *more]:
        parser.add_argument(name, required=True)
    return parser.parse_args()


def make_model(args, folder, ids):
    """A seeded float16 model in `folder`, and a file of the ids."""
    model, ids_file = folder / "model", folder / "ids.json"
    ids_file.write_text(json.dumps(ids))
    must([args.make_model, args.config, "-o", model, "--dtype", "f16", "--seed", 5])
    return model, ids_file


def largest_difference(got, expected):
    """As a share of the largest expected value."""
    return max(abs(x - y) for x, y in zip(got, expected, strict=True)) / max(abs(x) for x in expected)
