"""Configurations of models that are there, and what save_pretrained writes."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FORWARD

import diffllama

TWO = np.array([[1, 2, 3], [1, 5, 5]])


def classifier(**kwargs: Any) -> Any:
    return diffllama.DiffLlamaForSequenceClassification.from_pretrained(FORWARD / "diffllama_sequence_3", dtype="float32", **kwargs)


def small(**kwargs: Any) -> diffllama.DiffLlamaConfig:
    return diffllama.DiffLlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, **kwargs,
    )


def test_pad_token_id_takes_effect() -> None:
    model = classifier()
    model.config.pad_token_id = 6
    whole = model(TWO).logits
    assert np.array_equal(whole, classifier(pad_token_id=6)(TWO).logits)
    model.config.pad_token_id = 5
    padded = model(TWO).logits
    assert np.array_equal(padded, classifier(pad_token_id=5)(TWO).logits)
    assert np.array_equal(padded[0], whole[0]) and not np.array_equal(padded[1], whole[1])
    model.config.pad_token_id = None
    with pytest.raises(ValueError, match="Cannot handle batch sizes > 1 if no padding token is defined."):
        model(TWO)
    assert model(TWO[:1]).logits.shape == (1, 3)
    with pytest.raises(diffllama.ConfigError, match="pad_token_id"):
        model.config.pad_token_id = 5000
    assert model.config.pad_token_id is None


def test_problem_type_and_labels_take_effect() -> None:
    model = classifier()
    labels = np.array([[0.0, 1.0, 1.0]])
    model.config.problem_type = "multi_label_classification"
    several = model(TWO[:1], labels=labels).loss
    model.config.problem_type = "regression"
    assert model(TWO[:1], labels=labels).loss != several
    assert several == classifier(problem_type="multi_label_classification")(TWO[:1], labels=labels).loss
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    assert json.loads(model.engine.config())["id2label"] == {"0": "a", "1": "b", "2": "c"}
    model.config.label2id = {"x": 0, "y": 1, "z": 2}
    assert model.config.id2label == {0: "x", 1: "y", 2: "z"}
    with pytest.raises(diffllama.ConfigError, match="num_labels: expected 3, as the model has, got 5"):
        model.config.num_labels = 5
    assert model.num_labels == model.config.num_labels == 3


def test_use_cache_and_outputs_take_effect() -> None:
    model = diffllama.DiffLlamaForCausalLM(small())
    model.config.use_cache = False
    model.config.output_hidden_states = True
    output = model(TWO)
    assert output.past_key_values is None and len(output.hidden_states) == 3
    model.config.return_dict = False
    assert isinstance(model(TWO), tuple)


def test_what_the_weights_depend_on_is_refused() -> None:
    config = small(mine=1)
    config.hidden_size = 32
    model = diffllama.DiffLlamaModel(config)
    for name, value in {"hidden_size": 64, "rope_parameters": {}, "vocab_size": 3, "tie_word_embeddings": True}.items():
        old = getattr(config, name)
        with pytest.raises(diffllama.ConfigError, match=f"{name}: expected .* while a model of this configuration is there"):
            setattr(config, name, value)
        assert getattr(config, name) == old
    config.hidden_size = 32  # as it is
    config.mine = 2
    copied = pickle.loads(pickle.dumps(copy.deepcopy(config)))
    copied.hidden_size = 64  # no model's
    del model
    config.hidden_size = 64


def test_from_pretrained_leaves_the_callers_configuration() -> None:
    config = diffllama.AutoConfig.from_pretrained(FORWARD / "diffllama_sequence_3")
    model = classifier(config=config, pad_token_id=5)
    assert model.config.pad_token_id == 5 and config.pad_token_id != 5


def test_changes_are_saved(tmp_path: Path) -> None:
    config = small(mine=[1, 2])
    model = diffllama.DiffLlamaForCausalLM(config)
    config.use_cache = False
    config.other = "x"
    model.generation_config.max_new_tokens = 7
    model.generation_config.temperature = 0.5
    model.save_pretrained(tmp_path)
    again = diffllama.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (again.config.use_cache, again.config.mine, again.config.other) == (False, [1, 2], "x")
    assert again.generation_config.max_new_tokens == 7 and again.generation_config.temperature == 0.5
    assert again.generate(TWO[:1], do_sample=False, ignore_eos=True).shape == (1, 10)
    assert diffllama.GenerationConfig.from_pretrained(tmp_path).max_new_tokens == 7
    again.generation_config.max_new_tokens = 3
    again.save_pretrained(tmp_path)  # where it came from
    assert diffllama.GenerationConfig.from_pretrained(tmp_path).max_new_tokens == 3
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.json", "generation_config.json", "model.safetensors"]


def test_what_save_pretrained_does_not_do_is_refused(tmp_path: Path) -> None:
    model = diffllama.DiffLlamaForCausalLM(small())
    for wrong in (
        {"state_dict": model.state_dict()}, {"push_to_hub": True}, {"max_shard_size": "1KB"}, {"max_shard_size": "much"},
        {"variant": "fp16"}, {"safe_serialization": False},
    ):
        with pytest.raises(diffllama.InvalidArgument, match=next(iter(wrong))):
            model.save_pretrained(tmp_path / "no", **wrong)
    with pytest.raises(TypeError, match="max_shards"):
        model.save_pretrained(tmp_path / "no", max_shards=1)
    model.save_pretrained(tmp_path / "no", is_main_process=False)
    assert not (tmp_path / "no").exists()
    model.save_pretrained(tmp_path / "yes", max_shard_size="5GB")
    assert (tmp_path / "yes" / "model.safetensors").is_file()


def test_a_configuration_is_saved_without_a_word(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small().save_pretrained(tmp_path)
    assert "architectures" not in json.loads((tmp_path / "config.json").read_text())
    assert diffllama.AutoConfig.from_pretrained(tmp_path).hidden_size == 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_map": "cuda"}, {"quantization_config": {}}, {"load_in_8bit": True}, {"output_loading_info": True},
        {"attn_implementation": "flash_attention_2"}, {"state_dict": {}}, {"revision": "v2"}, {"dtype": "float64"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_what_loading_does_not_do_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((diffllama.InvalidArgument, diffllama.ConfigError), match=f"{next(iter(wrong))}: expected"):
        diffllama.AutoModelForCausalLM.from_pretrained(FORWARD / "diffllama_causal", **wrong)


def test_what_loading_takes() -> None:
    path = FORWARD / "diffllama_causal"
    with pytest.raises(TypeError, match="'num_lables'"):
        diffllama.AutoModelForCausalLM.from_pretrained(path, num_lables=3)
    with pytest.raises(TypeError, match="expected the other arguments by name"):
        diffllama.DiffLlamaForCausalLM.from_pretrained(path, 3)
    with pytest.raises(diffllama.InvalidArgument, match="model: expected a path or a name, got int"):
        diffllama.AutoModelForCausalLM.from_pretrained(5)
    with pytest.warns(UserWarning, match="float16 is computed in float32"):
        model = diffllama.AutoModelForCausalLM.from_pretrained(
            path, dtype="float16", device_map="auto", attn_implementation="sdpa", low_cpu_mem_usage=True, use_safetensors=True,
            trust_remote_code=False, use_cache=False,
        )
    assert str(model.dtype).endswith("float32") and not model.config.use_cache
    with pytest.warns(UserWarning, match=r"diffllama_causal, as DiffLlamaForSequenceClassification: new, .*: score.weight"):
        diffllama.DiffLlamaForSequenceClassification.from_pretrained(path)
    with pytest.raises(diffllama.InvalidArgument, match="device_map"):
        diffllama.AutoModel.from_config(small(), device_map="cuda")


def test_to_changes_nothing_or_is_refused() -> None:
    model = diffllama.DiffLlamaForCausalLM(small(), dtype="float32")
    assert model.to("cpu") is model and model.float() is model and model.cpu() is model.to(model.device)
    for wrong in (lambda: model.to("bfloat16"), model.bfloat16, model.half, model.double, model.cuda, lambda: model.to(dtype="float16")):
        with pytest.raises(diffllama.InvalidArgument, match="expected (float32|cpu)"):
            wrong()


def test_copies_and_pickles_say_what_to_do() -> None:
    model = diffllama.DiffLlamaForCausalLM(small())
    with pytest.raises(TypeError, match="open it again with from_pretrained"):
        copy.deepcopy(model)
    with pytest.raises(TypeError, match="save_pretrained and from_pretrained"):
        pickle.dumps(model)


def test_what_says_how_files_are_fetched_is_no_field(tmp_path: Path) -> None:
    fetching = {"trust_remote_code": True, "token": None, "local_files_only": True, "force_download": False, "proxies": None}
    for cls in (diffllama.AutoConfig, diffllama.DiffLlamaConfig):
        config = cls.from_pretrained(FORWARD / "diffllama_sequence_3", revision=None, **fetching)
        assert not fetching.keys() & config.to_dict().keys()
    fields, rest = diffllama.DiffLlamaConfig.get_config_dict(FORWARD / "diffllama_sequence_3", token=None, mine=1)
    assert fields["model_type"] == "diffllama" and rest == {"mine": 1}
    config, unused = diffllama.AutoConfig.from_pretrained(
        FORWARD / "diffllama_sequence_3", use_cache=False, mine=1, return_unused_kwargs=True
    )
    assert config.use_cache is False and unused == {"mine": 1} and not hasattr(config, "mine")
    config.to_json_file(tmp_path / "mine.json")
    assert diffllama.DiffLlamaConfig.from_json_file(tmp_path / "mine.json") == config
    assert config.get_text_config() is config


def test_a_model_with_a_configuration_from_elsewhere(tmp_path: Path) -> None:
    model = diffllama.DiffLlamaForCausalLM(small())
    model.save_pretrained(tmp_path / "model")
    small(use_cache=False).save_pretrained(tmp_path / "config")
    for where in (tmp_path / "config", str(tmp_path / "config" / "config.json")):
        assert diffllama.AutoModelForCausalLM.from_pretrained(tmp_path / "model", config=where).config.use_cache is False
    given = diffllama.GenerationConfig(max_new_tokens=3, eos_token_id=9)
    again: Any = diffllama.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", generation_config=given, pad_token_id=5, key_mapping=None
    )
    given.max_new_tokens = 4
    options = again.generation_config
    assert (options.max_new_tokens, options.eos_token_id, options.pad_token_id) == (3, 9, 5)


def test_ids_of_special_tokens_reach_generate() -> None:
    model: Any = diffllama.DiffLlamaForCausalLM.from_pretrained(None, dtype="float32")
    following = int(model.generate(np.array([[1, 916, 300]]), max_new_tokens=1)[0, -1])
    ends: Any = diffllama.DiffLlamaForCausalLM.from_pretrained(None, dtype="float32", eos_token_id=following)
    assert ends.generate(np.array([[1, 916, 300]]), max_new_tokens=9)[0, 3:].tolist() == [following]


def test_the_older_name_of_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path))
    small().save_pretrained(tmp_path / "models--org--tiny" / "snapshots" / "abc")
    (tmp_path / "models--org--tiny" / "refs").mkdir()
    (tmp_path / "models--org--tiny" / "refs" / "main").write_text("abc")
    assert diffllama.AutoConfig.from_pretrained("org/tiny", revision=None).hidden_size == 32
