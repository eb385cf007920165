"""llmrt --trust: signed plans run, and nothing else. External and embedded weights, every verb, altered bytes."""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

ARGS = None


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)


class Signed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        for name in ("owner", "stranger"):
            assert run(ARGS.llmc, "keygen", "-o", cls.folder / name).returncode == 0
        (cls.folder / "ids.json").write_text("[1, 3, 50, 60, 70]")
        shutil.copy(ARGS.plan, cls.folder / "external.fb")
        compiled = run(ARGS.llmc, "compile", ARGS.model, "--target", "x86-64-v3", "--weights", "embed",
                       "--cache", ARGS.cache, "-q", "-o", cls.folder / "embedded.fb")
        assert compiled.returncode == 0, compiled.stderr
        for kind in ("external", "embedded"):
            shutil.copy(cls.folder / f"{kind}.fb", cls.folder / f"{kind}.signed.fb")
            done = run(ARGS.llmc, "sign", cls.folder / f"{kind}.signed.fb", "--key", cls.folder / "owner.key")
            assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def verbs(self):
        yield "run", ["--prompt-ids", "1,2,3", "--max-tokens", "4", "--temperature", "0"]
        yield "score", ["--ids", self.folder / "ids.json", "-o", self.folder / "logits.npy"]
        yield "bench", ["--prompt-tokens", "8", "--gen-tokens", "4"]
        yield "profile", ["--context", "8", "--repeats", "1"]
        yield "info", []

    def llmrt(self, verb, plan, words, trusted):
        trust = [word for name in trusted for word in ("--trust", self.folder / f"{name}.pub")]
        return run(ARGS.llmrt, verb, plan, "--model-dir", ARGS.model, "--device", "cpu", *trust, *words)

    def refused(self, done, *parts):
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("llmrt: error: "), lines[0])
        for part in parts:
            self.assertIn(part, lines[0])

    def test_every_verb_runs_what_is_signed(self):
        for kind in ("external", "embedded"):
            for verb, words in self.verbs():
                for trusted in (["owner"], ["stranger", "owner"], []):
                    done = self.llmrt(verb, self.folder / f"{kind}.signed.fb", words, trusted)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_verb_refuses_what_is_not(self):
        for verb, words in self.verbs():
            self.refused(self.llmrt(verb, self.folder / "external.fb", words, ["owner"]), "is not signed", "llmc sign")
            strange = self.llmrt(verb, self.folder / "external.signed.fb", words, ["stranger"])
            self.refused(strange, "which is not trusted here")

    def test_the_same_logits_with_and_without_trust(self):
        output = self.folder / "logits.npy"
        for kind in ("external", "embedded"):
            found = []
            for trusted in ([], ["owner"]):
                words = ["--ids", self.folder / "ids.json", "-o", output]
                done = self.llmrt("score", self.folder / f"{kind}.signed.fb", words, trusted)
                self.assertEqual(done.returncode, 0, done.stderr)
                found.append(output.read_bytes())
            self.assertEqual(*found)

    # The plan carries one target: all its bytes are used.
    def test_altered_bytes_are_refused(self):
        data = (self.folder / "embedded.signed.fb").read_bytes()
        altered = self.folder / "altered.fb"
        places = random.Random(1)
        chosen = [0, 10, 63, 64, 4095, 4096, len(data) - 50, len(data) - 1]
        for at in chosen + [places.randrange(len(data)) for _ in range(40)]:
            altered.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1:])
            self.refused(self.llmrt("run", altered, ["--prompt-ids", "1,2,3"], ["owner"]), "altered.fb")
            verified = run(ARGS.llmc, "verify", altered, "--trust", self.folder / "owner.pub")
            self.assertEqual(verified.returncode, 1)

    def test_bad_key_files(self):
        plan = self.folder / "external.signed.fb"
        for name, content, message in [("empty", "", "is not a public key"),
                                       ("digits", "llmc public key 1\nabc\n", "damaged public key")]:
            (self.folder / f"{name}.pub").write_text(content)
            self.refused(self.llmrt("info", plan, [], [name]), f"{name}.pub", message)
        self.refused(self.llmrt("info", plan, [], ["nowhere"]), "nowhere.pub", "No such file")
        secret = run(ARGS.llmrt, "info", plan, "--trust", self.folder / "owner.key")
        self.refused(secret, "is a secret key, expected the public one")

    def test_memory_table_counts_what_is_copied(self):
        def weights(trusted):
            done = self.llmrt("info", self.folder / "embedded.signed.fb", ["--json"], trusted)
            return json.loads(done.stdout)["memory"]
        self.assertEqual(weights([])["weights"], 0)
        self.assertEqual(weights(["owner"])["mapped_weights"], 0)
        self.assertEqual(weights(["owner"])["weights"], weights([])["mapped_weights"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--llmrt", required=True)
    parser.add_argument("--plan", required=True, help="of the example model, for x86-64-v3 only, external weights")
    parser.add_argument("--model", required=True)
    parser.add_argument("--cache", required=True, help="kernel cache folder")
    ARGS = parser.parse_args()
    unittest.main(argv=[sys.argv[0]])
