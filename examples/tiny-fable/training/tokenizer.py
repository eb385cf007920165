"""Trains the byte-level BPE tokenizer on the corpus and writes it as a Hugging Face fast tokenizer.

The pre-tokenizer keeps digits and capital letters apart: a number is a row of digits and a word in capitals is a row of
letters, which is what makes additions and reversals learnable for a small model.
"""

import itertools
import json
import pathlib

import tokenizers

import corpus

PAD = "<|pad|>"
SPECIAL_TOKENS = [PAD, corpus.BOS, corpus.END, corpus.USER, corpus.ASSISTANT]
VOCAB_SIZE = 1024
TRAINING_DOCUMENTS = 30_000

# A lower-case word with its first capital and leading space; one capital; one digit; a run of punctuation; white space.
WORD_PATTERN = r" ?\p{Lu}?\p{Ll}+|\p{L}|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"

CHAT_TEMPLATE = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ['user', 'assistant'] %}
        {{- raise_exception('only the roles user and assistant are known, not ' + message['role']) }}
    {%- endif %}
    {{- '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
{%- endif %}"""


def train(seed: int) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(WORD_PATTERN), behavior="isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    # The trainer must not merge the letters of the special tokens' text, so it sees the text between them.
    texts = (text for document in itertools.islice(corpus.documents(seed), TRAINING_DOCUMENTS)
             for text in document.replace("|>", "<|").split("<|") if text and f"<|{text}|>" not in SPECIAL_TOKENS)
    tokenizer.train_from_iterator(texts, tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL_TOKENS, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    bos_id = tokenizer.token_to_id(corpus.BOS)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=f"{corpus.BOS} $A", pair=f"{corpus.BOS} $A $B", special_tokens=[(corpus.BOS, bos_id)])
    return tokenizer


def save(tokenizer: tokenizers.Tokenizer, folder: pathlib.Path, max_length: int) -> None:
    """Writes tokenizer.json and tokenizer_config.json in the form that old and new transformers read."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": corpus.BOS,
        "eos_token": corpus.END,
        "pad_token": PAD,
        "additional_special_tokens": [corpus.USER, corpus.ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_length,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
