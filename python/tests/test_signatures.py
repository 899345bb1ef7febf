"""Parameter names of public methods against transformers', where it is installed."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import diffllama

transformers = pytest.importorskip("transformers")

# What is absent, and why. "*": of every method.
ABSENT = {
    "*": {"kwargs", "model_args", "init_inputs"},
    "from_pretrained": {
        # how files are fetched: nothing is downloaded here
        "force_download", "local_files_only", "token", "use_safetensors", "weights_only", "disable_mmap",
        "trust_remote_code", "ignore_mismatched_sizes", "fusion_config",
    },
    "save_pretrained": {
        "save_original_format", "distributed_checkpoint",  # of a model: formats of other files
        "push_to_hub", "legacy_format", "filename_prefix", "save_format",  # of a tokenizer
    },
    "generate": {"synced_gpus", "custom_generate"},  # of several graphics cards; code from the hub
    "__call__": {"tokenizer_kwargs"},
    "__init__": {"ddp_cache_data", "offloading", "offload_only_non_sliding"},  # of graphics cards
    "pipeline": {"feature_extractor", "image_processor", "video_processor", "processor", "pipeline_class", "use_fast",
                 "token", "device", "device_map", "trust_remote_code"},
    "to_diff_dict": set(), "update": set(),
}
HEADS = ["Model", "ForCausalLM", "ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification"]
METHODS = [
    *[(f"{family}{head}", name) for family in ("DiffLlama", "Llama") for head in HEADS
      for name in ("forward", "from_pretrained", "save_pretrained", "resize_token_embeddings", "named_parameters", "num_parameters")],
    ("DiffLlamaForCausalLM", "generate"),
    *[("PreTrainedTokenizerFast", name) for name in (
        "__call__", "encode", "decode", "batch_decode", "apply_chat_template", "pad", "tokenize", "convert_tokens_to_ids",
        "convert_ids_to_tokens", "from_pretrained", "save_pretrained")],
    ("TextStreamer", "__init__"), ("TextIteratorStreamer", "__init__"), ("LogitsProcessor", "__call__"),
    ("StoppingCriteria", "__call__"), ("MaxLengthCriteria", "__init__"), ("MaxTimeCriteria", "__init__"),
]


def names(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "cls"}


@pytest.mark.parametrize(("cls", "method"), METHODS, ids=lambda each: each)
def test_parameter_names(cls: str, method: str) -> None:
    theirs = names(getattr(getattr(transformers, cls), method))
    ours = names(getattr(getattr(diffllama, cls), method))
    assert theirs - ours <= ABSENT["*"] | ABSENT.get(method, set())


def test_functions_and_configurations() -> None:
    assert names(transformers.pipeline) - names(diffllama.pipeline) <= ABSENT["*"] | ABSENT["pipeline"]
    for name in ("DiffLlamaConfig", "LlamaConfig"):
        theirs, ours = getattr(transformers, name)(), getattr(diffllama, name)()
        for field in getattr(diffllama, name).attributes:
            assert getattr(ours, field) == getattr(theirs, field), field
    absent = set(transformers.GenerationConfig().to_dict()) - set(diffllama.GenerationConfig.fields)
    assert not absent
