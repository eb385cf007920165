"""Writes the golden files beside it: what the Python tokenizers and transformers make of the same inputs.

    python make_goldens.py [folder with further tokenizers and templates]

Writes byte_level.tokenizer.json and byte_fallback.tokenizer.json (tiny tokenizers, trained here),
tokenizer_goldens.json and template_goldens.json. The versions that made them are in the files. Templates and tokenizers of the optional folder
are only read; their outputs are kept as goldens under the name of the file.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).parent
NOW = "2025-02-03T04:05:06"
VERSIONS = {
    "transformers": transformers.__version__,
    "tokenizers": tokenizers.__version__,
    "jinja2": jinja2.__version__,
}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
CORPUS = [
    "The small fox went into the forest and found the river. The river was cold, the fox was not.",
    "Once there was a king who had three sons; the sons had nothing but the wind and the rain.",
    "I'm sure they'll say it's 100% true, isn't it? We've 1234 of them, they're fine.",
    "for (int i = 0; i < 10; ++i) {\n    total += values[i];\n}\n",
    "Straße, Größe, été, déjà vu, naïve; Привет мир; 你好，世界。",
] * 4
TEXTS = [
    "",
    " ",
    "Hello",
    " Hello",
    "  two  spaces  ",
    "The small fox went into the forest.",
    "I'm sure THEY'LL say it's 1234.",
    "line\nbreaks\r\n\n\tand tabs  \n end ",
    "Straße été Привет 你好世界",
    "emoji 😀👍🏽 and \u200b zero width",
    "<s>special</s> <|end|>tokens<|end|>",
    "a\u0301 combining, \ufffd replacement, \u2581 block",
    "for (int i = 0; i < 10; ++i) { total += values[i]; }",
]
# The pattern of Qwen2.5's tokenizer: look-ahead and Unicode classes.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "</s>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken("<|end|>", special=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def byte_fallback():
    # The trainer knows no byte fallback: train merges on text with U+2581 for spaces, then put byte tokens in front.
    scratch = Tokenizer(models.BPE())
    scratch.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    scratch.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    scratch.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=160, show_progress=False))
    trained = json.loads(scratch.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += [piece for piece, _ in sorted(trained["vocab"].items(), key=lambda item: item[1])]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in trained["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = scratch.normalizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.add_tokens([AddedToken("<|end|>", special=False, normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def tokenizer_cases(tokenizer):
    cases = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special": tokenizer.encode(text).ids,
                "decoded": tokenizer.decode(ids),
                "decoded_with_special": tokenizer.decode(ids, skip_special_tokens=False),
            }
        )
    return cases


class FixedClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(NOW)


def template_cases(source, conversations):
    cases = []
    for conversation in conversations:
        case = {"conversation": conversation["name"]}
        try:
            rendered, _ = chat_template_utils.render_jinja_template(
                conversations=[conversation["messages"]],
                tools=conversation.get("tools"),
                chat_template=source,
                add_generation_prompt=conversation.get("add_generation_prompt", True),
                **{**SPECIAL_TOKENS, **conversation.get("variables", {})},
            )
            case["text"] = rendered[0]
        except Exception as error:  # The template's own raise_exception, or a bad operation in it.
            case["error"] = str(error)
        cases.append(case)
    return cases


def write(name, value):
    (HERE / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main():
    shared = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    chat_template_utils.datetime = FixedClock

    own = {"byte_level": byte_level(), "byte_fallback": byte_fallback()}
    tokenizer_goldens = {"made_with": VERSIONS, "own": {}, "shared": {}}
    for name, tokenizer in own.items():
        (HERE / f"{name}.tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n", encoding="utf-8")
        tokenizer_goldens["own"][f"{name}.tokenizer.json"] = tokenizer_cases(tokenizer)

    conversations = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))
    template_goldens = {"made_with": VERSIONS, "now": NOW, "special_tokens": SPECIAL_TOKENS, "own": {}, "shared": {}}
    for path in sorted((HERE / "templates").glob("*.jinja")):
        template_goldens["own"][path.name] = template_cases(path.read_text(encoding="utf-8"), conversations)

    if shared:
        for path in sorted((shared / "tokenizers").glob("*/tokenizer.json")):
            cases = tokenizer_cases(Tokenizer.from_file(str(path)))
            tokenizer_goldens["shared"][str(path.relative_to(shared))] = cases
        for path in sorted((shared / "chat_templates").iterdir()):
            text = path.read_text(encoding="utf-8")
            source = text if path.suffix == ".jinja" else json.loads(text)["chat_template"]
            template_goldens["shared"][str(path.relative_to(shared))] = template_cases(source, conversations)

    write("tokenizer_goldens.json", tokenizer_goldens)
    write("template_goldens.json", template_goldens)


if __name__ == "__main__":
    main()
