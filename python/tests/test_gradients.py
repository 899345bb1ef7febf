"""Losses, their gradients, and steps of training in Python: with numpy, and with torch's optimizers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD, ROOT, assert_close

import diffllama

IDS = np.array([[1, 5, 9, 3], [2, 7, 7, 4]])
HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="no torch")


def open_model() -> Any:
    return diffllama.DiffLlamaForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype="float32", threads=2)


def gradient(model: Any, name: str = "lm_head.weight") -> Any:
    return np.array(model.get_parameter(name).grad)


def expected_gradient(name: str = "lm_head.weight", ids: Any = IDS) -> Any:
    return open_model()(ids, labels=ids, output_gradients=True).gradients[name]


def test_a_loss_after_a_cache_has_no_gradients() -> None:
    model = open_model()
    past = model(IDS[:, :2]).past_key_values
    loss = model(IDS[:, 2:], labels=IDS[:, 2:], past_key_values=past).loss
    with pytest.raises(diffllama.InvalidArgument, match="got one with past_key_values"):
        loss.backward()
    empty = model(IDS, labels=IDS, past_key_values=diffllama.DynamicCache()).loss
    empty.backward()
    assert np.array_equal(gradient(model), expected_gradient())


def test_gradients_are_of_what_was_given() -> None:
    model = open_model()
    ids, labels, mask = IDS.copy(), IDS.copy(), np.ones_like(IDS)
    loss = model(ids, labels=labels, attention_mask=mask).loss
    ids.fill(6)
    labels.fill(8)
    mask[:, 0] = 0
    loss.backward()
    assert np.array_equal(gradient(model), expected_gradient())


def test_gradients_of_changed_parameters_are_refused() -> None:
    model = open_model()
    loss = model(IDS, labels=IDS).loss
    model.load_state_dict({"lm_head.weight": np.ones((56, 32))}, strict=False)
    with pytest.raises(diffllama.InvalidArgument, match="got changed ones"):
        loss.backward()


def test_frozen_parameters_get_no_gradients() -> None:
    model = open_model()
    model.requires_grad_(False)
    model.get_parameter("lm_head.weight").requires_grad = True
    model(IDS, labels=IDS).loss.backward()
    assert [name for name, each in model.named_parameters() if each.grad is not None] == ["lm_head.weight"]
    assert np.array_equal(gradient(model), expected_gradient())


def test_multiples_and_sums_of_losses() -> None:
    model = open_model()
    other = IDS[:, ::-1].copy()
    (model(IDS, labels=IDS).loss / 2 + 3 * model(other, labels=other).loss - 1).backward()
    assert_close(gradient(model), expected_gradient() / 2 + 3 * expected_gradient(ids=other), 1e-6)
    model.zero_grad()
    sum([model(IDS, labels=IDS).loss, model(other, labels=other).loss]).backward()
    (-model(IDS, labels=IDS).loss).backward()
    assert_close(gradient(model), expected_gradient(ids=other), 1e-5)


IN_NUMPY = """
import sys
import numpy as np
import diffllama
model = diffllama.DiffLlamaForCausalLM.from_pretrained(sys.argv[1], dtype="float32")
ids = np.array([[1, 5, 9, 3]])
losses = []
for _ in range(3):
    loss = model(ids, labels=ids).loss
    losses.append(float(loss))
    loss.backward()
    for parameter in model.parameters():
        parameter -= 0.1 * parameter.grad
    model.zero_grad()
assert losses[2] < losses[1] < losses[0], losses
first = next(model.parameters())
before = first.data
first += 1
assert np.array_equal(first.data, before + 1) and first is next(model.parameters())
assert np.array_equal(first * 2, 2 * first.data) and isinstance(first * 2, np.ndarray)
assert isinstance(model.state_dict()["lm_head.weight"], np.ndarray) and model.device == "cpu"
first.grad = before
# torch comes later: its parameters take over.
try:
    import torch
except ImportError:
    assert not len(sys.argv) > 2
else:
    first = next(model.parameters())
    assert isinstance(first, torch.nn.Parameter) and np.array_equal(first.grad.numpy(), before)
    assert np.array_equal(first.detach().numpy(), before + 1)
"""


def test_a_step_in_numpy() -> None:
    """In a process of its own: torch, once imported, gives the parameters."""
    folder = str(Path(diffllama.__file__).parent.parent)
    result = subprocess.run(
        [sys.executable, "-c", IN_NUMPY, str(FORWARD / "diffllama_causal")], capture_output=True, text=True, cwd=folder
    )
    assert result.returncode == 0, result.stderr


@needs_torch
def test_optimizers_step_the_engine() -> None:
    """Each step of torch's own arithmetic is in the next forward."""
    import torch

    ids = torch.from_numpy(IDS)
    for optimizer in (torch.optim.AdamW, torch.optim.SGD):
        model = open_model()
        assert all(isinstance(each, torch.nn.Parameter) for each in model.parameters())
        steps = optimizer(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(3):
            steps.zero_grad()
            loss = model(ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            steps.step()
            losses.append(loss.item())
        assert losses[2] < losses[1] < losses[0]
        saved = model.state_dict()["lm_head.weight"]
        assert torch.equal(saved, model.lm_head.weight.detach())
        assert np.array_equal(model.engine.parameter("lm_head.weight"), saved.numpy())


@needs_torch
@pytest.mark.parametrize(
    "change",
    [
        "p -= 0.5", "p.data = p.data - 0.5", "p.data -= 0.5", "p.detach().sub_(0.5)", "p.copy_(p - 0.5)",
        "p.data = (p - 0.5).numpy()", "torch.nn.utils.vector_to_parameters(p.reshape(-1) - 0.5, [p])",
        "held = p.data; model(ids); held -= 0.5", "p.detach().numpy()[...] -= 0.5", "p.set_(p - 0.5)",
    ],
)
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_every_change_reaches_the_engine(change: str, mode: str) -> None:
    import torch

    if mode == "inference_mode" and "set_" in change:
        pytest.skip("torch refuses it")
    model = open_model()
    p = model.get_parameter("model.norm.weight")
    ids = torch.from_numpy(IDS)
    expected = model.engine.parameter("model.norm.weight") - np.float32(0.5)
    with getattr(torch, mode)():
        before = model(ids).logits
        exec(textwrap.dedent(change), {"p": p, "torch": torch, "model": model, "ids": ids})
        assert not torch.equal(model(ids).logits, before)
    assert np.array_equal(model.engine.parameter("model.norm.weight"), expected)


@needs_torch
def test_torch_follows_the_engine() -> None:
    import torch

    model = open_model()
    p = model.get_parameter("lm_head.weight")
    model.load_state_dict({"lm_head.weight": torch.ones(56, 32)}, strict=False)
    assert torch.equal(p, torch.ones(56, 32))
    p.grad = torch.ones(56, 32)
    model.resize_token_embeddings(60)
    assert p.shape == (60, 32) and p.grad is None and p is model.get_parameter("lm_head.weight")
    with pytest.raises(diffllama.InvalidArgument, match=r"expected float32 \[60, 32\], got float64 \[3\]"):
        p.data = np.zeros(3)
    assert model.device == torch.device("cpu") and model.dtype is torch.float32


@needs_torch
def test_losses_are_torchs() -> None:
    import torch

    model = open_model()
    ids = torch.from_numpy(IDS)
    names = [name for name, _ in model.named_parameters()]
    whole = torch.autograd.grad(model(ids, labels=ids).loss / 2, list(model.parameters()))
    assert_close(whole[names.index("lm_head.weight")], expected_gradient() / 2, 1e-6)
    assert next(model.parameters()).grad is None
    with torch.no_grad():
        assert not model(ids, labels=ids).loss.requires_grad
        assert not model(ids).logits.requires_grad
    loss = torch.nn.functional.cross_entropy(model(ids).logits[:, -1], ids[:, 0])
    with pytest.raises(diffllama.InvalidArgument, match="logits: expected backward.. of the loss that the model returns"):
        loss.backward()
    embeddings = model.get_input_embeddings()(ids).clone().requires_grad_()
    with pytest.raises(diffllama.InvalidArgument, match="inputs_embeds: expected a tensor that needs no gradient"):
        model(inputs_embeds=embeddings, labels=ids)
    model.requires_grad_(False)
    assert not model(ids, labels=ids).loss.requires_grad and not model(ids).logits.requires_grad


@needs_torch
def test_training_equals_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    import torch

    ids, losses = torch.from_numpy(IDS), {}
    for library in (transformers, diffllama):
        model = library.DiffLlamaForCausalLM.from_pretrained(FORWARD / "diffllama_causal", dtype=torch.float32)
        # A rate that leaves rounding alone: AdamW makes a step of full size of a gradient that is all rounding.
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-3)
        own = losses[library.__name__] = []
        model.train()
        for _ in range(5):
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            own.append(loss.item())
    assert_close(losses["diffllama"], losses["transformers"])
    assert losses["diffllama"][-1] < losses["diffllama"][0] - 0.01


def test_changes_are_seen_after_calls_that_changed_nothing() -> None:
    torch = pytest.importorskip("torch")
    model = diffllama.AutoModelForCausalLM.from_pretrained(ROOT / "models" / "diffllama-tiny", dtype="float32")
    ids = torch.tensor([[5, 6, 7]])
    weight = dict(model.named_parameters())["model.norm.weight"]
    seen = [model(ids).logits.detach() for _ in range(2)]

    def changed(change: Any) -> bool:
        model(ids)  # with nothing new
        with torch.no_grad():
            change()
        seen.append(model(ids).logits.detach())
        return not torch.equal(seen[-2], seen[-1])

    assert torch.equal(seen[0], seen[1])
    assert changed(lambda: weight.mul_(2))
    assert changed(lambda: model.lm_head.weight.add_(0.1))
    memory = weight.detach()
    assert changed(lambda: memory.mul_(2)) and changed(lambda: memory.mul_(2))
    assert changed(lambda: setattr(weight, "data", weight.data * 2))
    model.resize_token_embeddings(4100)
    assert changed(lambda: model.get_input_embeddings().weight.mul_(1.5))
