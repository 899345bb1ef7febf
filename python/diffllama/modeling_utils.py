"""What every model class has: files, parameters, forward and gradients."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from . import _core, hub
from .arrays import Array, converter, engine_array, numpy_array, unchanged
from .cache import DynamicCache
from .configuration import CONFIGS, FamilyConfig, PretrainedConfig, dtype_name, read_config
from .outputs import ModelOutput
from .parameters import Parameter, make_loss

ModelT = TypeVar("ModelT", bound="PreTrainedModel")

_PREFIXES = {
    "diffllama": "DiffLlama",
    "llama": "Llama",
    "diff_transformer": "DiffTransformer",
    "diff_transformer_v2": "DiffTransformerV2",
    "motif": "Motif",
}


class PreTrainedModel:
    """What every model class has. B batch, T tokens, S keys, C hidden_size, V vocab_size.

    Arrays are numpy's, torch's, or anything with DLPack on the processor; integers may have any
    width, ids are int64. They are read without a copy where their type fits, and results come as
    what came in. Calls from several threads wait for one another; the GIL is free meanwhile.

    Model(config, seed=0) is a new model with transformers' initialisation.
    """

    config_class: ClassVar[type[PretrainedConfig] | None] = None
    head: ClassVar[str] = "Model"
    base_model_prefix: ClassVar[str] = "model"
    main_input_name: ClassVar[str] = "input_ids"
    output_class: ClassVar[type[ModelOutput]] = ModelOutput

    def __init__(self, config: PretrainedConfig, *, seed: int = 0, dtype: Any = None, threads: int = 0) -> None:
        name = self._class_name(config)
        core = _core.Model("", config._engine_json(name), seed, _compute(dtype or config.dtype), threads)
        self._adopt(core, None, config)

    def _adopt(self, core: _core.Model, path: Path | None, config: PretrainedConfig) -> None:
        self.engine = core
        self.config = config
        self.name_or_path = "" if path is None else str(path)
        self._parameters: dict[str, Parameter] = {}
        self._batch_cache = DynamicCache

    @classmethod
    def _class_name(cls, config: PretrainedConfig) -> str:
        model_type = config.model_type
        wanted = cls.config_class
        if wanted is not None and wanted.model_type != model_type:
            raise _core.ConfigError(
                f"model_type: expected {wanted.model_type} for {cls.__name__}, got {model_type}"
            )
        return _PREFIXES.get(model_type, "DiffLlama") + cls.head

    # Files

    @classmethod
    def from_pretrained(
        cls: type[ModelT],
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *model_args: Any,
        config: PretrainedConfig | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str = "main",
        subfolder: str = "",
        dtype: Any = "auto",
        adapter: str | os.PathLike[str] | None = None,
        threads: int = 0,
        prefill_chunk: int = 512,
        cache_type: str = "auto",
        packed_copy: bool = False,
        seed: int = 0,
        gguf_file: str | None = None,
        **kwargs: Any,
    ) -> ModelT:
        """Opens a Hugging Face directory, a .gguf file, or a snapshot in Hugging Face's cache.

        pretrained_model_name_or_path: None is the model that ships. revision, subfolder, cache_dir:
        where it lies (diffllama.hub.find_model); nothing is downloaded.
        config: fields in place of the file's. dtype: how products are computed: "auto" (float32 for
        weights stored as float32 or float16, else bfloat16), "float32" or "bfloat16", or torch's.
        adapter: a LoRA adapter of PEFT, merged. threads: 0 is one a core. cache_type: "auto", "f32",
        "bf16", "q8_0". packed_copy: keeps packed weights beside the model for faster starts.
        seed: for a head that the files lack, which is named in a warning.
        kwargs: fields of the configuration, such as num_labels; what is none of its fields
        (device_map, attn_implementation, ...) says nothing here.
        Raises IoError, FormatError, ConfigError, all before anything is computed.
        """
        path = hub.find_model(
            pretrained_model_name_or_path, revision=revision, cache_dir=cache_dir, subfolder=subfolder,
            gguf_file=gguf_file,
        )
        path = _core.find_model(path)
        if kwargs.get("torch_dtype") is not None:
            dtype = kwargs["torch_dtype"]

        def open_as(changed: str | None) -> _core.Model:
            return _core.Model(
                path, changed, seed, _compute(dtype), threads, prefill_chunk, cache_type,
                "" if adapter is None else adapter, packed_copy,
            )

        adapted = None if adapter is None else open_as(None)  # which may have another head
        stored = read_config(path) if adapted is None else json.loads(adapted.config())
        config_type = CONFIGS.get(stored["model_type"], FamilyConfig)
        wanted = config if config is not None else config_type.from_dict(stored)
        for name, value in kwargs.items():
            if name in ("num_labels", "id2label", "problem_type", "output_attentions", "output_hidden_states",
                        "return_dict") or name in stored:
                setattr(wanted, name, value)
        class_name = cls._class_name(wanted)
        changed = wanted._engine_json(class_name)
        if json.loads(changed) != stored:
            core = open_as(changed)
        else:
            core = adapted or open_as(None)
        model = cls.__new__(cls)
        wanted.architectures = [class_name]
        model._adopt(core, path, wanted)
        return model

    @classmethod
    def from_config(cls: type[ModelT], config: PretrainedConfig, **kwargs: Any) -> ModelT:
        """A new model: cls(config, **kwargs)."""
        return cls(config, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes config.json and model.safetensors as transformers names them, and the generation
        defaults. Raises IoError."""
        self.engine.save_pretrained(Path(save_directory))
        if self.name_or_path and (Path(self.name_or_path) / "generation_config.json").is_file():
            target = Path(save_directory) / "generation_config.json"
            source = Path(self.name_or_path) / "generation_config.json"
            if not target.exists() or not target.samefile(source):
                shutil.copyfile(source, target)

    # Parameters

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter by its transformers name; a tied lm_head is not listed."""
        for name in self.engine.parameter_names():
            if name not in self._parameters:
                self._parameters[name] = Parameter(self, name)
            yield (f"{prefix}.{name}" if prefix else name), self._parameters[name]

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter."""
        for _, parameter in self.named_parameters():
            yield parameter

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many values the parameters have."""
        return sum(
            parameter.numel()
            for name, parameter in self.named_parameters()
            if not (exclude_embeddings and "embed_tokens" in name)
        )

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """A float32 copy of every parameter by its name."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state_dict: dict[str, Array], strict: bool = True) -> None:
        """Replaces parameters, as float32. strict: all of them must be there.

        Raises InvalidArgument for unknown names and other shapes, before anything is changed.
        """
        if strict:
            missing = set(self.engine.parameter_names()) - set(state_dict)
            if missing:
                raise _core.InvalidArgument(f"state_dict: expected every parameter; missing: {sorted(missing)}")
        self.engine.set_parameters({name: numpy_array(value, np.float32) for name, value in state_dict.items()})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> Embedding:
        """Sets vocab_size: rows are cut from the end, or added as the mean of the old ones.

        mean_resizing: only True. pad_to_multiple_of: rounds the size up. Returns the embeddings.
        """
        if not mean_resizing:
            raise _core.InvalidArgument("mean_resizing: expected True, got False")
        size = self.config.vocab_size if new_num_tokens is None else new_num_tokens  # type: ignore[attr-defined]
        if pad_to_multiple_of:
            size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
        if new_num_tokens is not None or pad_to_multiple_of:
            self.engine.resize_token_embeddings(size)
            self.config.vocab_size = size  # type: ignore[attr-defined]
        return self.get_input_embeddings()

    def get_input_embeddings(self) -> Embedding:
        """Looks embeddings up: ids [B, T] to float32 [B, T, C]; `weight` is the parameter [V, C]."""
        names = [name for name in self.engine.parameter_names() if name.endswith("embed_tokens.weight")]
        return Embedding(next(p for name, p in self.named_parameters() if name == names[0]))

    # What torch's modules have, and an engine needs not

    @property
    def device(self) -> str:
        """ "cpu"."""
        return "cpu"

    @property
    def dtype(self) -> str:
        """How products are computed: "float32" or "bfloat16"."""
        return str(self.engine.runtime()["compute"])

    def eval(self: ModelT) -> ModelT:
        """Itself: the engine has no dropout."""
        return self

    def train(self: ModelT, mode: bool = True) -> ModelT:
        """Itself: losses and gradients are those of evaluation mode; see diffllama.train."""
        return self

    def to(self: ModelT, *args: Any, **kwargs: Any) -> ModelT:
        """Itself, for "cpu"; raises InvalidArgument for another device."""
        for value in (*args, kwargs.get("device")):
            if str(value).startswith(("cuda", "mps", "xpu", "tpu")):
                raise _core.InvalidArgument(f"device: expected cpu, got {value}")
        return self

    def requires_grad_(self: ModelT, requires_grad: bool = True) -> ModelT:
        """Itself."""
        return self

    # Forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, input_ids: Array | None = None, **kwargs: Any) -> Any:
        """Runs the model once; the subclasses say on what."""
        raise NotImplementedError

    def _forward(
        self,
        input_ids: Array | None,
        inputs_embeds: Array | None,
        attention_mask: Array | None,
        position_ids: Array | None,
        past_key_values: DynamicCache | None,
        use_cache: bool | None,
        labels: Array | None = None,
        start_positions: Array | None = None,
        end_positions: Array | None = None,
        logits_to_keep: int = 0,
        keeps_cache: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        cache: DynamicCache | None = None,
        **ignored: Any,
    ) -> Any:
        config = self.config
        convert = converter(input_ids, inputs_embeds)
        ids, embeds = engine_array(input_ids), engine_array(inputs_embeds)
        past = past_key_values if cache is None else cache
        core_cache = None
        if use_cache is None:
            use_cache = keeps_cache and labels is None and bool(getattr(config, "use_cache", True))
        if past is not None or (use_cache and not output_gradients):
            main = ids if ids is not None else embeds
            shape: tuple[int, ...] = getattr(main, "shape", ())
            if len(shape) > 1:  # what is no batch is the engine's to refuse
                past = DynamicCache() if past is None else past
                core_cache = past.engine_cache(self.engine, int(shape[0]))
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "inputs_embeds": embeds,
            "attention_mask": _mask(attention_mask),
            "position_ids": engine_array(position_ids),
            "labels": engine_array(labels),
            "start_positions": engine_array(start_positions),
            "end_positions": engine_array(end_positions),
        }
        result = self.engine.forward(
            **inputs,
            cache=core_cache,
            logits_to_keep=int(logits_to_keep),
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            output_gradients=output_gradients,
        )
        if convert is not unchanged:
            _convert(result, convert)
        if "loss" in result:
            result["loss"] = make_loss(result["loss"], lambda scale: self._add_gradients(inputs, scale, convert), convert)
        for name in ("hidden_states", "attentions"):
            if name in result:
                result[name] = tuple(result[name])
        if past is not None:
            result["past_key_values"] = past
        output = self.output_class(**{name: result.get(name) for name in self.output_class.fields})
        wants_dict = config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()

    def _add_gradients(self, inputs: dict[str, Any], scale: float, convert: Callable[[Any], Any]) -> None:
        gradients = self.engine.forward(**inputs, output_gradients=True)["gradients"]
        for name, parameter in self.named_parameters():
            gradient = convert(gradients[name] * np.float32(scale) if scale != 1 else gradients[name])
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def __repr__(self) -> str:
        runtime = self.engine.runtime()
        return (
            f"{type(self).__name__}({self.name_or_path!r}, {runtime['weight_format']} weights, "
            f"{runtime['compute']}, {runtime['isa']}, {runtime['threads']} threads)"
        )


def _compute(dtype: Any) -> str:
    name = dtype_name(dtype)
    return "auto" if name in (None, "float16") else str(name)


def _mask(mask: Array | None) -> Array | None:
    """A float mask of 4 dimensions is one that is added to scores, as transformers takes it."""
    mask = engine_array(mask)
    if mask is not None and "float" in str(mask.dtype):
        values = numpy_array(mask)
        return (values > -1) if values.ndim == 4 else (values != 0)
    return mask


def _convert(result: dict[str, Any], convert: Callable[[Any], Any]) -> None:
    for name, value in result.items():
        if isinstance(value, list):
            result[name] = [convert(each) for each in value]
        elif isinstance(value, dict):
            result[name] = {key: convert(each) for key, each in value.items()}
        elif name != "loss":
            result[name] = convert(value)


class Embedding:
    """The embeddings of a model: looks ids up."""

    def __init__(self, weight: Parameter) -> None:
        self.weight = weight
        self.num_embeddings, self.embedding_dim = weight.shape

    def __call__(self, input_ids: Array) -> Array:
        """ids int64 [...] to float32 [..., C], as what came in."""
        return converter(input_ids)(self.weight.data[numpy_array(input_ids)])
