"""Runs a model folder with transformers, in float64 throughout or in the type asked for."""

import contextlib

import torch
from transformers import AutoModelForCausalLM


@contextlib.contextmanager
def softmax_in_input_type():
    """transformers asks for a float32 softmax; a float64 run is to stay float64."""
    original = torch.nn.functional.softmax

    def softmax(x, dim=None, dtype=None, **kwargs):
        return original(x, dim=dim, dtype=torch.float64 if x.dtype == torch.float64 else dtype, **kwargs)

    torch.nn.functional.softmax = softmax
    try:
        yield
    finally:
        torch.nn.functional.softmax = original


def rms_norm_float64(module, x):
    """RMSNorm without the conversion to float32 that the modules of transformers make."""
    eps = module.variance_epsilon
    return module.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def norm_modules(model):
    return [m for m in model.modules() if type(m).__name__.endswith("RMSNorm")]


def load(folder, dtype=torch.float64, **config_changes):
    """The model of `folder` in `dtype`; config_changes replace attributes of its config."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager", **config_changes)
    model.eval()
    if dtype == torch.float64:
        for module in norm_modules(model):
            module.forward = rms_norm_float64.__get__(module)
    return model


@torch.no_grad()
def logits(model, ids):
    """[positions, vocab] of one sequence, teacher-forced, in float64."""
    with softmax_in_input_type():
        return model(torch.tensor([ids]), use_cache=False).logits[0].double()


@torch.no_grad()
def layer_outputs(model, ids):
    """The residual stream after the embedding and after every layer: [layers + 1][positions, hidden]."""
    outputs = []

    def keep(_module, _inputs, output):
        outputs.append((output[0] if isinstance(output, tuple) else output)[0].double())

    hooks = [model.model.embed_tokens.register_forward_hook(keep)]
    hooks += [layer.register_forward_hook(keep) for layer in model.model.layers]
    with softmax_in_input_type():
        model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return outputs


@torch.no_grad()
def score_std(model, ids):
    """Least standard deviation, over the layers, of the attention scores of all causal pairs before the softmax."""
    seen = []
    original = torch.nn.functional.softmax

    def softmax(x, dim=None, dtype=None, **kwargs):
        visible = x[x > -1e30]
        seen.append(visible.double().std().item())
        return original(x, dim=dim, dtype=torch.float64, **kwargs)

    torch.nn.functional.softmax = softmax
    try:
        model(torch.tensor([ids]), use_cache=False)
    finally:
        torch.nn.functional.softmax = original
    return min(seen)


def mean_kl(reference, other):
    """Mean over positions of KL(reference || other), from logits [positions, vocab]."""
    p = torch.log_softmax(reference, -1)
    q = torch.log_softmax(other, -1)
    return (p.exp() * (p - q)).sum(-1).mean().item()
