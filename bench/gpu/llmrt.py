"""What `llmrt bench` says about a plan, in the shape of a peer's result (README.md)."""
import json
import subprocess


def call(command, commands):
    commands.append(" ".join(command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip() or f"status {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout)


def measure(llmrt, plan, options, batches, context, gen_tokens, prompts, repeats, commands):
    info = call([llmrt, "info", plan, *options, "--json"], commands)
    result = {"name": "llmrt", "plan": plan, "model": info["model"], "target": info["target"],
              "device": info["device"], "decode": [], "prefill": [], "left_out": []}

    def bench(prompt, gen, batch):
        sizes = ["--prompt-tokens", str(prompt), "--gen-tokens", str(gen), "--batch", ",".join(map(str, batch))]
        return call([llmrt, "bench", plan, *options, *sizes, "--repeats", str(repeats), "--json"], commands)

    def fits(batch, tokens):
        if batch <= info["max_batch"] and tokens <= info["max_context"] and (
                batch * tokens <= info["memory"]["kv_tokens"]):
            return True
        result["left_out"].append(f"{batch} x {tokens} tokens: beyond the plan or the memory")
        return False

    # Prompts start in the middle of the context, so that a step's context is `context` on the mean.
    prompt = max(1, context - gen_tokens // 2)
    wanted = [b for b in batches if fits(b, prompt + gen_tokens)]
    try:
        if wanted:
            report = bench(prompt, gen_tokens, wanted)
            result["load"] = report.get("load", {"total_s": report["load_s"]})
            result["decode"] = [{"batch": r["batch"], "context": context, "ms_per_step": r["tpot_ms"],
                                 "tokens_per_s": r["decode_tokens_per_s"], "ttft_ms": r["ttft_ms"]}
                                for r in report["runs"] if r["tpot_ms"] > 0]
            result["left_out"] += [f"batch {r['batch']}: --gen-tokens is too small to see steps of all sequences"
                                   for r in report["runs"] if r["tpot_ms"] <= 0]
    except (RuntimeError, ValueError, KeyError) as error:
        result["left_out"].append(f"decode: {error}")
    for tokens in prompts:
        if not fits(1, tokens + 1):
            continue
        try:
            ms = bench(tokens, 1, [1])["runs"][0]["ttft_ms"]
            result["prefill"].append({"tokens": tokens, "ms": ms, "tokens_per_s": tokens * 1e3 / ms})
        except (RuntimeError, ValueError, KeyError) as error:
            result["left_out"].append(f"prefill {tokens}: {error}")
    return result
