"""transformers as the reference: random checkpoints, and what it computes for them.

Shared by make_goldens.py, make_generation_goldens.py and compare_with_transformers.py. Needs, in a
scratch virtual environment: pip install torch transformers safetensors gguf
"""

import contextlib
import json
import math
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.loss import loss_utils
from transformers.models.diffllama import modeling_diffllama
from transformers.models.llama import modeling_llama

import variants

STORAGE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
PREFIX = {"diffllama": "DiffLlama", "llama": "Llama", **variants.PREFIX}
HEADS = {
    "base": "Model",
    "causal": "ForCausalLM",
    "sequence": "ForSequenceClassification",
    "qa": "ForQuestionAnswering",
    "token": "ForTokenClassification",
}


def generator(name):
    """A random generator that depends on the name alone."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def architecture(model_type, head):
    return PREFIX[model_type] + HEADS[head]


def model_class(config):
    return variants.model_class(config) or getattr(transformers, config["architectures"][0])


def parameter_shapes(config, directory):
    """Names and shapes of the parameters of the class that config.json names."""
    parsed = transformers.AutoConfig.from_pretrained(directory)
    with torch.device("meta"):
        model = model_class(config)(parsed)
    return {name: tuple(p.shape) for name, p in model.state_dict().items()}


def random_parameter(name, shape, rng, gain=1.0):
    """Values that make every part of the model matter: softmax maps that are neither flat nor
    one-hot, lambdas away from lambda_init, norm weights away from one. gain scales the matrices; 0
    gives transformers' initialisation with its defaults."""
    values = torch.randn(shape, generator=rng)
    fan_in = shape[-1]
    if gain == 0:
        if "norm" in name:
            return torch.ones(shape)
        return values * (0.1 if "lambda" in name else 0.0 if name.endswith("bias") else 0.02)
    if "lambda" in name and len(shape) == 1:
        return values * 0.5 / math.sqrt(math.sqrt(shape[0]))
    if "norm" in name or "subln" in name:
        return 1 + 0.2 * values
    if name.endswith("bias"):
        return 0.3 * values
    if "embed_tokens" in name:
        return values
    if "q_proj" in name or "k_proj" in name:
        gain *= 1.4
    return values * gain / math.sqrt(fan_in)


def write_checkpoint(
    directory, config, name, storage="float32", shards=1, stored_head=False, gain=1.0
):
    """config.json and random weights that follow from `name`; `storage` is a dtype's name or
    "mixed". stored_head writes an lm_head of its own though the config says tied."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rng = generator(name)
    tied = config.get("tie_word_embeddings", False)
    tensors = {}
    for key, shape in sorted(parameter_shapes(config, directory).items()):
        if key == "lm_head.weight" and tied and not stored_head:
            continue
        value = random_parameter(key, shape, rng, gain)
        kinds = list(STORAGE.values())
        dtype = kinds[len(tensors) % 3] if storage == "mixed" else STORAGE[storage]
        tensors[key] = value.to(dtype).contiguous()
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, directory / "model.safetensors", metadata)
        return
    weight_map = {}
    keys = list(tensors)
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {key: tensors[key] for key in keys[i::shards]}
        save_file(part, directory / file, metadata)
        weight_map.update({key: file for key in part})
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def load(directory):
    """The class of architectures[0], as docs/model.md's oracle loads it: float32, eager, eval."""
    config = json.loads((Path(directory) / "config.json").read_text())
    model, info = model_class(config).from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    problems = {k: v for k, v in info.items() if v}
    assert not problems, f"{directory}: {problems}"
    return model.eval()


def visibility(inputs):
    """May row t see key s? bool [B, T, S], by docs/model.md "Masks and positions" with no cache."""
    rows = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"][..., 0]
    batch, length = rows.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(batch, -1, -1)
    mask = inputs.get("attention_mask")
    if mask is not None and mask.ndim == 4:
        return mask[:, 0].bool()
    if mask is not None:
        return causal & mask.bool()[:, None, :]
    if "position_ids" in inputs:
        positions = inputs["position_ids"].expand(batch, -1)
        start = torch.zeros_like(positions)
        start[:, 1:] = (positions[:, 1:] != positions[:, :-1] + 1).long()
        sequence = start.cumsum(-1)
        return causal & (sequence[:, :, None] == sequence[:, None, :])
    return causal


def comparable_rows(inputs):
    """bool [B, T]: rows that see something and, in turn, only such rows. Backends disagree on a row
    that may see nothing, and what it computes spreads to the rows that see it."""
    seen = visibility(inputs)
    good = seen.any(-1)
    while True:
        spread = good & ~(seen & ~good[:, None, :]).any(-1)
        if torch.equal(spread, good):
            return good
        good = spread


def call(model, inputs, options):
    """What the model returns for inputs of `diffllama forward`: no cache, a 4-D mask of 0/1 turned
    into the additive mask that transformers expects."""
    arguments = dict(inputs)
    mask = arguments.get("attention_mask")
    if mask is not None and mask.ndim == 4:
        hidden = torch.finfo(model.dtype).min
        arguments["attention_mask"] = torch.zeros(mask.shape, dtype=model.dtype).masked_fill(
            ~mask.bool(), hidden
        )
    if "inputs_embeds" in arguments:
        arguments["inputs_embeds"] = arguments["inputs_embeds"].to(model.dtype)
    if options.get("logits_to_keep"):
        arguments["logits_to_keep"] = options["logits_to_keep"]
    if arguments.get("labels") is not None and arguments["labels"].is_floating_point():
        arguments["labels"] = arguments["labels"].to(model.dtype)
    problem_type = model.config.problem_type
    result = model(
        **arguments,
        use_cache=False,
        output_hidden_states=bool(options.get("hidden_states")),
        output_attentions=bool(options.get("attentions")),
    )
    model.config.problem_type = problem_type  # the loss writes what it inferred there
    for name in ("past_key_values", "cache"):  # as transformers named it, and names it
        assert result.get(name) is None, "a cache would hide packed sequences"
    return result


def run(model, inputs, options):
    """The outputs of `diffllama forward` for these inputs, as transformers computes them."""
    with torch.no_grad():
        result = call(model, inputs, options)
    outputs = {}
    for name in ("logits", "last_hidden_state", "start_logits", "end_logits"):
        if result.get(name) is not None:
            outputs[name] = result[name]
    if result.get("loss") is not None:
        outputs["loss"] = result["loss"].reshape(1)
    for name in ("hidden_states", "attentions"):
        for i, value in enumerate(result.get(name) or ()):
            outputs[f"{name}.{i}"] = value
    return {name: value.contiguous().clone() for name, value in outputs.items()}


def gradients(model, inputs):
    """{"grad." + name: what backward leaves} of every parameter in the model's dtype: zeros where
    torch leaves none, and where no label counts."""
    model.zero_grad()
    call(model, inputs, {}).loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found["grad." + name] = gradient.detach().clone()
    return found


def exact_gradients(directory, inputs):
    """gradients() in float64: of two float32 results neither is the measure of the other. One that
    is 0 but for rounding, as that of question answering's bias, is made 0."""
    with in_double():
        found = gradients(load(directory).double(), inputs)
    largest = max(gradient.abs().max() for gradient in found.values())
    for gradient in found.values():
        if gradient.abs().max() <= 1e-12 * largest:
            gradient.zero_()
    return found


def gradient_differences(got, want):
    """{name: max |got - want| / max |want|}; inf for a wrong shape and for NaN. Where `want` is all
    zeros, `got` is measured by 1 % of the largest gradient of all."""
    largest = max(value.abs().max().item() for value in want.values())
    differences = {}
    for name, value in want.items():
        if got[name].shape != value.shape:
            differences[name] = math.inf
            continue
        worst = (got[name].double() - value.double()).abs().max().item()
        scale = value.abs().max().item() or largest / 100
        if worst == 0:
            differences[name] = 0.0
        else:
            bad = math.isnan(worst) or scale == 0
            differences[name] = math.inf if bad else worst / scale
    return differences


def output_rows(name, shape, good, options):
    """Which elements of an output are comparable, as bool of its shape ([B, T, ...], attentions
    [B, H, T, S]); None: all of them."""
    if good.all() or name == "loss":
        return None
    if name.startswith("attentions."):
        return good[:, None, :, None].expand(shape)
    if name == "logits" and len(shape) == 2:
        return None  # sequence classification: one row, chosen to be comparable
    if name == "logits" and options.get("logits_to_keep"):
        good = good[:, -options["logits_to_keep"]:]
    return good.reshape(good.shape + (1,) * (len(shape) - 2)).expand(shape)


def relative_difference(name, got, want, good, options):
    """max |got - want| / max |want| over the comparable elements; inf for a wrong shape or a
    difference that is not a number. A NaN that is wanted must be got."""
    if tuple(got.shape) != tuple(want.shape):
        return math.inf
    rows = output_rows(name, tuple(want.shape), good, options)
    if rows is not None:
        got, want = got[rows], want[rows]
    if want.numel() == 0:
        return 0.0
    if want.isnan().any():
        return 0.0 if torch.equal(got.isnan(), want.isnan()) else math.inf
    scale = want.abs().max().item()
    worst = (got.double() - want.double()).abs().max().item()
    if math.isnan(worst):
        return math.inf
    return worst / scale if scale > 0 else (0.0 if worst == 0 else math.inf)


def _attention_in_double(module, query, key, value, mask, scaling, dropout=0.0, **_):
    groups = module.num_key_value_groups
    scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    weights = scores.softmax(-1)
    return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2).contiguous(), weights


def _norm_in_double(self, x):
    return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)


def _causal_loss_in_double(logits, labels, vocab_size, **_):
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, vocab_size), labels[:, 1:].reshape(-1)
    )


def _token_loss_in_double(logits, labels, config, **_):
    return torch.nn.functional.cross_entropy(logits.view(-1, config.num_labels), labels.view(-1))


@contextlib.contextmanager
def in_double():
    """transformers' places that go down to float32 stay in float64, so that model.double() tells
    how much of a difference is float32 rounding. The rotary angles remain float32's, and each
    layer's lambda is rounded to it."""
    saved = []
    losses = dict(loss_utils.LOSS_MAPPING)
    loss_utils.LOSS_MAPPING["ForCausalLM"] = _causal_loss_in_double
    loss_utils.LOSS_MAPPING["ForTokenClassification"] = _token_loss_in_double
    for module, norm in (
        (modeling_diffllama, modeling_diffllama.DiffLlamaRMSNorm),
        (modeling_llama, modeling_llama.LlamaRMSNorm),
    ):
        saved += [(module, "eager_attention_forward", module.eager_attention_forward)]
        saved += [(norm, "forward", norm.forward)]
        module.eager_attention_forward = _attention_in_double
        norm.forward = _norm_in_double
    try:
        yield
    finally:
        loss_utils.LOSS_MAPPING.update(losses)
        for owner, name, value in saved:
            setattr(owner, name, value)


def save_tensors(path, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)


def load_tensors(path):
    return load_file(path)
