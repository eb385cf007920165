"""What a compiler could leave out or get wrong, each as a change to a transformers model.

`switches(model)` gives {name: change(model)} for the switches that this model has; `controls` what must change nothing.
"""

import torch

import reference


def zero_biases(parts):
    def change(model):
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") and any(part in name for part in parts):
                parameter.data.zero_()

    return change


def set_windows(windows):
    """Masks by hand: transformers takes them from the config, where not every wrong choice can be said."""

    def change(model):
        for layer, window in zip(model.model.layers, windows, strict=True):
            attention = layer.self_attn
            original = attention.forward

            def forward(*args, original=original, window=window, **kwargs):
                hidden = kwargs.get("hidden_states", args[0] if args else None)
                n = hidden.shape[1]
                query = torch.arange(n)[:, None]
                key = torch.arange(n)[None, :]
                visible = (key <= query) & ((key > query - window) if window else True)
                mask = torch.where(visible, 0.0, float("-inf")).to(hidden.dtype)[None, None]
                kwargs["attention_mask"] = mask
                return original(*args, **kwargs)

            attention.forward = forward

    return change


def scale_inv_freq(function):
    def change(model):
        rotary = model.model.rotary_emb
        inv_freq = rotary.inv_freq.clone()
        if rotary.rope_type == "longrope":  # holds the short list until its forward pass
            rope = model.config.rope_parameters
            inv_freq *= torch.tensor(rope["short_factor"]) / torch.tensor(rope["long_factor"])
        rotary.rope_type = "default"  # no update in the forward pass
        rotary.inv_freq = function(inv_freq)

    return change


def set_attention_scaling(value):
    def change(model):
        model.model.rotary_emb.attention_scaling = value

    return change


def default_inv_freq(theta, dim):
    return 1.0 / theta ** (torch.arange(0, dim, 2).float() / dim)


def ones(modules_of):
    def change(model):
        for module in modules_of(model):
            module.weight.data.fill_(1.0)

    return change


def no_qk_norm(model):
    for layer in model.model.layers:
        layer.self_attn.q_norm = torch.nn.Identity()
        layer.self_attn.k_norm = torch.nn.Identity()


def qk_norm_after_rope(model):
    """The norm commutes with the rotation but for its weight, which differs between the two halves."""
    for layer in model.model.layers:
        for norm in (layer.self_attn.q_norm, layer.self_attn.k_norm):
            half = norm.weight.shape[0] // 2
            norm.weight.data = torch.cat([norm.weight.data[half:], norm.weight.data[:half]])


def set_eps(eps):
    def change(model):
        for module in reference.norm_modules(model):
            module.variance_epsilon = eps

    return change


def set_score_scale(scale):
    def change(model):
        for layer in model.model.layers:
            layer.self_attn.scaling = scale

    return change


def interleaved_kv_heads(model):
    """Query head h reads kv head h % n_kv instead of h // group."""
    c = model.config
    order = [h for kv in range(c.num_key_value_heads) for h in range(kv, c.num_attention_heads, c.num_key_value_heads)]
    for layer in model.model.layers:
        attention = layer.self_attn
        dim = attention.head_dim
        rows = torch.cat([torch.arange(h * dim, (h + 1) * dim) for h in order])
        attention.q_proj.weight.data = attention.q_proj.weight.data[rows]
        if attention.q_proj.bias is not None:
            attention.q_proj.bias.data = attention.q_proj.bias.data[rows]
        attention.o_proj.weight.data = attention.o_proj.weight.data[:, rows]


def interleaved_rope(model):
    """Pairs (2j, 2j+1) instead of (j, j + dim/2): the same as permuting the rows of q and k."""
    for layer in model.model.layers:
        attention = layer.self_attn
        dim = attention.head_dim
        rows = torch.cat([torch.arange(0, dim, 2), torch.arange(1, dim, 2)])
        for linear in (attention.q_proj, attention.k_proj):
            heads = linear.weight.shape[0] // dim
            all_rows = torch.cat([rows + h * dim for h in range(heads)])
            linear.weight.data = linear.weight.data[all_rows]
            if linear.bias is not None:
                linear.bias.data = linear.bias.data[all_rows]
        if hasattr(attention, "q_norm"):
            attention.q_norm.weight.data = attention.q_norm.weight.data[rows]
            attention.k_norm.weight.data = attention.k_norm.weight.data[rows]


def layer_windows(config):
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types:
        return [window if kind == "sliding_attention" else None for kind in types]
    return [window if config.model_type == "mistral" else None] * config.num_hidden_layers


def rope_switches(config, dim):
    rope = config.rope_parameters
    theta = rope["rope_theta"]
    out = {
        "no rope": scale_inv_freq(torch.zeros_like),
        "rope pairs interleaved": interleaved_rope,
        "rope theta off": scale_inv_freq(lambda f: default_inv_freq(theta * 2, dim) / default_inv_freq(theta, dim) * f),
    }
    kind = rope["rope_type"]
    if kind == "dynamic":
        # Below max_position_embeddings it is `default`, and must not be anything else.
        stretched = theta * (2 * rope["factor"] - (rope["factor"] - 1)) ** (dim / (dim - 2))
        out["dynamic rope stretched too early"] = scale_inv_freq(lambda f: default_inv_freq(stretched, dim))
    elif kind != "default":
        out[f"no {kind} rope scaling"] = scale_inv_freq(lambda f: default_inv_freq(theta, dim))
        factor = rope.get("factor", 4)
        out[f"{kind} rope factor as linear"] = scale_inv_freq(lambda f: default_inv_freq(theta, dim) / factor)
    if kind in ("yarn", "longrope"):
        out[f"no {kind} attention scaling"] = set_attention_scaling(1.0)
    if kind == "longrope":
        short = torch.tensor(rope["short_factor"])
        out["longrope short list"] = scale_inv_freq(lambda f: default_inv_freq(theta, dim) / short)
    if kind == "linear":
        del out["linear rope factor as linear"]
    return out


def bias_switches(model):
    names = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
    parts = {part: [part] for part in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")}
    return {f"no {part} bias": zero_biases(p) for part, p in parts.items() if any(part in name for name in names)}


def window_switches(config):
    windows = layer_windows(config)
    if not any(windows):
        return {}
    out = {
        "no window": set_windows([None] * len(windows)),
        "window one too wide": set_windows([w and w + 1 for w in windows]),
        "window one too narrow": set_windows([w and w - 1 for w in windows]),
    }
    if None in windows:
        out["window in every layer"] = set_windows([max(w for w in windows if w)] * len(windows))
    return out


def controls(model):
    """Changes that change nothing: they show that the machinery above is itself without effect."""
    return {
        "same frequencies": scale_inv_freq(lambda f: f),
        "same windows": set_windows(layer_windows(model.config)),
    }


def switches(model):
    """{name: change(model)} for a model as reference.load gives it."""
    config = model.config
    dim = model.model.layers[0].self_attn.head_dim
    out = {
        "no norm weights": ones(reference.norm_modules),
        "no score scale": set_score_scale(1.0),
        "rms_norm_eps 1e-5": set_eps(1e-5),
        "rms_norm_eps 1e-6": set_eps(1e-6),
        **rope_switches(config, dim),
        **bias_switches(model),
        **window_switches(config),
    }
    if 1 < config.num_key_value_heads < config.num_attention_heads:
        out["kv heads interleaved"] = interleaved_kv_heads
    if dim != config.hidden_size // config.num_attention_heads:
        out["head_dim from hidden_size in the score scale"] = set_score_scale(
            (config.hidden_size // config.num_attention_heads) ** -0.5)
    if hasattr(model.model.layers[0].self_attn, "q_norm"):
        out["no qk norm"] = no_qk_norm
        out["no qk norm weights"] = ones(
            lambda m: [n for layer in m.model.layers for n in (layer.self_attn.q_norm, layer.self_attn.k_norm)])
        out["qk norm after rope"] = qk_norm_after_rope
    return out
