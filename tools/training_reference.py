"""The recipes of `diffllama train`, carried out by transformers, torch and PEFT: the same examples in
the same order, the same loss, optimizer and schedule. For compare_training.py.

A recipe is the program's own, sections of fields: the ones below are heeded, all others decide
nothing about the weights."""

import copy
import json
import math
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer

DEFAULTS = {
    "model": {"from": None, "labels": []},
    "data": {
        "kind": None, "train": [], "valid": [], "sequence_length": 512, "packing": True,
        "append_eos": True,
    },
    "training": {
        "num_train_epochs": 1, "max_steps": 0, "batch_size": 8, "gradient_accumulation_steps": 1,
        "max_grad_norm": 1.0, "seed": 42, "dtype": "float32",
    },
    "optimizer": {
        "learning_rate": 5e-5, "weight_decay": 0, "adam_beta1": 0.9, "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
    },
    "schedule": {
        "lr_scheduler_type": "linear", "warmup_steps": 0, "warmup_ratio": 0, "min_lr_rate": 0,
    },
    "lora": None,
}  # fmt: skip
LORA_DEFAULTS = {
    "r": 8, "lora_alpha": 8, "lora_dropout": 0, "use_rslora": False,
    "target_modules": ["q_proj", "v_proj"], "modules_to_save": [],
}  # fmt: skip
TASKS = {"classification": "SEQ_CLS", "text": "CAUSAL_LM", "jsonl": "CAUSAL_LM"}


def complete(recipe):
    """The recipe with its defaults."""
    full = copy.deepcopy(DEFAULTS)
    for section, fields in recipe.items():
        if section == "lora":
            full["lora"] = {**LORA_DEFAULTS, **fields} if fields is not None else None
        else:
            full.setdefault(section, {}).update(fields)
    for name in ("train", "valid"):
        if isinstance(full["data"][name], str):
            full["data"][name] = [full["data"][name]]
    return full


# The order of examples (src/training/data/shuffle.h, src/base/random.h)


def philox(seed, stream, index):
    """The first 32-bit word of Philox4x32-10."""
    low = 0xFFFFFFFF
    words = [index & low, index >> 32 & low, stream & low, stream >> 32 & low]
    key = [seed & low, seed >> 32 & low]
    for _ in range(10):
        first, second = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [second >> 32 ^ words[1] ^ key[0], second & low,
                 first >> 32 ^ words[3] ^ key[1], first & low]  # fmt: skip
        key = [key[0] + 0x9E3779B9 & low, key[1] + 0xBB67AE85 & low]
    return words[0]


def shuffled_example(seed, index, size):
    bits = ((size - 1).bit_length() + 1) // 2
    mask = (1 << bits) - 1
    value = index % size
    while True:
        left, right = value >> bits, value & mask
        for number in range(12):
            word = philox(seed, index // size, 0x53 << 56 | number << 40 | right)
            left, right = right, (left ^ word) & mask
        value = left << bits | right
        if value < size:
            return value


# Examples


def read_lines(files):
    for file in files:
        with open(file, encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


class Classification:
    """Texts with the names of their classes; batches are padded behind."""

    def __init__(self, files, tokenizer, config, length):
        self.pad = config.pad_token_id or 0
        rows = list(read_lines(files))
        self.ids = [tokenizer.encode(row["text"]).ids[:length] for row in rows]
        self.classes = [config.label2id[row["label"]] for row in rows]

    def __len__(self):
        return len(self.ids)

    def collate(self, examples):
        width = max(len(self.ids[i]) for i in examples)
        ids = torch.full((len(examples), width), self.pad)
        mask = torch.zeros_like(ids)
        for b, i in enumerate(examples):
            row = torch.tensor(self.ids[i])
            ids[b, : len(row)] = row
            mask[b, : len(row)] = 1
        labels = torch.tensor([self.classes[i] for i in examples])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    def count(self, batch):
        return len(batch["labels"])


class LanguageModel:
    """Windows of all documents, one after another; packed ones are strangers to each other."""

    def __init__(self, files, tokenizer, config, length, packing, append_eos):
        ids, positions = [], []
        eos = config.eos_token_id
        end = [eos[0] if isinstance(eos, list) else eos] if append_eos else []
        for document in read_lines(files):
            row = tokenizer.encode(document["text"]).ids + end
            ids += row
            positions += range(len(row))
        count = len(ids) // length
        self.ids = torch.tensor(ids[: count * length]).view(count, length)
        starts = torch.tensor(positions[: count * length]).view(count, length) == 0
        self.labels, self.positions = self.ids, None
        if packing:
            self.labels = self.ids.masked_fill(starts, -100)
            at = torch.arange(length).expand(count, -1)
            self.positions = at - torch.where(starts, at, 0).cummax(1).values

    def __len__(self):
        return len(self.ids)

    def collate(self, examples):
        batch = {"input_ids": self.ids[examples], "labels": self.labels[examples]}
        if self.positions is not None:
            batch["position_ids"] = self.positions[examples]
        return batch

    def count(self, batch):
        return int((batch["labels"][:, 1:] != -100).sum())


def source_of(recipe, config, part):
    data = recipe["data"]
    tokenizer = Tokenizer.from_file(str(Path(recipe["model"]["from"]) / "tokenizer.json"))
    if data["kind"] == "classification":
        return Classification(data[part], tokenizer, config, data["sequence_length"])
    settings = (data["sequence_length"], data["packing"], data["append_eos"])
    return LanguageModel(data[part], tokenizer, config, *settings)


# The run


def model_of(recipe):
    """In evaluation mode, whose arithmetic training has too: no head compared here has dropout."""
    from reference import load

    model = load(recipe["model"]["from"])
    settings = recipe["lora"]
    if settings is None:
        return model
    import peft

    settings = {**settings, "modules_to_save": settings["modules_to_save"] or None}
    task = TASKS[recipe["data"]["kind"]]
    torch.manual_seed(recipe["training"]["seed"])
    return peft.get_peft_model(model, peft.LoraConfig(task_type=task, **settings))


def parameter_groups(model, weight_decay):
    """No decay for norms, biases and lambda vectors, which are all that has one dimension."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]


def scheduler_of(recipe, optimizer, steps):
    schedule = recipe["schedule"]
    warmup = schedule["warmup_steps"] or math.ceil(schedule["warmup_ratio"] * steps)
    kind = schedule["lr_scheduler_type"]
    if kind == "constant":
        return transformers.get_constant_schedule_with_warmup(optimizer, warmup)
    if kind == "linear":
        return transformers.get_linear_schedule_with_warmup(optimizer, warmup, steps)
    return transformers.get_cosine_with_min_lr_schedule_with_warmup(
        optimizer, warmup, steps, min_lr_rate=schedule["min_lr_rate"]
    )


def steps_of(recipe, size):
    training = recipe["training"]
    each = training["batch_size"] * training["gradient_accumulation_steps"]
    return training["max_steps"] or math.ceil(training["num_train_epochs"] * size / each)


def train(recipe, say=lambda step, steps, loss: None):
    """The trained model of a complete recipe."""
    model = model_of(recipe)
    source = source_of(recipe, model.config, "train")
    training, settings = recipe["training"], recipe["optimizer"]
    optimizer = torch.optim.AdamW(
        parameter_groups(model, settings["weight_decay"]),
        lr=settings["learning_rate"],
        betas=(settings["adam_beta1"], settings["adam_beta2"]),
        eps=settings["adam_epsilon"],
    )
    steps = steps_of(recipe, len(source))
    scheduler = scheduler_of(recipe, optimizer, steps)
    size, pieces = training["batch_size"], training["gradient_accumulation_steps"]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    low = training["dtype"] == "bfloat16"
    for step in range(steps):
        batches = []
        for piece in range(pieces):
            first = (step * pieces + piece) * size
            order = [
                shuffled_example(training["seed"], first + i, len(source)) for i in range(size)
            ]
            batches.append(source.collate(order))
        counts = [source.count(batch) for batch in batches]
        total = 0.0
        for batch, count in zip(batches, counts):
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                loss = model(**batch, use_cache=False).loss * (count / sum(counts))
            loss.backward()
            total += loss.item()
        if training["max_grad_norm"] > 0:
            torch.nn.utils.clip_grad_norm_(trained, training["max_grad_norm"])
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        say(step + 1, steps, total)
    return model


@torch.no_grad()
def evaluate(recipe, model, part="valid", batch_size=32):
    """The loss over the examples of `part`, and the accuracy of a classification (else None)."""
    source = source_of(recipe, model.config, part)
    loss, counted, right = 0.0, 0, 0
    for first in range(0, len(source), batch_size):
        batch = source.collate(list(range(first, min(first + batch_size, len(source)))))
        result = model(**batch, use_cache=False)
        count = source.count(batch)
        loss += result.loss.item() * count
        counted += count
        if recipe["data"]["kind"] == "classification":
            right += int((result.logits.argmax(-1) == batch["labels"]).sum())
    accuracy = right / counted if recipe["data"]["kind"] == "classification" else None
    return loss / counted, accuracy


def start_of_classification(model, labels, seed, out):
    """A checkpoint to start both sides from: `model` with a new head for these classes."""
    names = dict(enumerate(labels))
    torch.manual_seed(seed)
    started = transformers.AutoModelForSequenceClassification.from_pretrained(
        model, dtype=torch.float32, id2label=names, label2id={v: k for k, v in names.items()}
    )
    started.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (Path(out) / name).write_bytes((Path(model) / name).read_bytes())
