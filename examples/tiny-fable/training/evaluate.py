"""Answers the held-back questions at temperature 0 and prints the share answered right, per task, and a few fables.

    python3 evaluate.py [FOLDER]          # the folder above this one unless told otherwise
"""

import argparse
import collections
import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
STORY_PROMPTS = ("Tell me a story about a fox and a lantern.", "Tell me a story about an owl and a key.",
                 "Write a story about a mouse and a kite.")


@torch.no_grad()
def generate(model, tokenizer, prompts: list[str], max_new_tokens: int) -> list[str]:
    """The greedy answer to each user message, in one padded batch."""
    chats = [tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
             for p in prompts]
    batch = tokenizer(chats, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt").to(model.device)
    ids = model.generate(**batch, do_sample=False, max_new_tokens=max_new_tokens)
    return tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)


def accuracy(model, tokenizer, questions: list[dict[str, str]]) -> tuple[dict[str, float], list[str]]:
    """Share of exactly right answers per task, and a line for each wrong one."""
    answers = generate(model, tokenizer, [q["prompt"] for q in questions], max_new_tokens=20)
    asked, right, wrong = collections.Counter(), collections.Counter(), []
    for question, answer in zip(questions, answers):
        asked[question["task"]] += 1
        if answer == question["answer"]:
            right[question["task"]] += 1
        else:
            wrong.append(f"{question['prompt']}  expected {question['answer']}  got {answer}")
    return {task: right[task] / asked[task] for task in asked}, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=HERE.parent)
    parser.add_argument("--questions", type=pathlib.Path, default=HERE / "held_back.json")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32).to(args.device).eval()
    shares, wrong = accuracy(model, tokenizer, json.loads(args.questions.read_text()))
    print(*wrong, sep="\n")
    for task, share in shares.items():
        print(f"{task}: {share:.1%}")
    for prompt, story in zip(STORY_PROMPTS, generate(model, tokenizer, list(STORY_PROMPTS), max_new_tokens=256)):
        print(f"\n> {prompt}\n{story}")


if __name__ == "__main__":
    main()
