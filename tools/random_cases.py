"""One random checkpoint and forward pass for each seed, for compare_with_transformers.py."""

import random
from dataclasses import dataclass, field

import torch

import reference

ACTIVATIONS = [
    "silu", "swish", "gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu",
    "relu2", "tanh", "sigmoid",
]  # fmt: skip
ROTARY = ["default", "linear", "dynamic", "yarn", "longrope", "llama3"]


@dataclass
class RandomCase:
    seed: int
    config: dict
    files: dict  # of write_checkpoint
    batch: int
    length: int
    mask: str  # "", "ones", "left", "right", "holes", "4d", "4d_causal"
    positions: str  # "", "shifted", "packed", "gaps", "random", "far"
    embeddings: bool
    labels: bool
    options: dict
    flags: list = field(default_factory=list)  # of the program: threads, chunks
    prompts: list = field(default_factory=list)  # to compare generation with, too
    generation: dict = field(default_factory=dict)

    def summary(self):
        c = self.config
        rope = c.get("rope_scaling") or c.get("rope_parameters") or {}
        parts = [
            c["architectures"][0],
            f"C={c['hidden_size']} I={c['intermediate_size']} L={c['num_hidden_layers']}",
            f"H={c['num_attention_heads']} K={c.get('num_key_value_heads')} d={c.get('head_dim')}",
            f"V={c['vocab_size']} {c.get('hidden_act')} eps={c.get('rms_norm_eps')}",
            rope.get("rope_type", rope.get("type", "default"))
            + f"@{c.get('max_position_embeddings')}",
            f"{self.files['storage']} gain={self.files['gain']}",
            f"B={self.batch} T={self.length}",
        ]
        for name in ("mask", "positions"):
            if getattr(self, name):
                parts.append(f"{name}={getattr(self, name)}")
        parts += [n for n in ("embeddings", "labels") if getattr(self, n)]
        parts += [f"{k}={v}" for k, v in self.options.items() if v]
        parts += [k for k in ("attention_bias", "mlp_bias", "tie_word_embeddings") if c.get(k)]
        parts += ["stored_head"] if self.files["stored_head"] else []
        return ", ".join(parts + [" ".join(map(str, self.flags))])

    def inputs(self, config):
        """The tensors of inputs.safetensors."""
        rng = reference.generator(f"inputs {self.seed}")
        inputs = {}
        if self.embeddings:
            shape = (self.batch, self.length, config.hidden_size)
            inputs["inputs_embeds"] = torch.randn(shape, generator=rng)
        else:
            shape = (self.batch, self.length)
            inputs["input_ids"] = torch.randint(0, config.vocab_size, shape, generator=rng)
        if self.mask:
            inputs["attention_mask"] = random_mask(self, rng)
        if self.positions:
            inputs["position_ids"] = random_positions(self, rng)
        if self.labels:
            add_labels(self, config, inputs, rng)
        return inputs


def random_mask(case, rng):
    batch, length = case.batch, case.length
    dtype = torch.bool if case.seed % 2 else torch.int64
    if case.mask.startswith("4d"):
        mask = torch.rand(batch, 1, length, length, generator=rng) < 0.5
        mask |= torch.eye(length, dtype=torch.bool)
        return (mask.tril() if case.mask == "4d_causal" else mask).to(dtype)
    mask = torch.ones(batch, length, dtype=torch.bool)
    if case.mask == "holes":
        mask = torch.rand(batch, length, generator=rng) < 0.6
        mask[:, length // 2] = True
    for b in range(batch):
        hidden = int(torch.randint(0, length, (1,), generator=rng))
        if case.mask == "left":
            mask[b, :hidden] = False
        elif case.mask == "right":
            mask[b, length - hidden :] = False
    return mask.to(dtype)


def random_positions(case, rng):
    at = torch.arange(case.length).expand(case.batch, -1).clone()
    for b in range(case.batch):
        if case.positions == "shifted":
            at[b] += int(torch.randint(0, 40, (1,), generator=rng))
        elif case.positions == "far":
            at[b] += int(torch.randint(1000, 100000, (1,), generator=rng))
        elif case.positions == "random":
            at[b] = torch.randint(0, case.length + 20, (case.length,), generator=rng)
        else:
            cuts = torch.randint(0, case.length, (3,), generator=rng).tolist()
            for cut in sorted(cuts):
                if case.positions == "packed":
                    at[b, cut:] = torch.arange(case.length - cut)
                else:
                    at[b, cut:] += int(torch.randint(1, 9, (1,), generator=rng))
    return at


def add_labels(case, config, inputs, rng):
    rows = reference.comparable_rows(inputs)
    batch, length = rows.shape
    head = case.config["architectures"][0]
    if head.endswith("ForCausalLM") or head.endswith("ForTokenClassification"):
        causal = head.endswith("ForCausalLM")
        count = config.vocab_size if causal else config.num_labels
        labels = torch.randint(0, count, (batch, length), generator=rng)
        labels[torch.rand(batch, length, generator=rng) < 0.2] = -100
        bad = torch.cat([rows[:, :1] | True, rows[:, :-1]], 1).logical_not() if causal else ~rows
        inputs["labels"] = labels.masked_fill(bad, -100)
    elif head.endswith("ForQuestionAnswering") and rows.all():
        for name in ("start_positions", "end_positions"):
            inputs[name] = torch.randint(-2, length + 3, (batch,), generator=rng)
    elif head.endswith("ForSequenceClassification"):
        n = config.num_labels
        kind = config.problem_type or random.Random(case.seed).choice(["class", "many"])
        if n == 1 and config.problem_type is None or kind == "regression" and n == 1:
            inputs["labels"] = torch.randn(batch, generator=rng)
        elif kind == "regression":
            inputs["labels"] = torch.randn(batch, n, generator=rng)
        elif kind in ("many", "multi_label_classification"):
            inputs["labels"] = torch.randint(0, 2, (batch, n), generator=rng).float()
        else:
            inputs["labels"] = torch.randint(0, n, (batch,), generator=rng)


def random_rotary(r, config):
    """Sets the rotary fields, in the style of transformers 5 or the one before."""
    kind = r.choice(ROTARY)
    theta = r.choice([100.0, 10000.0, 10000.0, 500000.0, 1e6])
    half = config["head_dim"] // 2
    rope = {}
    if kind in ("linear", "dynamic", "yarn", "llama3"):
        rope["factor"] = r.choice([1.0, 1.5, 2, 4.0, 8.0, 32.0])
    if kind in ("yarn", "longrope", "llama3") and r.random() < 0.8:
        rope["original_max_position_embeddings"] = r.choice([8, 16, 64, 128])
    if kind == "yarn":
        optional = {
            "beta_fast": r.choice([8, 32, 48.0]), "beta_slow": r.choice([0.5, 1, 2.0]),
            "truncate": r.random() < 0.5, "attention_factor": r.choice([0.8, 1.3]),
        }  # fmt: skip
        rope.update({k: v for k, v in optional.items() if r.random() < 0.4})
        if r.random() < 0.3:
            rope.update(mscale=r.choice([0.7, 1.0, 1.4]), mscale_all_dim=r.choice([0.5, 1.0]))
    if kind == "longrope":
        rope["short_factor"] = [round(r.uniform(1, 1.5), 3) for _ in range(half)]
        rope["long_factor"] = [round(r.uniform(1, 8), 3) for _ in range(half)]
        if r.random() < 0.5:
            rope["factor"] = r.choice([1.0, 4.0])
        if r.random() < 0.3:
            rope["attention_factor"] = r.choice([0.9, 1.2])
    if kind == "llama3":
        rope.update(low_freq_factor=r.choice([1.0, 1]), high_freq_factor=r.choice([2.0, 4.0]))
    if r.random() < 0.5:
        if kind != "default" or r.random() < 0.5:
            config["rope_scaling"] = {r.choice(["type", "rope_type"]): kind, **rope}
            if kind == "default" and r.random() < 0.5:
                config["rope_scaling"] = None
        if r.random() < 0.8:
            config["rope_theta"] = theta
    else:
        config["rope_parameters"] = {"rope_type": kind, "rope_theta": theta, **rope}
    return kind


def random_shape(r, model_type, small):
    groups = r.choice([1, 1, 2, 2, 3, 4])
    kv_heads = r.choice([2, 2, 4, 6, 8] if model_type == "diffllama" else [1, 2, 2, 3, 4, 5, 8])
    head_dim = r.choice([4, 6, 8, 10, 14, 16, 20, 24, 32, 34, 40, 64, 80, 96, 128])
    while groups * kv_heads * head_dim > (256 if small else 1024):
        if head_dim > 16:
            head_dim = head_dim // 4 * 2
        elif groups > 1:
            groups -= 1
        else:
            kv_heads = 2
            head_dim = min(head_dim, 16)
    heads = groups * kv_heads
    hidden = r.choice([r.randint(9, 96), r.choice([32, 64, 96])])
    if not small:
        hidden = r.choice([128, 192, 256, 320, 512, r.randint(100, 500)])
    if model_type == "llama":
        hidden = max(1, hidden // heads) * heads
    return {
        "hidden_size": hidden,
        "intermediate_size": r.randint(3, 120) if small else r.randint(100, 1100),
        "num_hidden_layers": r.choice([1, 2, 2, 3]) if small else r.choice([2, 3, 4]),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": r.randint(5, 130) if small else r.randint(200, 1000),
    }


def random_config(r, model_type, head, small):
    config = {
        "architectures": [reference.architecture(model_type, head)],
        "model_type": model_type,
        **random_shape(r, model_type, small),
        "hidden_act": r.choice(["silu"] * 5 + ACTIVATIONS),
        "max_position_embeddings": r.choice([16, 64, 128, 2048]),
        "rms_norm_eps": r.choice([1e-5, 1e-5, 1e-6, 1e-3]),
        "bos_token_id": 1,
        "eos_token_id": r.choice([2, [2, 3]]),
        "attention_bias": r.random() < 0.3,
        "tie_word_embeddings": r.random() < 0.3,
    }
    if model_type == "llama" and r.random() < 0.3:
        config["mlp_bias"] = True
    if head == "sequence":
        config["pad_token_id"] = r.choice([0, 4])
        problems = ["regression", "single_label_classification", "multi_label_classification"]
        if r.random() < 0.5:
            config["problem_type"] = r.choice(problems)
    if head in ("sequence", "token") and r.random() < 0.7:
        # One class has a cross entropy of 0, of which any rounding is infinitely much.
        fewest = 2 if head == "token" or "single" in config.get("problem_type", "") else 1
        labels = r.choice([fewest, 3, 7, 33])
        if r.random() < 0.5:
            config["num_labels"] = labels
        else:
            config["id2label"] = {str(i): f"L{i}" for i in range(labels)}
    if model_type == "diffllama" and r.random() < 0.15:
        config["num_key_value_heads"] = None  # all of them
    for key in ("hidden_act", "rms_norm_eps", "max_position_embeddings", "attention_bias"):
        if r.random() < 0.1:
            del config[key]  # transformers' default
    if config["hidden_size"] // config["num_attention_heads"] == config["head_dim"]:
        config["head_dim_left_out"] = r.random() < 0.5
    return config


def random_case(seed, with_labels=False):
    """with_labels: every head that can have labels has them."""
    r = random.Random(seed)
    small = r.random() < 0.6
    model_type = "diffllama" if r.random() < 0.7 else "llama"
    head = r.choice(["causal"] * 4 + ["base", "sequence", "qa", "token"])
    config = random_config(r, model_type, head, small)
    rotary = random_rotary(r, config)
    if config.pop("head_dim_left_out", False):
        del config["head_dim"]
    length = r.choice([1, 2, r.randint(3, 40), r.randint(3, 40), r.randint(40, 120)])
    if r.random() < 0.2:
        length = r.choice([255, 256, 257, 300, 513, 600, 1100])
    if head == "qa":
        length = max(length, 8)  # of one or two logits even the largest may be next to zero
    batch = r.choice([1, 1, 2, 3, 4]) if length < 200 else r.choice([1, 2])
    if rotary in ("dynamic", "longrope"):
        batch = 1  # transformers takes the length over the batch
    mask = r.choice(["", "", "", "ones", "left", "right", "holes", "4d", "4d_causal"])
    positions = r.choice(["", "", "", "shifted", "packed", "gaps", "random", "far"])
    causal = head == "causal"
    labels = (r.random() < 0.4 or with_labels) and head != "base"
    keep = r.choice([0, 1, min(5, length)]) if causal and not labels else 0
    maps = r.random() < 0.4 and length <= 128
    options = {"hidden_states": r.random() < 0.5, "attentions": maps, "logits_to_keep": keep}
    embeddings = r.random() < 0.15
    if head == "sequence" and mask in ("left", "holes", "right"):
        mask = "ones"  # else the pooled row might be one that sees nothing
    case = RandomCase(
        seed, config, {}, batch, length, mask, positions, embeddings, labels, options
    )
    case.files = {
        "storage": r.choice(["float32", "float32", "float16", "bfloat16", "mixed"]),
        "shards": r.choice([1, 1, 1, 2, 5]),
        "stored_head": causal and config["tie_word_embeddings"] and r.random() < 0.3,
        "gain": r.choice([0, 0.7, 1.0, 1.0, 1.5]),
    }
    case.config[r.choice(["dtype", "torch_dtype"])] = case.files["storage"].replace(
        "mixed", "float32"
    )
    case.flags = r.choice([[], [], ["-t", 1], ["-t", 2, "--prefill-chunk", r.choice([1, 3, 64])]])
    if causal and r.random() < 0.4:
        sizes = [r.randint(1, 30) for _ in range(r.randint(1, 3))]
        vocab = config["vocab_size"]
        case.prompts = [[r.randrange(vocab) for _ in range(size)] for size in sizes]
        case.generation = {"max_new_tokens": r.choice([1, 8, 24])}
        if r.random() < 0.3:
            case.generation["repetition_penalty"] = r.choice([0.8, 1.2, 1.5])
        if r.random() < 0.3:
            case.generation["no_repeat_ngram_size"] = r.choice([2, 3])
    return case
