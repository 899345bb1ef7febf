"""Configurations of models: config.json as attributes."""

from __future__ import annotations

import copy
import functools
import json
import os
import weakref
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from . import _core, hub
from .files import write_text

ConfigT = TypeVar("ConfigT", bound="PretrainedConfig")

# What config.json names twice, for transformers before version 5.
_OLD_KEYS = ("torch_dtype", "rope_theta", "rope_scaling")

# What may change while a model is there: the weights do not depend on it. The first of them the engine reads.
_ENGINE_READS = frozenset({"pad_token_id", "problem_type", "id2label"})
_FREE = _ENGINE_READS | {
    "architectures", "attention_dropout", "bos_token_id", "classifier_dropout", "dtype", "eos_token_id", "hidden_dropout",
    "initializer_range", "label2id", "lambda_std_dev", "num_labels", "output_attentions", "output_hidden_states",
    "return_dict", "torch_dtype", "transformers_version", "use_cache",
}


@functools.cache
def _engine_fields(model_type: str) -> frozenset[str]:
    """The fields of a config.json that the engine reads."""
    text = json.dumps({"model_type": model_type, "architectures": ["DiffLlamaForCausalLM"]})
    known = json.loads(_core.complete_config(text))
    return frozenset({*known, "dex", "num_noise_heads", "qkv_bias", "rope_scaling", "rope_theta"})


class _Model(Protocol):
    """A model that was made of a configuration."""

    def _config_changed(self) -> None: ...


def dtype_name(dtype: Any) -> str | None:
    """ "float32" of torch.float32, numpy.float32 and "float32"; None of None."""
    if dtype is None or isinstance(dtype, str):
        return dtype
    text = getattr(dtype, "__name__", None) or str(dtype)
    return text.rsplit(".", 1)[-1]


class PretrainedConfig:
    """What every configuration has. Attributes are the fields of config.json, under its names.

    num_labels and id2label of the heads that classify follow each other; label2id is the way back.
    Fields that the engine does not read are kept. Raises ConfigError, when a model is made of it,
    for a field that is not allowed; and, once there is a model, for setting one that the weights
    depend on, such as hidden_size. pad_token_id, problem_type, id2label, use_cache, output_... and
    fields of one's own take effect in the model.
    """

    model_type: ClassVar[str] = ""
    attributes: ClassVar[dict[str, Any]] = {}

    def __init__(self, **kwargs: Any) -> None:
        num_labels = kwargs.pop("num_labels", None)
        for name, default in self.attributes.items():
            setattr(self, name, kwargs.pop(name, copy.copy(default)))
        self.architectures: list[str] | None = kwargs.pop("architectures", None)
        self.dtype: str | None = dtype_name(kwargs.pop("dtype", kwargs.pop("torch_dtype", None)))
        self.problem_type: str | None = kwargs.pop("problem_type", None)
        self.output_attentions: bool = kwargs.pop("output_attentions", False)
        self.output_hidden_states: bool = kwargs.pop("output_hidden_states", False)
        self.return_dict: bool = kwargs.pop("return_dict", True)
        labels = kwargs.pop("id2label", None)
        label2id = kwargs.pop("label2id", None)
        if labels is None and label2id is not None:
            labels = {number: name for name, number in label2id.items()}
        self.id2label: dict[int, str] = {int(k): str(v) for k, v in (labels or {}).items()}
        if num_labels is not None and num_labels != len(self.id2label):
            self.num_labels = num_labels
        elif not self.id2label:
            self.num_labels = 2
        for name, value in kwargs.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        models: list[_Model] = list(self.__dict__.get("_models", ()))
        if not models:
            object.__setattr__(self, name, value)
            return
        old = getattr(self, name, None)
        if name not in _FREE and old != value and name in _engine_fields(self.__dict__.get("model_type", self.model_type)):
            raise _core.ConfigError(
                f"{name}: expected {old!r} while a model of this configuration is there, got {value!r}; make the model of a "
                "configuration that has it"
            )
        object.__setattr__(self, name, value)
        if name not in _ENGINE_READS:
            return
        try:
            for model in models:
                model._config_changed()
        except _core.Error:
            object.__setattr__(self, name, old)
            raise

    def _belongs_to(self, model: _Model) -> None:
        self.__dict__.setdefault("_models", weakref.WeakSet()).add(model)

    def _set(self, name: str, value: Any) -> None:
        """Follows what has changed in the model."""
        object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_models"}

    @property
    def num_labels(self) -> int:
        """Labels of the heads that classify."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, count: int) -> None:
        if count != len(self.id2label):
            self.id2label = {number: f"LABEL_{number}" for number in range(count)}

    @property
    def label2id(self) -> dict[str, int]:
        """The number of each label."""
        return {name: number for number, name in self.id2label.items()}

    @label2id.setter
    def label2id(self, numbers: dict[str, int]) -> None:
        self.id2label = {number: name for name, number in sorted(numbers.items(), key=lambda item: item[1])}

    @property
    def use_return_dict(self) -> bool:
        """Whether models return a ModelOutput and not a tuple."""
        return self.return_dict

    def to_dict(self) -> dict[str, Any]:
        """Every field, as config.json holds it."""
        fields = {k: copy.deepcopy(v) for k, v in self.__dict__.items() if not k.startswith("_")}
        fields["id2label"] = dict(self.id2label)
        fields["label2id"] = self.label2id
        fields["model_type"] = self.model_type or fields.get("model_type", "")
        return fields

    def to_diff_dict(self) -> dict[str, Any]:
        """The fields that differ from a new configuration's."""
        defaults = type(self)().to_dict()
        fields = self.to_dict()
        kept = {k: v for k, v in fields.items() if k not in defaults or defaults[k] != v}
        return {**kept, "model_type": fields["model_type"]}

    def to_json_string(self, use_diff: bool = True) -> str:
        """The text of a config.json; use_diff: of the fields that differ from the defaults."""
        fields = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(fields, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Writes to_json_string into a file. Raises IoError."""
        write_text(Path(json_file_path), self.to_json_string(use_diff))

    def update(self, config_dict: dict[str, Any]) -> None:
        """Sets fields."""
        for name, value in config_dict.items():
            setattr(self, name, value)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """Itself: there is text alone."""
        return self

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Writes config.json into a directory, which is made where it is not there."""
        name = None if self.architectures else "DiffLlamaForCausalLM"  # the engine asks for one
        fields = json.loads(self._engine_json(name))
        if name is not None:
            del fields["architectures"]
        write_text(Path(save_directory) / "config.json", json.dumps(fields, indent=2) + "\n")

    @classmethod
    def from_dict(
        cls: type[ConfigT], config_dict: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """Of the fields of a config.json; kwargs come over them.

        return_unused_kwargs: returns those that are no fields too, in place of setting them.
        """
        fields = {k: v for k, v in config_dict.items() if k != "model_type" or not cls.model_type}
        if "rope_parameters" in fields:
            for name in _OLD_KEYS:
                fields.pop(name, None)
        if not return_unused_kwargs:
            return cls(**{**fields, **kwargs})
        known = cls(**fields)
        unused = {name: value for name, value in kwargs.items() if not hasattr(known, name)}
        return cls(**{**fields, **{name: value for name, value in kwargs.items() if name not in unused}}), unused

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of a model's config.json, and those of kwargs that do not say where it lies."""
        fields = read_config(_find(pretrained_model_name_or_path, kwargs))
        return fields, kwargs

    @classmethod
    def from_json_file(cls: type[ConfigT], json_file: str | os.PathLike[str]) -> ConfigT:
        """Of the file config.json."""
        config: ConfigT = cls.from_dict(json.loads(Path(json_file).read_text()))
        return config

    @classmethod
    def from_pretrained(
        cls: type[ConfigT],
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str = "main",
        subfolder: str = "",
        **kwargs: Any,
    ) -> Any:
        """Of a model's directory, config.json, .gguf file or snapshot (diffllama.hub.find_model).

        kwargs: fields that come over the file's, and return_unused_kwargs as from_dict has it.
        Raises IoError, FormatError, ConfigError.
        """
        kwargs.update(cache_dir=cache_dir, revision=revision, subfolder=subfolder)
        return cls.from_dict(read_config(_find(pretrained_model_name_or_path, kwargs)), **kwargs)

    def _engine_json(self, class_name: str | None) -> str:
        """What the engine makes of it: validated, with every default."""
        fields = self.to_dict()
        if class_name is not None:
            fields["architectures"] = [class_name]
        for name in ("output_attentions", "output_hidden_states", "return_dict"):
            fields.pop(name)
        return _core.complete_config(json.dumps({k: v for k, v in fields.items() if v is not None}))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretrainedConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"


PreTrainedConfig = PretrainedConfig


def _find(name: str | os.PathLike[str] | None, kwargs: dict[str, Any]) -> Path:
    """Where a configuration lies; takes out of kwargs what says so, and what says how files are fetched or computed with."""
    place = {each: kwargs.pop(each) for each in ("cache_dir", "revision", "subfolder", "gguf_file") if each in kwargs}
    hub.drop_arguments(kwargs, "attn_implementation")
    return hub.find_model(name, **place)


def read_config(path: Path) -> dict[str, Any]:
    """The fields of the config.json of a directory, of a .gguf file, or of the file itself."""
    if path.suffix == ".json":
        text = path.read_text()
    else:
        path = _core.find_model(path)
        file = path / "config.json"
        text = file.read_text() if file.is_file() else _core.model_config(path)
    fields: dict[str, Any] = json.loads(_core.complete_config(text, str(path)))
    return fields


class DiffLlamaConfig(PretrainedConfig):
    """The configuration of a DiffLlama (transformers' DiffLlamaConfig).

    vocab_size 32000, hidden_size 2048, intermediate_size 8192, num_hidden_layers 16,
    num_attention_heads 32 (softmax heads, twice the paper's heads), num_key_value_heads
    (None: num_attention_heads), head_dim (None: hidden_size / num_attention_heads),
    hidden_act "silu", max_position_embeddings 2048, initializer_range 0.02, rms_norm_eps 1e-5,
    use_cache True, pad_token_id None, bos_token_id 1, eos_token_id 2 (or a list),
    tie_word_embeddings False, rope_parameters (None: theta 10000), attention_bias False,
    attention_dropout 0, lambda_std_dev 0.1 (of new lambda vectors).
    """

    model_type = "diffllama"
    attributes = {
        "vocab_size": 32000,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": None,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "use_cache": True,
        "pad_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
        "rope_parameters": None,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "lambda_std_dev": 0.1,
        "head_dim": None,
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        fields = self.__dict__
        if fields["num_key_value_heads"] is None:
            fields["num_key_value_heads"] = fields["num_attention_heads"]
        if fields["head_dim"] is None:
            fields["head_dim"] = fields["hidden_size"] // fields["num_attention_heads"]
        if fields["rope_parameters"] is None:
            fields["rope_parameters"] = {
                "rope_theta": fields.pop("rope_theta", 10000.0),
                "rope_type": "default",
                **(fields.pop("rope_scaling", None) or {}),
            }

    def __getattr__(self, name: str) -> Any:  # fields are set by name: for type checkers
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")


class LlamaConfig(DiffLlamaConfig):
    """The configuration of a Llama (transformers' LlamaConfig): DiffLlamaConfig's fields without
    lambda_std_dev, and mlp_bias False; intermediate_size is 11008, hidden_size 4096 and
    num_hidden_layers 32."""

    model_type = "llama"
    attributes = {
        **{name: value for name, value in DiffLlamaConfig.attributes.items() if name != "lambda_std_dev"},
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "rms_norm_eps": 1e-6,
        "mlp_bias": False,
    }


class FamilyConfig(PretrainedConfig):
    """The configuration of another member of the family; model_type is among its fields."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")


CONFIGS: dict[str, type[PretrainedConfig]] = {"diffllama": DiffLlamaConfig, "llama": LlamaConfig}


class AutoConfig:
    """Finds the class of a configuration by its model_type."""

    @staticmethod
    def for_model(model_type: str, **kwargs: Any) -> PretrainedConfig:
        """A new configuration of that type."""
        if model_type in CONFIGS:
            return CONFIGS[model_type](**kwargs)
        return FamilyConfig(model_type=model_type, **kwargs)

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str = "main",
        subfolder: str = "",
        **kwargs: Any,
    ) -> Any:
        """As PretrainedConfig.from_pretrained, of the class that config.json names."""
        kwargs.update(cache_dir=cache_dir, revision=revision, subfolder=subfolder)
        fields = read_config(_find(pretrained_model_name_or_path, kwargs))
        return CONFIGS.get(fields["model_type"], FamilyConfig).from_dict(fields, **kwargs)
