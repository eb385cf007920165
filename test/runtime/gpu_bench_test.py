"""bench/gpu on the CPU: the anchor model against transformers, the report, and one whole run with the example model."""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ARGS = None
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench/gpu"))

TINY = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": 256}
has_torch = importlib.util.find_spec("torch") is not None
has_transformers = has_torch and importlib.util.find_spec("transformers") is not None


class Anchor(unittest.TestCase):
    @unittest.skipUnless(has_transformers, "needs torch and transformers")
    def test_logits_are_those_of_transformers(self):
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        import llama

        with tempfile.NamedTemporaryFile("w", suffix=".json") as file, torch.no_grad():
            json.dump(TINY, file)
            file.flush()
            ours = llama.Llama(llama.Config.of(file.name), "cpu", torch.float32)
            theirs = LlamaForCausalLM(LlamaConfig(**TINY)).eval()
            theirs.model.embed_tokens.weight.copy_(ours.embedding)
            theirs.lm_head.weight.copy_(ours.head_weight)
            for layer, (_, qkv, o, _, gate_up, down) in zip(theirs.model.layers, ours.layers):
                q, k, v = qkv.split([64, 32, 32])
                gate, up = gate_up.chunk(2)
                for module, weight in ((layer.self_attn.q_proj, q), (layer.self_attn.k_proj, k),
                                       (layer.self_attn.v_proj, v), (layer.self_attn.o_proj, o),
                                       (layer.mlp.gate_proj, gate), (layer.mlp.up_proj, up),
                                       (layer.mlp.down_proj, down)):
                    module.weight.copy_(weight)
            ids = torch.randint(0, 128, (2, 12))
            wanted = theirs(ids).logits
            cache = ours.new_cache(2, 20)
            prompt, _ = ours.step(ids[:, :11], torch.arange(11), cache)
            step, picked = ours.step(ids[:, 11:], torch.tensor([11]), cache)
            torch.testing.assert_close(prompt[:, 0], wanted[:, 10], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(step[:, 0], wanted[:, 11], rtol=1e-4, atol=1e-5)
            self.assertEqual(picked.tolist(), wanted[:, 11].argmax(-1, keepdim=True).tolist())


class Cost(unittest.TestCase):
    def test_llama_3_8b(self):
        from model_cost import ModelCost

        cost = ModelCost({"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 128256,
                          "num_attention_heads": 32, "num_key_value_heads": 8})
        self.assertAlmostEqual(cost.decode_gb(1, 0), 15.01, places=2)
        self.assertAlmostEqual(cost.decode_gb(1, 1000) - cost.decode_gb(1, 0), 0.131, places=3)
        self.assertAlmostEqual(cost.prefill_tflop(2048), 29.69, places=1)


class Run(unittest.TestCase):
    def run_bench(self, *words):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "result.of.today"
            done = subprocess.run(
                [sys.executable, ROOT / "bench/gpu/run", "--model-dir", ARGS.model, "--plans", ARGS.plan, "--llmrt",
                 ARGS.llmrt, "--device", "cpu", "--context", "32", "--gen-tokens", "16", "--batch", "1,2,4096",
                 "--prompts", "16,999999", "--repeats", "1", "-o", out, *words], capture_output=True, text=True)
            self.assertTrue(out.with_name(out.name + ".json").exists(), done.stderr)
            return (done, json.loads(out.with_name(out.name + ".json").read_text()),
                    out.with_name(out.name + ".md").read_text())

    def check(self, result, table):
        ours = next(s for s in result["systems"] if s["name"] == "llmrt")
        self.assertEqual([r["batch"] for r in ours["decode"]], [1, 2])
        self.assertEqual([r["tokens"] for r in ours["prefill"]], [16])
        self.assertEqual(len(ours["left_out"]), 2)
        self.assertTrue(all(r["ms_per_step"] > 0 for r in ours["decode"]))
        self.assertIn("beyond the plan", table)

    def test_plans_alone(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as peer:
            json.dump({"name": "some peer", "decode": [{"batch": 1, "context": 32, "ms_per_step": 2.0,
                                                        "tokens_per_s": 500.0}], "prefill": []}, peer)
            peer.flush()
            done, result, table = self.run_bench("--skip", "ceilings,anchor", "--peers", peer.name)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(result, table)
        self.assertIn("| some peer | 1 | 32 | 2.000 | 500.0 |", table)

    @unittest.skipUnless(has_torch, "needs torch")
    def test_everything(self):
        done, result, table = self.run_bench(
            "--anchor-options=--backend eager --decode 1,2 --prefill 16 --repeats 1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(result, table)
        self.assertGreater(result["ceilings"]["copy_gb_s"], 0)
        anchor = next(s for s in result["systems"] if s["name"] == "torch.compile anchor")
        self.assertEqual([r["batch"] for r in anchor["decode"]], [1, 2])
        self.assertEqual(anchor["left_out"], [])
        self.assertIn("| torch.compile anchor | 16 |", table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("llmrt", "plan", "model"):
        parser.add_argument(f"--{name}", required=True)
    ARGS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
