"""The command llmrt on the example model: the JSON of `run`, stop strings, ids, limits, `score`, and what it says about bad input."""

import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ARGS = None


def llmrt(*words, stdin=""):
    return subprocess.run([ARGS.llmrt, *map(str, words)], capture_output=True, text=True, input=stdin, timeout=120)


def run(*words, **options):
    return llmrt("run", ARGS.plan, "--model-dir", ARGS.model, *words, **options)


def run_json(*words):
    done = run("--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CHAT = ("--chat", "--temperature", "0", "--prompt")


class Run(unittest.TestCase):
    def test_json_schema(self):
        out = run_json(*CHAT, "What is 37 + 58?", "--logprobs", "0")
        self.assertEqual(out["text"], "37 + 58 = 95.")
        self.assertEqual(out["finish"], "stop")
        self.assertEqual(set(out["timings"]), {"load_s", "ttft_s", "total_s", "tpot_s", "tokens_per_s"})
        self.assertTrue(all(value > 0 for value in out["timings"].values()))
        self.assertEqual(set(out), {"prompt_ids", "ids", "text", "finish", "timings", "load", "logprobs"})
        self.assertEqual(len(out["logprobs"]), len(out["ids"]))
        self.assertTrue(all(-1 < value <= 0 for value in out["logprobs"]))
        self.assertEqual(out["ids"][-1], 2)  # <|end|> is reported, and not part of the text

    def test_load_is_broken_down(self):
        done = llmrt("bench", ARGS.plan, "--model-dir", ARGS.model, "--load", "--prompt-tokens", "20", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        load = json.loads(done.stdout)["load"]
        opened = sum(load[k] for k in ("plan_s", "device_s", "memory_s", "weights_s", "code_wait_s", "init_s"))
        self.assertLessEqual(opened, load["open_s"])
        self.assertGreater(load["weights_gb"], 0)
        self.assertGreater(load["graphs"], 1)
        tokens = load["first_prefill_s"] + load["open_s"]
        self.assertLess(tokens, load["process_to_first_token_s"] + 0.02)  # the process's start is known to 10 ms
        text = llmrt("bench", ARGS.plan, "--model-dir", ARGS.model, "--load", "--prompt-tokens", "20").stdout
        self.assertIn("process start to first token", text)
        info = json.loads(llmrt("info", ARGS.plan, "--model-dir", ARGS.model, "--json").stdout)
        self.assertIn("load", info)
        self.assertEqual(info["memory"]["kv_dtype"], "bf16")

    def test_plain_output_is_the_text(self):
        done = run(*CHAT, "Reverse the word LAMP.")
        self.assertEqual((done.returncode, done.stdout), (0, "PMAL\n"))

    def test_chat_reads_standard_input(self):
        done = run("--chat", "--temperature", "0", stdin="What is 37 + 58?\n\nReverse the word LAMP.\n")
        self.assertEqual(done.returncode, 0)
        self.assertIn("95", done.stdout.splitlines()[0])

    def test_prompt_ids_equal_the_text_prompt(self):
        chat = run_json(*CHAT, "What is 37 + 58?")
        ids = run_json("--temperature", "0", "--prompt-ids", ",".join(map(str, chat["prompt_ids"])))
        self.assertEqual(ids["ids"], chat["ids"])

    def test_max_tokens(self):
        out = run_json(*CHAT, "Tell me a story about a deer.", "--max-tokens", "7")
        self.assertEqual((len(out["ids"]), out["finish"]), (7, "length"))

    def test_stop_string_ends_before_it(self):
        whole = run_json(*CHAT, "Tell me a story about a deer.")["text"]
        out = run_json(*CHAT, "Tell me a story about a deer.", "--stop", "tall oak")
        self.assertEqual((out["text"], out["finish"]), (whole[:whole.index("tall oak")], "stop"))
        out = run_json(*CHAT, "Tell me a story about a deer.", "--stop", "nowhere", "--stop", " lived")
        self.assertEqual(out["text"], whole[:whole.index(" lived")])

    def test_seed_repeats_itself(self):
        words = ("--chat", "--temperature", "1.5", "--max-tokens", "40", "--prompt", "Tell me a story about a fox.", "--seed")
        first = run_json(*words, "5")["ids"]
        self.assertEqual(run_json(*words, "5")["ids"], first)
        self.assertNotEqual(run_json(*words, "6")["ids"], first)

    def test_ignore_eos_goes_on(self):
        out = run_json(*CHAT, "What is 37 + 58?", "--ignore-eos", "--max-tokens", "40")
        self.assertEqual((len(out["ids"]), out["finish"]), (40, "length"))


class Score(unittest.TestCase):
    def test_chunks_agree(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / "ids.json").write_text(json.dumps([1, 3, 50, 60, 70, 80, 90, 100, 110, 2, 4, 33]))
            rows = []
            for chunk in (0, 5):
                output = folder / f"{chunk}.npy"
                done = llmrt("score", ARGS.plan, "--model-dir", ARGS.model, "--ids", folder / "ids.json", "-o", output,
                             *(["--chunk", chunk] if chunk else []))
                self.assertEqual(done.returncode, 0, done.stderr)
                data = output.read_bytes()
                header = 10 + struct.unpack("<H", data[8:10])[0]
                self.assertIn(b"(12, 1024)", data[:header])
                rows.append(struct.unpack(f"<{12 * 1024}f", data[header:]))
            self.assertLess(max(abs(a - b) for a, b in zip(*rows)), 1e-3)


class BadInput(unittest.TestCase):
    def refused(self, done, *parts):
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(done.stdout, "")
        lines = [line for line in done.stderr.splitlines() if not line.startswith("llmrt: note")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("llmrt: error: "), lines[0])
        for part in parts:
            self.assertIn(part, lines[0])

    def test_no_plan(self):
        self.refused(llmrt("run", "nowhere.fb", "--prompt", "x"), "nowhere.fb", "No such file")

    def test_not_a_plan(self):
        self.refused(llmrt("run", pathlib.Path(ARGS.model) / "config.json", "--prompt", "x"), "config.json")

    def test_damaged_plan(self):
        data = pathlib.Path(ARGS.plan).read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            damaged = pathlib.Path(folder) / "damaged.fb"
            flipped = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1:] for at in (0, 8, 40, 50, 5000, len(data) // 2, len(data) - 9)]
            for content in [data[:len(data) // 2], data[:200], b"", data + b"\0", *flipped]:
                damaged.write_bytes(content)
                self.refused(llmrt("run", damaged, "--model-dir", ARGS.model, "--prompt", "x"), "damaged.fb")

    def test_wrong_model_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            self.refused(llmrt("run", ARGS.plan, "--model-dir", folder, "--prompt", "x"), "model.safetensors")
            # Another model's weights of the same name.
            other = pathlib.Path(folder) / "model.safetensors"
            shutil.copy(pathlib.Path(ARGS.model) / "model.safetensors", other)
            with open(other, "r+b") as file:
                file.truncate(other.stat().st_size - 2)
            self.refused(llmrt("run", ARGS.plan, "--model-dir", folder, "--prompt", "x"), "model.safetensors")

    def test_missing_target_names_the_line_that_fixes_it(self):
        self.refused(run("--prompt", "x", "--target", "sm_75"), "sm_75", "x86-64-v3", "llmc compile", "--target sm_75")

    def test_bad_device(self):
        self.refused(run("--prompt", "x", "--device", "toaster"), "toaster", "cuda:N")

    def test_bad_prompt_ids(self):
        self.refused(run("--prompt-ids", "1,2,abc"), "1,2,abc")
        self.refused(run("--prompt-ids", "1,2,99999"), "99999", "vocabulary")

    def test_prompt_beyond_the_context(self):
        self.refused(run("--prompt-ids", ",".join(["5"] * 600)), "600", "512", "--max-context")

    def test_usage(self):
        done = llmrt("run")
        self.assertEqual(done.returncode, 2)
        self.assertEqual(llmrt().returncode, 2)
        self.assertEqual(run("--prompt", "x", "--prompt-ids", "1").returncode, 2)
        self.assertEqual(llmrt("--help").returncode, 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llmrt", required=True)
    parser.add_argument("--plan", required=True, help="of the example model, for x86-64-v3 only")
    parser.add_argument("--model", required=True)
    ARGS = parser.parse_args()
    unittest.main(argv=[sys.argv[0]])
