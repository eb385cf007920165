"""Bytes and operations that a Llama-like model costs, from its config.json: one formula for every system."""
import json
import pathlib


class ModelCost:
    def __init__(self, config, weight_bytes=2, kv_bytes=2):
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        head_dim = config.get("head_dim") or hidden // heads
        kv_width = config.get("num_key_value_heads", heads) * head_dim
        self.layers, self.query_width, self.kv_width = config["num_hidden_layers"], heads * head_dim, kv_width
        attention = hidden * (2 * self.query_width + 2 * kv_width)
        self.layer_weights = self.layers * (attention + 3 * hidden * config["intermediate_size"])
        self.head_weights = hidden * config["vocab_size"]
        self.weight_bytes, self.kv_bytes = weight_bytes, kv_bytes

    @classmethod
    def of(cls, path, **kinds):
        return cls(json.loads(pathlib.Path(path).read_text()), **kinds)

    def decode_gb(self, batch, context):
        """Weights once (the embedding row left out), and the cache of every sequence."""
        cache = batch * context * 2 * self.layers * self.kv_width * self.kv_bytes
        return ((self.layer_weights + self.head_weights) * self.weight_bytes + cache) / 1e9

    def prefill_tflop(self, tokens):
        """Linear layers, causal attention, and the head for the last token."""
        attention = 2 * self.layers * self.query_width * tokens * (tokens + 1)
        return (2 * tokens * self.layer_weights + attention + 2 * self.head_weights) / 1e12
