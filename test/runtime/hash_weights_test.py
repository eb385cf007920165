"""llmc compile --hash-weights: digests of the source tensors, and llmrt refuses other weights under the same header."""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ARGS = None


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)


def tensors_of(path):
    """(begin, end) in the file, by name."""
    data = path.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + header_bytes])
    header.pop("__metadata__", None)
    return {name: tuple(8 + header_bytes + at for at in t["data_offsets"]) for name, t in header.items()}


class HashWeights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.model = cls.folder / "model"
        cls.model.mkdir()
        for file in pathlib.Path(ARGS.model).iterdir():
            if file.is_file():
                shutil.copy(file, cls.model)
        cls.weights = cls.model / "model.safetensors"
        for name, flags in {"plain": [], "hashed": ["--hash-weights"], "again": ["--hash-weights", "-j1"]}.items():
            done = run(ARGS.llmc, "compile", cls.model, "--target", "x86-64-v3", "--cache", ARGS.cache, "-q",
                       "-o", cls.folder / f"{name}.fb", *flags)
            assert done.returncode == 0, done.stderr
        assert run(ARGS.llmc, "keygen", "-o", cls.folder / "owner").returncode == 0
        for name in ("plain", "hashed"):
            shutil.copy(cls.folder / f"{name}.fb", cls.folder / f"{name}.signed.fb")
            done = run(ARGS.llmc, "sign", cls.folder / f"{name}.signed.fb", "--key", cls.folder / "owner.key")
            assert done.returncode == 0, done.stderr
        (cls.folder / "ids.json").write_text("[1, 3, 50, 60, 70]")

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def score(self, plan, *words):
        output = self.folder / "logits.npy"
        done = run(ARGS.llmrt, "score", self.folder / plan, "--model-dir", self.model, "--device", "cpu",
                   "--ids", self.folder / "ids.json", "-o", output, *words)
        return done, output.read_bytes() if done.returncode == 0 else b""

    def test_digests_are_those_of_the_tensors(self):
        inspected = json.loads(run(ARGS.llmc, "inspect", self.folder / "hashed.fb", "--json").stdout)
        data = self.weights.read_bytes()
        expected = {name: hashlib.blake2b(data[begin:end], digest_size=32).hexdigest()
                    for name, (begin, end) in tensors_of(self.weights).items()}
        found = {t["key"]: t["blake2b_256"] for t in inspected["tensors"]}
        self.assertEqual(found, expected)
        text = run(ARGS.llmc, "inspect", self.folder / "hashed.fb").stdout
        for name, digest in expected.items():
            self.assertIn(f"{digest} model.safetensors {name}\n", text)
        self.assertNotIn("BLAKE2b", run(ARGS.llmc, "inspect", self.folder / "plain.fb").stdout)

    def test_same_bytes_from_any_number_of_threads(self):
        self.assertEqual((self.folder / "hashed.fb").read_bytes(), (self.folder / "again.fb").read_bytes())

    def test_the_same_logits(self):
        trust = ["--trust", self.folder / "owner.pub"]
        done, plain = self.score("plain.fb")
        self.assertEqual(done.returncode, 0, done.stderr)
        for plan, words in [("hashed.fb", []), ("hashed.signed.fb", trust), ("plain.signed.fb", trust)]:
            done, logits = self.score(plan, *words)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(logits, plain)
            self.assertEqual("signature does not cover" in done.stderr, plan == "plain.signed.fb", done.stderr)

    def test_other_weights_are_refused(self):
        good = self.weights.read_bytes()
        trust = ["--trust", self.folder / "owner.pub"]
        try:
            for name, (begin, end) in tensors_of(self.weights).items():
                if "layers.1." in name or "layers.2." in name:
                    continue
                at = (begin + end) // 2
                self.weights.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
                for plan, words in [("hashed.fb", []), ("hashed.signed.fb", trust)]:
                    done, _ = self.score(plan, *words)
                    self.assertEqual(done.returncode, 1)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                    for part in (name, "model.safetensors", "does not contain what the plan was compiled for"):
                        self.assertIn(part, done.stderr)
                self.assertEqual(self.score("plain.fb")[0].returncode, 0)
        finally:
            self.weights.write_bytes(good)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--llmrt", required=True)
    parser.add_argument("--model", required=True, help="folder of a model in one file, model.safetensors")
    parser.add_argument("--cache", required=True, help="kernel cache folder")
    ARGS = parser.parse_args()
    unittest.main(argv=[sys.argv[0]])
