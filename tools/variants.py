"""The family of differential attention that transformers does not define (docs/variants.md), in plain
torch, as the reference of the goldens: transformers' Llama with another attention and MLP, written
from the equations. It computes in whatever dtype the model has.

Registers the configurations, so that AutoConfig and from_pretrained know them.
"""

import math

import torch
import transformers
from torch import nn
from transformers.models.llama import modeling_llama

PREFIX = {
    "diff_transformer": "DiffTransformer",
    "diff_transformer_v2": "DiffTransformerV2",
    "motif": "Motif",
}


def rms(x, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


class HeadNorm(nn.Module):
    """RMSNorm with a weight, in the dtype of its input."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        return rms(x, self.eps) * self.weight


def rotate(x, cos, sin, interleaved):
    """Turns pairs (i, i + d/2), or (2i, 2i + 1), of x [B, H, T, d]; cos and sin [B, T, d/2]."""
    cos, sin = cos[:, None], sin[:, None]
    if interleaved:
        low, high = x[..., 0::2], x[..., 1::2]
    else:
        low, high = x.chunk(2, -1)
    low, high = low * cos - high * sin, high * cos + low * sin
    return torch.stack((low, high), -1).flatten(-2) if interleaved else torch.cat((low, high), -1)


class Attention(modeling_llama.LlamaAttention):
    """An attention of the family: heads() says which maps, keys and values make an output head."""

    interleaved = False
    norm_eps = None  # of subln; None: there is none
    lambda_shift = 0  # lambda_init = 0.8 - 0.6 exp(-0.3 (layer + shift))
    exponential = True  # lambda from four vectors; else none or from lambda_proj

    def __init__(self, config, layer_idx):
        nn.Module.__init__(self)
        self.config, self.layer_idx = config, layer_idx
        self.head_dim = d = config.head_dim
        width, heads, kv = config.hidden_size, config.num_attention_heads, config.num_key_value_heads
        qkv = self.qkv_bias(config)
        self.q_proj = nn.Linear(width, heads * d, bias=qkv)
        self.k_proj = nn.Linear(width, kv * d, bias=qkv)
        self.v_proj = nn.Linear(width, kv * d, bias=qkv)
        self.outputs = list(self.heads(config))
        self.value_width = self.width_of_value(config)
        self.o_proj = nn.Linear(
            len(self.outputs) * self.value_width, width, bias=self.o_bias(config)
        )
        self.add_parameters(config)

    def qkv_bias(self, config):
        return config.attention_bias

    def o_bias(self, config):
        return config.attention_bias

    def width_of_value(self, config):
        return 2 * config.head_dim

    def add_parameters(self, config):
        for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
            setattr(self, name, nn.Parameter(0.1 * torch.randn(self.head_dim)))
        self.subln = HeadNorm(2 * self.head_dim, self.subln_eps(config))
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * (self.layer_idx + self.lambda_shift))
        if config.lambda_init is not None:
            self.lambda_init = config.lambda_init

    def lambdas(self, x):
        """[B, T, heads] or a number."""
        first = torch.exp((self.lambda_q1 * self.lambda_k1).sum())
        return first - torch.exp((self.lambda_q2 * self.lambda_k2).sum()) + self.lambda_init

    def normed(self, heads):
        """Of [B, T, heads, width]."""
        return self.subln(heads) * (1 - self.lambda_init)

    def before_rotation(self, q, k):
        return q, k

    def forward(self, hidden_states, position_embeddings, attention_mask=None, **_):
        batch, tokens, _width = hidden_states.shape
        d = self.head_dim
        q = self.q_proj(hidden_states).view(batch, tokens, -1, d).transpose(1, 2)
        k = self.k_proj(hidden_states).view(batch, tokens, -1, d).transpose(1, 2)
        v = self.v_proj(hidden_states).view(batch, tokens, -1, self.value_width).transpose(1, 2)
        q, k = self.before_rotation(q, k)
        cos, sin = (x[..., : d // 2] for x in position_embeddings)
        q, k = rotate(q, cos, sin, self.interleaved), rotate(k, cos, sin, self.interleaved)
        keys = {}  # of each query head
        for _out, maps, key_heads, _value in self.outputs:
            keys.update(zip(maps, key_heads, strict=True))
        order = torch.tensor([keys[head] for head in range(q.shape[1])])
        scores = q @ k[:, order].transpose(2, 3) / math.sqrt(d)
        if attention_mask is not None:
            scores = scores + attention_mask
        weights = scores.softmax(-1)  # [B, H, T, S]
        factor = self.lambdas(hidden_states)
        heads = []
        for out, maps, _keys, value in self.outputs:
            p = weights[:, maps[0]]
            if len(maps) == 2:
                scale = factor[:, :, out, None] if torch.is_tensor(factor) and factor.ndim else factor
                p = p - scale * weights[:, maps[1]]
            heads.append(p @ v[:, value])
        heads = self.normed(torch.stack(heads, 2))  # [B, T, heads, width]
        return self.o_proj(heads.flatten(2)), weights


class DiffTransformerAttention(Attention):
    """unilm's V1: pairs (2p, 2p + 1); heads read keys i / g, or with kv_pairs pairs p / g."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.interleaved = config.rope_interleaved

    def subln_eps(self, config):
        return config.subln_eps

    def heads(self, config):
        g = config.num_attention_heads // config.num_key_value_heads
        for p in range(config.num_attention_heads // 2):
            maps = (2 * p, 2 * p + 1)
            if config.kv_pairs:
                keys = (2 * (p // g), 2 * (p // g) + 1)
            else:
                keys = tuple(i // g for i in maps)
            yield p, maps, keys, p // g


class DiffTransformerV2Attention(Attention):
    """unilm's V2: pairs (2p, 2p + 1) share a key head; sigmoid lambda by token and head; no norm."""

    def __init__(self, config, layer_idx):
        super().__init__(config, layer_idx)
        self.interleaved = config.rope_interleaved

    def width_of_value(self, config):
        return config.head_dim

    def heads(self, config):
        h = config.num_attention_heads // 2
        for p in range(h):
            kv = p // (h // config.num_key_value_heads)
            yield p, (2 * p, 2 * p + 1), (kv, kv), kv

    def add_parameters(self, config):
        self.lambda_proj = nn.Linear(config.hidden_size, len(self.outputs), bias=False)

    def lambdas(self, x):
        return torch.sigmoid(self.lambda_proj(x))

    def normed(self, heads):
        return heads


class MotifAttention(Attention):
    """Grouped: r signal heads, then the noise head that all of them subtract."""

    lambda_shift = -1

    def qkv_bias(self, config):
        return self.o_bias(config) if config.qkv_bias is None else config.qkv_bias

    def o_bias(self, config):
        return config.attention_bias or config.use_bias

    def subln_eps(self, config):
        return config.attn_rms_norm_eps

    def heads(self, config):
        n = config.num_noise_heads or config.num_attention_heads // 2
        r = config.num_attention_heads // n - 1
        pairs = config.num_key_value_heads // 2
        for j in range(n):
            i = j // (n // pairs)
            for s in range(r):
                maps = (j * (r + 1) + s, j * (r + 1) + r)
                yield j * r + s, maps, (2 * i, 2 * i + 1), i


class PolyNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3) / 3)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        powers = (rms(x**n, 1e-6) for n in (3, 2, 1))
        return sum(w * y for w, y in zip(self.weight, powers, strict=True)) + self.bias


class MotifMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.use_bias
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.act_fn = PolyNorm()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class LlamaVariantAttention(Attention):
    """Llama with qk_norm, with dex, or with both."""

    def width_of_value(self, config):
        return config.head_dim

    def heads(self, config):
        g = config.num_attention_heads // config.num_key_value_heads
        for h in range(config.num_attention_heads):
            yield h, (h,), (h // g,), h // g

    def add_parameters(self, config):
        if getattr(config, "qk_norm", False):
            self.q_norm = modeling_llama.LlamaRMSNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = modeling_llama.LlamaRMSNorm(config.head_dim, config.rms_norm_eps)
        self.dex_heads = []
        dex = getattr(config, "dex", None)
        if dex and self.layer_idx in dex["layers"]:
            heads = dex["heads"]
            listed = isinstance(heads[0], list)
            self.dex_heads = heads[dex["layers"].index(self.layer_idx)] if listed else heads
            d = config.head_dim
            self.dex_proj = nn.Module()
            self.dex_proj.weight = nn.Parameter(torch.zeros(len(self.dex_heads), d, d))
            self.dex_lambda = nn.Parameter(torch.zeros(len(self.dex_heads)))

    def before_rotation(self, q, k):
        if not hasattr(self, "q_norm"):
            return q, k
        return self.q_norm(q), self.k_norm(k)

    def lambdas(self, x):
        return 0

    def normed(self, heads):
        heads = list(heads.unbind(2))
        for i, head in enumerate(self.dex_heads):
            o = heads[head]
            heads[head] = o - self.dex_lambda[i] * (o @ self.dex_proj.weight[i].T)
        return torch.stack(heads, 2)


class Config(transformers.LlamaConfig):
    subln_eps: float = 1e-5
    rope_interleaved: bool = True
    kv_pairs: bool = False
    lambda_init: float | None = None
    num_noise_heads: int | None = None
    attn_rms_norm_eps: float = 1e-5
    use_bias: bool = False
    qkv_bias: bool | None = None

    def validate_architecture(self):
        pass


# Llama's own MLP, which is replaced, looks it up.
transformers.activations.ACT2FN["poly_norm"] = nn.Identity


def config_of(name):
    return type(PREFIX[name] + "Config", (Config,), {"model_type": name})


def variant_classes(config_class, prefix, attention, mlp=None):
    """transformers' five classes of Llama with these modules in every layer."""

    def replace(model):
        stack = getattr(model, model.base_model_prefix, model)
        for i, layer in enumerate(stack.layers):
            layer.self_attn = attention(model.config, i)
            if mlp:
                layer.mlp = mlp(model.config)

    classes = {}
    for head in (
        "Model",
        "ForCausalLM",
        "ForSequenceClassification",
        "ForQuestionAnswering",
        "ForTokenClassification",
    ):
        base = getattr(modeling_llama, "Llama" + head)

        def init(self, config, _base=base):
            _base.__init__(self, config)
            replace(self)

        members = {"__init__": init, "config_class": config_class}
        classes[prefix + head] = type(prefix + head, (base,), members)
    return classes


CLASSES = {}
for model_type, modules in {
    "diff_transformer": (DiffTransformerAttention,),
    "diff_transformer_v2": (DiffTransformerV2Attention,),
    "motif": (MotifAttention, MotifMLP),
}.items():
    config_class = config_of(model_type)
    transformers.AutoConfig.register(model_type, config_class)
    CLASSES |= variant_classes(config_class, PREFIX[model_type], *modules)
    # What the heads make their base model with, before its layers are replaced.
    transformers.AutoModel.register(config_class, CLASSES[PREFIX[model_type] + "Model"])
LLAMAS = variant_classes(transformers.LlamaConfig, "Llama", LlamaVariantAttention)


def model_class(config):
    """The class of a config.json, or None where transformers itself defines it."""
    name = config["architectures"][0]
    if config["model_type"] == "llama" and (config.get("qk_norm") or config.get("dex")):
        return LLAMAS[name]
    return CLASSES.get(name)
