"""Makers of a golden case's inputs: make(rng, config) gives the tensors of inputs.safetensors."""

import torch

import reference


def ids(rng, config, batch, length, low=3):
    return torch.randint(low, config.vocab_size, (batch, length), generator=rng)


def tokens(batch, length):
    """Token ids alone."""
    return lambda rng, cfg: {"input_ids": ids(rng, cfg, batch, length)}


def left_padded(batch, length):
    """Row b has 3 b + 2 hidden tokens in front."""

    def make(rng, cfg):
        mask = torch.ones(batch, length, dtype=torch.int64)
        for b in range(batch):
            mask[b, : 3 * b + 2] = 0
        return {"input_ids": ids(rng, cfg, batch, length), "attention_mask": mask}

    return make


def right_padded(batch, length, dtype=torch.int64):
    def make(rng, cfg):
        mask = torch.ones(batch, length, dtype=dtype)
        for b in range(batch):
            mask[b, length - 4 * b - 1 :] = 0
        return {"input_ids": ids(rng, cfg, batch, length), "attention_mask": mask}

    return make


def mask_with_holes(batch, length):
    """Hidden tokens anywhere, the first ones too."""

    def make(rng, cfg):
        mask = (torch.rand(batch, length, generator=rng) < 0.6).long()
        mask[0, :2] = 0
        mask[:, -1] = 1
        return {"input_ids": ids(rng, cfg, batch, length), "attention_mask": mask}

    return make


def mask_4d(batch, length, kind, dtype=torch.int64):
    """kind: "bidirectional", "prefix" (5 tokens seen by all, then causal), "random", or
    "some_blind" (row 3 of each sequence sees nothing)."""

    def make(rng, cfg):
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = causal.expand(batch, 1, -1, -1).clone()
        if kind == "bidirectional":
            mask[:] = True
        elif kind == "prefix":
            mask[..., :5] = True
        else:
            random = torch.rand(mask.shape, generator=rng) < 0.4
            mask = random | torch.eye(length, dtype=torch.bool)
        if kind == "some_blind":
            mask[:, :, 3, :] = False
            mask[:, :, :-1, 3] = False  # the last row alone sees the blind one, and
            mask[:, :, :-1, -1] = False  # nothing sees the last row
        return {"input_ids": ids(rng, cfg, batch, length), "attention_mask": mask.to(dtype)}

    return make


def positions(batch, length, kind, mask=False):
    """kind: "shifted" (row b starts at 7 b + 3), "packed" (restarts at 0, at other places in each
    row), "gaps" (jumps ahead, which starts a new sequence where no mask is given), "reversed"."""

    def make(rng, cfg):
        at = torch.arange(length).expand(batch, -1).clone()
        for b in range(batch):
            if kind == "shifted":
                at[b] += 7 * b + 3
            elif kind == "packed":
                for start in (5 + b, 11 + b):
                    at[b, start:] = torch.arange(length - start)
            elif kind == "gaps":
                at[b, 4 + b :] += 6
                at[b, 9 + b :] += 1
            elif kind == "reversed":
                at[b] = at[b].flip(0)
        result = {"input_ids": ids(rng, cfg, batch, length), "position_ids": at}
        if mask:
            result["attention_mask"] = torch.ones(batch, length, dtype=torch.int64)
        return result

    return make


def embeddings(batch, length, mask=False):
    def make(rng, cfg):
        result = {"inputs_embeds": torch.randn(batch, length, cfg.hidden_size, generator=rng)}
        if mask:
            result["attention_mask"] = torch.ones(batch, length, dtype=torch.int64)
            result["attention_mask"][0, :3] = 0
        return result

    return make


def with_labels(make, kind):
    """kind: "tokens" and "all_ignored" (causal), "tags" (token classification), "class", "value",
    "values", "many" (sequence classification: single label, regression of one or several, multi
    label), "span" and "span_outside" (question answering). Labels of rows that are not comparable
    are -100."""

    def labelled(rng, cfg):
        inputs = make(rng, cfg)
        rows = reference.comparable_rows(inputs)
        batch, length = rows.shape
        if kind in ("tokens", "tags"):
            count = cfg.vocab_size if kind == "tokens" else cfg.num_labels
            labels = torch.randint(0, count, (batch, length), generator=rng)
            labels[torch.rand(batch, length, generator=rng) < 0.3] = -100
            bad = ~rows
            if kind == "tokens":  # the label at t + 1 judges row t
                bad = torch.cat([bad[:, :1] & False, bad[:, :-1]], 1)
            inputs["labels"] = labels.masked_fill(bad, -100)
        elif kind == "all_ignored":
            inputs["labels"] = torch.full((batch, length), -100)
        elif kind == "class":
            inputs["labels"] = torch.randint(0, cfg.num_labels, (batch,), generator=rng)
        elif kind == "value":
            inputs["labels"] = torch.randn(batch, generator=rng)
        elif kind == "values":
            inputs["labels"] = torch.randn(batch, cfg.num_labels, generator=rng)
        elif kind == "many":
            inputs["labels"] = torch.randint(0, 2, (batch, cfg.num_labels), generator=rng).float()
        elif kind == "span":
            inputs["start_positions"] = torch.randint(0, length, (batch,), generator=rng)
            inputs["end_positions"] = torch.randint(0, length, (batch,), generator=rng)
        elif kind == "span_outside":  # -5 is clamped to 0, length and past it are ignored
            inputs["start_positions"] = torch.tensor([-5, length, 2][:batch])
            inputs["end_positions"] = torch.tensor([length + 9, 1, length - 1][:batch])
        return inputs

    return labelled


def ending_in_padding(batch, length):
    """Sequence classification pools before trailing pad tokens; row 1 also holds one inside, and
    the last row is all padding (pooled at position 0)."""

    def make(rng, cfg):
        rows = ids(rng, cfg, batch, length)
        for b in range(batch):
            rows[b, length - 2 * b :] = cfg.pad_token_id
        rows[1, 2] = cfg.pad_token_id
        rows[batch - 1] = cfg.pad_token_id
        return {"input_ids": rows}

    return make


def starting_with_padding(batch, length):
    def make(rng, cfg):
        rows = ids(rng, cfg, batch, length)
        mask = torch.ones(batch, length, dtype=torch.int64)
        for b in range(batch):
            rows[b, : 2 * b + 1] = cfg.pad_token_id
            mask[b, : 2 * b + 1] = 0
        return {"input_ids": rows, "attention_mask": mask}

    return make
