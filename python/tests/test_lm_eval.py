"""The model of lm-evaluation-harness: that the harness finds it, and what it answers."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

import diffllama

HOOK = ROOT / "python"
MODEL = str(ROOT / "models" / "diffllama-tiny")
NEW_REGISTRY = """
class Registry(dict):
    def register(self, alias, target): self[alias] = target
model_registry = Registry()
"""


def python(code: str, *paths: Path) -> str:
    start = f"import sys; sys.path[:0] = {[str(path) for path in paths]}; "
    result = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("registry", [NEW_REGISTRY, ""], ids=["named before imported", "imported"])
def test_start_up_hook_registers_the_model_once_the_others_are(tmp_path: Path, registry: str) -> None:
    """Harnesses of both kinds, in little: what the .pth file's line does to them."""
    for name, text in {
        "lm_eval/__init__.py": "", "lm_eval/models/__init__.py": "own = True", "lm_eval/api/__init__.py": "",
        "lm_eval/api/registry.py": registry, "diffllama/__init__.py": "", "diffllama/lm_eval.py": "",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    line = (HOOK / "diffllama_lm_eval.pth").read_text()
    code = f"{line}\nassert 'lm_eval' not in sys.modules\nimport lm_eval.models\nassert lm_eval.models.own\n"
    if registry:
        code += "from lm_eval.api.registry import model_registry as known\nprint(known['diffllama'])"
        assert python(code, HOOK, tmp_path) == "diffllama.lm_eval:DiffLlamaLM\n"
    else:
        assert python(code + "print('diffllama.lm_eval' in sys.modules)", tmp_path, HOOK) == "True\n"


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed")
def test_harness_finds_the_model() -> None:
    line = (HOOK / "diffllama_lm_eval.pth").read_text()
    code = f"{line}\nimport lm_eval.models\nfrom lm_eval.api.registry import get_model\nprint(get_model('diffllama'))"
    package = Path(diffllama.__file__).parents[1]
    assert python(code, package, HOOK) == "<class 'diffllama.lm_eval.DiffLlamaLM'>\n"


@pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed")
def test_loglikelihoods_are_those_of_forward() -> None:
    from lm_eval.api.instance import Instance

    from diffllama.lm_eval import DiffLlamaLM

    model = DiffLlamaLM(MODEL, dtype="float32")
    pairs = [("The king of", " Babylon"), ("In the beginning", " God created the heaven"), ("The king of", " x")]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    answers = model.loglikelihood(requests)
    network = diffllama.AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32")
    for (context, continuation), (total, greedy) in zip(pairs, answers):
        before = model.tok_encode(context)
        ids = np.array([model.tok_encode(context + continuation)])
        logits = network(ids).logits[0, len(before) - 1 : -1].astype(np.float64)
        shifted = logits - logits.max(axis=-1, keepdims=True)
        scores = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        wanted = ids[0, len(before) :]
        assert abs(scores[np.arange(len(wanted)), wanted].sum() - total) < 1e-4
        assert greedy == (scores.argmax(axis=-1) == wanted).all()
