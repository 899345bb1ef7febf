"""GenerationConfig: what generate is asked for, under transformers' names."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _core
from .arrays import numpy_array

if TYPE_CHECKING:
    from .configuration import PretrainedConfig

# What Python does itself; all else is the engine's to read.
_PYTHON_ONLY = frozenset(
    {"return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states",
     "use_cache", "bos_token_id", "transformers_version", "_from_model_config", "json_schema", "regex", "grammar"}
)

# Options of transformers that change no token here: of its caches, of compiling, of how it guesses ahead.
_INERT = frozenset(
    {"cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile", "prefill_chunk_size",
     "continuous_batching_config", "remove_invalid_values", "low_memory", "is_assistant", "decoder_start_token_id",
     "assistant_lookbehind", "target_lookbehind", "num_assistant_tokens_schedule", "speculation_type",
     "assistant_early_exit"}
)

# Options of transformers that are not supported, with the values (beside None) that ask for nothing.
_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "assistant_ensemble_weight": (), "constraints": (), "diversity_penalty": (0,),
    "dola_layers": (), "encoder_no_repeat_ngram_size": (0,), "encoder_repetition_penalty": (1,), "force_words_ids": (),
    "num_beam_groups": (1,), "penalty_alpha": (0,), "token_healing": (False,), "use_mtp": (False,),
}

_CACHES = ("dynamic", "dynamic_full", "static", "offloaded", "offloaded_static", "sliding_window", "hybrid", "paged")


class GenerationConfig:
    """Options of generate. Fields are transformers', None where they are not set.

    Beyond them: seed, ignore_eos, presence_penalty, frequency_penalty, logit_bias, and json_schema,
    regex and grammar, which the text is kept to (docs/generation.md has every option). What is not
    supported, or unknown, is kept as an attribute, changes nothing, and one warning names it.
    Raises ConfigError for a value that no text could have.
    """

    fields: tuple[str, ...] = (
        *(name for name, _, _ in _core.generation_options()), *sorted(_PYTHON_ONLY), *sorted(_INERT), *sorted(_UNSUPPORTED)
    )

    def __init__(self, **kwargs: Any) -> None:
        self._values: dict[str, Any] = dict(kwargs)
        self.check()
        warn_of_ignored(kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "_values" or (name not in self._values and name not in self.fields):
            raise AttributeError(f"GenerationConfig has no option {name!r}")
        return self._values.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_values":
            super().__setattr__(name, value)
        else:
            warn_of_ignored({name: value})
            self._values[name] = value

    def update(self, defaults_only: bool = False, allow_custom_entries: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Sets options; defaults_only: those alone that are not set. Returns what is no option;
        allow_custom_entries: sets that too."""
        unused = {}
        for name, value in kwargs.items():
            if name not in self.fields and name not in self._values and not allow_custom_entries:
                unused[name] = value
            elif not defaults_only or self._values.get(name) is None:
                self._values[name] = value
        self.check()
        return unused

    def check(self) -> None:
        """Raises ConfigError for a value that is wrong whatever the others are."""
        early = self.early_stopping
        if early not in (None, True, False, "never"):
            raise _core.ConfigError(f"early_stopping: expected true, false or never, got {early!r}")
        new = self.max_new_tokens
        if isinstance(new, (int, float)) and new <= 0:
            raise _core.ConfigError(f"max_new_tokens: expected an integer from 1 to 2147483647, got {new}")
        kind = self.cache_implementation
        if kind not in (None, *_CACHES):
            raise _core.ConfigError(f"cache_implementation: expected one of {', '.join(_CACHES)}, got {kind!r}")

    def validate(self, strict: bool = False) -> None:
        """Raises ConfigError for the first option that is not allowed; strict: for what is not
        supported too."""
        self.check()
        self._engine_config().validate()
        if strict and (ignored := ignored_options(self._values)):
            raise _core.ConfigError(f"GenerationConfig: {ignored}")

    def to_dict(self) -> dict[str, Any]:
        """The options that are set."""
        return {name: copy.deepcopy(value) for name, value in self._values.items() if value is not None}

    def to_diff_dict(self) -> dict[str, Any]:
        """to_dict: what is not set has no value of its own."""
        return self.to_dict()

    def to_json_string(self, use_diff: bool = True, ignore_metadata: bool = False) -> str:
        """The text of a generation_config.json."""
        options = {name: _json_form(name, value) for name, value in self.to_dict().items()}
        if ignore_metadata:
            options = {k: v for k, v in options.items() if k not in ("transformers_version", "_from_model_config")}
        return json.dumps(options, indent=2, sort_keys=True, default=_plain) + "\n"

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], config_file_name: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> None:
        """Writes generation_config.json (config_file_name) into a directory."""
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        (Path(save_directory) / (config_file_name or "generation_config.json")).write_text(self.to_json_string())

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name: str | os.PathLike[str] | None = None,
        config_file_name: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str = "main",
        *,
        subfolder: str = "",
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Of a model's generation_config.json (config_file_name) or .gguf file; kwargs come over it.

        return_unused_kwargs: returns those that are no options too. Raises FormatError, ConfigError
        and IoError with the file's name.
        """
        from . import hub

        path = hub.find_model(pretrained_model_name, revision=revision, cache_dir=cache_dir, subfolder=subfolder)
        hub.drop_arguments(kwargs)
        return cls._with_kwargs(_file_options(path, config_file_name), kwargs, return_unused_kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Of a dictionary of options; kwargs come over them."""
        warn_of_ignored(config_dict)
        return cls._with_kwargs(config_dict, kwargs, return_unused_kwargs)

    @classmethod
    def from_model_config(cls, model_config: PretrainedConfig) -> GenerationConfig:
        """The options that stand in a model's configuration: the ids of its special tokens."""
        config = cls.of_model(None, model_config)
        config._from_model_config = True
        return config

    @classmethod
    def _with_kwargs(cls, options: dict[str, Any], kwargs: dict[str, Any], return_unused_kwargs: bool) -> Any:
        config = cls()
        config._values = dict(options)  # what it ignores has been said
        unused = config.update(**kwargs)
        if return_unused_kwargs:
            return config, unused
        warn_of_ignored(unused)
        return config

    @classmethod
    def of_model(cls, path: Path | None, model_config: PretrainedConfig) -> GenerationConfig:
        """What a model begins with: its file's options, else the ids of its configuration."""
        config = cls()
        if path is not None:
            config._values = _file_options(path)
        ids: dict[str, Any] = {
            name: getattr(model_config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
        }
        config.update(defaults_only=True, **ids)
        return config

    def _engine_config(self) -> _core.GenerationConfig:
        engine = _core.GenerationConfig()
        own = [name for name, _, _ in _core.generation_options()]
        options = {name: _json_form(name, self._values[name]) for name in own if self._values.get(name) is not None}
        engine.update(json.dumps(options, default=_plain), "generate")
        return engine

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)  # what it ignores has been said

    def __repr__(self) -> str:
        return f"GenerationConfig {self.to_json_string()}"


def merged_options(where: str, own: GenerationConfig | None, given: Any, kwargs: dict[str, Any]) -> GenerationConfig:
    """kwargs, over the GenerationConfig given (transformers' too), over the model's. Raises
    InvalidArgument for kwargs that are unknown or not supported; `where`: who is called."""
    options = GenerationConfig()
    options._values = {} if own is None else own.to_dict()
    if given is not None:
        values = {name: value for name, value in given.to_dict().items() if value is not None}
        if not isinstance(given, GenerationConfig):
            warn_of_ignored(values)
        options._values.update(values)
    unknown = options.update(**kwargs)
    if unknown:
        raise _core.InvalidArgument(f"{where}: expected options of generation, got {', '.join(sorted(unknown))}")
    if unsupported := unsupported_options(kwargs):
        raise _core.InvalidArgument(f"{where}: expected supported options, got {', '.join(unsupported)}")
    return options


def unsupported_options(options: Mapping[str, Any]) -> list[str]:
    """Those of transformers that ask for what there is not, with their values."""
    return [
        f"{name}: {value!r}" for name, value in options.items()
        if value is not None and name in _UNSUPPORTED and value not in _UNSUPPORTED[name]
    ]


def ignored_options(options: Mapping[str, Any]) -> str:
    """What `options` ask for and do not get, as a warning says it; empty where there is nothing."""
    unsupported = unsupported_options(options)
    unknown = [name for name in options if name not in GenerationConfig.fields and not name.startswith("_")]
    texts = []
    if unsupported:
        texts.append(f"not supported and ignored: {', '.join(unsupported)}")
    if unknown:
        texts.append(f"unknown and ignored: {', '.join(unknown)}")
    return "; ".join(texts)


def warn_of_ignored(options: Mapping[str, Any]) -> None:
    """One warning of all that `options` ask for and do not get."""
    if ignored := ignored_options(options):
        warnings.warn(f"GenerationConfig: {ignored}", stacklevel=3)


def _json_form(name: str, value: Any) -> Any:
    """A value as JSON has it: sequence_bias may be a dictionary, whose keys are tuples of ids."""
    if name == "sequence_bias" and isinstance(value, Mapping):
        return [[list(numpy_array(ids).reshape(-1).tolist()), float(bias)] for ids, bias in value.items()]
    return value


def _plain(value: Any) -> Any:
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if to_dict is not None else numpy_array(value).tolist()


def _file_options(path: Path, name: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    if not path.is_dir() and path.suffix != ".json":
        return dict(json.loads(_core.GenerationConfig.from_pretrained(path).to_json()))
    file = path / (name or "generation_config.json") if path.is_dir() else path
    if not file.is_file():
        if name is not None:
            raise _core.IoError(f"{file}: expected options of generation, got no such file")
        return {}
    from .hub import read_json

    options = read_json(file)
    ignored = ignored_options(options)
    if ignored:
        warnings.warn(f"{file}: {ignored}", stacklevel=4)
    return options
