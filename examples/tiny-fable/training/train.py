"""Trains Tiny Fable from nothing and writes a complete Hugging Face folder.

    python3 train.py --out DIR --device cuda                # one GPU, minutes
    python3 train.py --out DIR --device cpu --compile --attention eager --batch-tokens 4096 --steps 3000   # one core, half an hour
"""

import argparse
import copy
import itertools
import json
import math
import os
import pathlib
import platform
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy
import safetensors
import tokenizers
import torch
import transformers

import corpus
import evaluate
import tokenizer as tokenizer_training

MAX_POSITIONS = 512
PHASES = ((256, 0.85), (MAX_POSITIONS, 0.15))  # tokens of a training row, and the share of the steps with such rows
DOCUMENTS_PER_BATCH = 20_000  # handed to the tokenizer at a time
IGNORED = -100  # label that the loss leaves out


def model_config(tokenizer: tokenizers.Tokenizer) -> transformers.Qwen3Config:
    return transformers.Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=192, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=2, head_dim=32, max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(corpus.BOS), eos_token_id=tokenizer.token_to_id(corpus.END),
        pad_token_id=tokenizer.token_to_id(tokenizer_training.PAD))


def make_rows(tokenizer: tokenizers.Tokenizer, rows: int, row_tokens: int, seed: int) -> numpy.ndarray:
    """Whole documents, one after another, padded where the next one does not fit.  # uint16 [rows, row_tokens + 1]"""
    pad = tokenizer.token_to_id(tokenizer_training.PAD)
    table = numpy.full((rows, row_tokens + 1), pad, dtype=numpy.uint16)
    stream = corpus.documents(seed)
    row = filled = 0
    while True:
        batch = [document for _, document in zip(range(DOCUMENTS_PER_BATCH), stream)]
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            ids = encoding.ids
            if len(ids) > row_tokens + 1:
                continue
            if filled + len(ids) > row_tokens + 1:
                row, filled = row + 1, 0
                if row == rows:
                    return table
            table[row, filled:filled + len(ids)] = ids
            filled += len(ids)


def make_labels(tokenizer: tokenizers.Tokenizer, table: numpy.ndarray) -> numpy.ndarray:
    """What to learn: answers with their end, and bare stories; not what the user says.  # int16 [rows, row_tokens]"""
    bos, user, assistant, pad = (tokenizer.token_to_id(t) for t in
                                 (corpus.BOS, corpus.USER, corpus.ASSISTANT, tokenizer_training.PAD))
    marks = numpy.isin(table, (bos, user, assistant, pad))
    position = numpy.arange(table.shape[1], dtype=numpy.int32)
    last_mark = numpy.maximum.accumulate(numpy.where(marks, position, 0), axis=1)
    speaker = numpy.take_along_axis(table, last_mark, axis=1)
    learned = numpy.isin(speaker, (bos, assistant)) & ~marks
    return numpy.where(learned, table, IGNORED).astype(numpy.int16)[:, 1:]


def batches(tokenizer: tokenizers.Tokenizer, row_tokens: int, steps: int, args: argparse.Namespace):
    """Yields (ids, labels) of each step, [rows, row_tokens], from a corpus held on the device and repeated when used up."""
    rows = max(1, args.batch_tokens // row_tokens)
    corpus_rows = min(args.corpus_tokens // row_tokens, steps * rows)
    table = make_rows(tokenizer, corpus_rows, row_tokens, args.seed + row_tokens)
    ids = torch.from_numpy(table[:, :-1].astype(numpy.int16)).to(args.device)
    labels = torch.from_numpy(make_labels(tokenizer, table)).to(args.device)
    print(f"corpus: {corpus_rows} rows of {row_tokens} tokens, {(labels != IGNORED).float().mean():.0%} learned", flush=True)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < rows:
            order = torch.cat((order, torch.randperm(corpus_rows)))
        picked, order = order[:rows].to(args.device), order[rows:]
        yield ids[picked].long(), labels[picked].long()


def optimizers(model: torch.nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0)]


def schedule(step: int, steps: int) -> float:
    """Linear warm-up over the first 2 %, then half a cosine down to 1 %."""
    warm_up = max(1, steps // 50)
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def export(model, tokenizer: tokenizers.Tokenizer, record: dict, folder: pathlib.Path) -> dict[str, float]:
    """Writes the folder in bf16, reads it back, and returns its accuracy on the held-back questions."""
    folder.mkdir(parents=True, exist_ok=True)
    rounded = copy.deepcopy(model).to(torch.bfloat16).eval()
    rounded.config.use_cache = True
    rounded.generation_config = transformers.GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id, do_sample=False, max_new_tokens=256)
    rounded.save_pretrained(folder)
    tokenizer_training.save(tokenizer, folder, MAX_POSITIONS)

    reader = transformers.AutoTokenizer.from_pretrained(folder)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(model.device).eval()
    shares, _ = evaluate.accuracy(loaded, reader, json.loads((evaluate.HERE / "held_back.json").read_text()))
    (folder / "training_run.json").write_text(json.dumps(record | {"held_back_accuracy": shares}, indent=2) + "\n")
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-tokens", type=int, default=65536, help="tokens of a step")
    parser.add_argument("--corpus-tokens", type=int, default=60_000_000, help="at most; repeated when used up")
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--export-minutes", type=float, default=5, help="also write the folder this often")
    parser.add_argument("--compile", action="store_true", help="torch.compile the layers")
    parser.add_argument("--attention", choices=("sdpa", "eager"), default="sdpa", help="eager is faster on a CPU")
    args = parser.parse_args()

    start = time.monotonic()
    torch.manual_seed(args.seed)
    tokenizer = tokenizer_training.train(args.seed)
    phase_steps = [round(args.steps * share) for _, share in PHASES]
    args.steps = sum(phase_steps)
    data = itertools.chain.from_iterable(
        batches(tokenizer, row_tokens, steps, args) for (row_tokens, _), steps in zip(PHASES, phase_steps))

    model = transformers.AutoModelForCausalLM.from_config(
        model_config(tokenizer), dtype=torch.float32, attn_implementation=args.attention).to(args.device)
    model.config.use_cache = False
    parameters = sum(p.numel() for p in model.parameters())
    trunk = torch.compile(model.model, dynamic=False) if args.compile else model.model
    steppers = optimizers(model, args.learning_rate)
    record = {
        "parameters": parameters, "seed": args.seed, "steps": args.steps, "batch_tokens": args.batch_tokens,
        "corpus_tokens": min(args.corpus_tokens, args.steps * args.batch_tokens),
        "learning_rate": args.learning_rate, "device": args.device,
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__, "tokenizers": tokenizers.__version__,
                     "safetensors": safetensors.__version__},
    }
    print(f"model: {parameters / 1e6:.2f} M parameters", flush=True)

    trained_since = exported_at = reported_at = time.monotonic()
    for step, (ids, labels) in enumerate(data):
        target = labels.flatten()
        learned = (target != IGNORED).nonzero().squeeze(1)
        with torch.autocast(args.device, dtype=torch.bfloat16):
            hidden = trunk(input_ids=ids).last_hidden_state.flatten(0, 1)
            logits = model.lm_head(hidden[learned])  # [learned positions, vocab]
        loss = torch.nn.functional.cross_entropy(logits.float(), target[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = args.learning_rate * schedule(step, args.steps)
            stepper.step()
            stepper.zero_grad()

        now = time.monotonic()
        if now - reported_at > 10 or step + 1 == args.steps:
            reported_at = now
            speed = (step + 1) * args.batch_tokens / (now - trained_since)
            print(f"step {step + 1}/{args.steps}  loss {loss.item():.4f}  {speed:.0f} tokens/s  {now - start:.0f} s", flush=True)
        if now - exported_at > 60 * args.export_minutes:
            exported_at = now
            print("held back:", export(model, tokenizer, record | {"steps_done": step + 1}, args.out), flush=True)

    record["training_seconds"] = round(time.monotonic() - trained_since)
    print("held back:", export(model, tokenizer, record, args.out), flush=True)


if __name__ == "__main__":
    main()
