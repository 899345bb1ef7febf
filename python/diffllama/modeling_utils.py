"""What every model class has: files, parameters, forward and gradients."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from . import _core, files, hub, options
from .arrays import Array, converter, engine_array, has_torch, numpy_array, to_torch, unchanged
from .cache import DynamicCache
from .configuration import CONFIGS, AutoConfig, FamilyConfig, PretrainedConfig, read_config
from .forward_inputs import LossScaling, convert_result, embeddings_array, engine_mask, kept_logits
from .outputs import BaseModelOutputWithPast, ModelOutput
from .parameters import Parameters, make_loss
from .parts import Embedding, Layers, Linear, part
from .torch_module import TorchModule

ModelT = TypeVar("ModelT", bound="PreTrainedModel")

_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
_PREFIXES = {
    "diffllama": "DiffLlama",
    "llama": "Llama",
    "diff_transformer": "DiffTransformer",
    "diff_transformer_v2": "DiffTransformerV2",
    "motif": "Motif",
}


class PreTrainedModel(TorchModule):
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
    loss_arguments: ClassVar[bool] = False
    """Whether num_items_in_batch and ignore_index are arguments of forward."""

    def __init__(self, config: PretrainedConfig, *, seed: int = 0, dtype: Any = None, threads: int = 0) -> None:
        name = self._class_name(config)
        compute = options.compute_type(dtype, config.dtype)
        core = _core.Model("", config._engine_json(name), seed, compute, threads)
        self._adopt(core, None, config)

    def _adopt(self, core: _core.Model, path: Path | None, config: PretrainedConfig) -> None:
        self._core = core
        self.config = config
        self.name_or_path = "" if path is None else str(path)
        self._parameters = Parameters(core)
        config._belongs_to(self)

    @property
    def engine(self) -> _core.Model:
        """The engine's model, with what was changed in its parameters."""
        self._parameters.push()
        return self._core

    def _config_changed(self) -> None:
        self._core.set_config(self.config._engine_json(self._class_name(self.config)))

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
        config: PretrainedConfig | str | os.PathLike[str] | None = None,
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
        generation_config: Any = None,
        **kwargs: Any,
    ) -> ModelT:
        """Opens a Hugging Face directory, a .gguf file, or a snapshot in Hugging Face's cache.

        pretrained_model_name_or_path: None is the model that ships. revision, subfolder, cache_dir:
        where it lies (diffllama.hub.find_model); nothing is downloaded.
        config: fields in place of the file's, or where such lie. dtype: how products are computed: "auto" (float32 for
        weights stored as float32 or float16, else bfloat16), "float32" or "bfloat16", or torch's.
        adapter: a LoRA adapter of PEFT, merged. threads: 0 is one a core. cache_type: "auto", "f32",
        "bf16", "q8_0". packed_copy: keeps packed weights beside the model for faster starts.
        seed: for a head that the files lack, which is named in a warning. generation_config: in place of
        the file's options; ids of special tokens among kwargs are of its options too.
        kwargs: fields of the configuration, such as num_labels; of transformers' other arguments those
        that say how a file is loaded, and device_map, attn_implementation and the like where they ask
        for what is done here.
        Raises IoError, FormatError, ConfigError, InvalidArgument, and TypeError for names that are
        none of these, all before anything is computed.
        """
        if model_args:
            raise TypeError(f"{cls.__name__}.from_pretrained: expected the other arguments by name, got {model_args!r}")
        dtype = options.take(cls.__name__, kwargs, dtype)
        given: Any = config
        if isinstance(config, (str, os.PathLike)):
            given = AutoConfig.from_pretrained(config, cache_dir=cache_dir)
        path = _core.find_model(
            hub.find_model(
                pretrained_model_name_or_path, revision=revision, cache_dir=cache_dir, subfolder=subfolder,
                gguf_file=gguf_file,
            )
        )

        def open_as(changed: str | None) -> _core.Model:
            return _core.Model(
                path, changed, seed, options.compute_type(dtype), threads, prefill_chunk, cache_type,
                "" if adapter is None else adapter, packed_copy,
            )

        adapted = None if adapter is None else open_as(None)  # which may have another head
        stored = read_config(path) if adapted is None else json.loads(adapted.config())
        config_type = CONFIGS.get(stored["model_type"], FamilyConfig)
        wanted: PretrainedConfig = copy.deepcopy(given) if given is not None else config_type.from_dict(stored)
        for name, value in kwargs.items():
            if not hasattr(wanted, name) and name not in stored:
                raise TypeError(f"{cls.__name__}.from_pretrained: expected an argument or a field of config.json, got {name!r}")
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
        model._take_options(generation_config, {name: kwargs[name] for name in _TOKENS if name in kwargs})
        return model

    def _take_options(self, generation_config: Any, tokens: dict[str, Any]) -> None:
        """Options of generation that from_pretrained is given: for a head that generates."""

    @classmethod
    def from_config(cls: type[ModelT], config: PretrainedConfig, **kwargs: Any) -> ModelT:
        """A new model: cls(config, **kwargs); kwargs: seed, dtype, threads, and what of
        from_pretrained's says where and how it computes."""
        dtype = options.take(cls.__name__, kwargs, None)
        return cls(config, dtype=dtype, **kwargs)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        is_main_process: bool = True,
        state_dict: dict[str, Array] | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str | None = None,
        variant: str | None = None,
        token: str | bool | None = None,
        save_peft_format: bool = True,
        *,
        safe_serialization: bool = True,
    ) -> None:
        """Writes config.json and model.safetensors as transformers names them, and, of a model that
        generates, generation_config.json: all with the changes made since it was loaded.

        is_main_process: False writes nothing. max_shard_size: bytes, or text such as "5GB"; there is
        one file, so it must fit. token, save_peft_format: nothing is sent, and there are no adapters.
        Raises IoError, and InvalidArgument for a state_dict (load_state_dict takes one), push_to_hub,
        variant and safe_serialization=False.
        """
        options.check_saving(state_dict, push_to_hub, variant, safe_serialization)
        if max_shard_size is not None:
            options.check_shard(max_shard_size, 4 * self.num_parameters())
        if not is_main_process:
            return
        directory = Path(save_directory)
        self.engine.save_pretrained(directory)
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        own = json.loads(self.config._engine_json(self._class_name(self.config)))
        own.update({name: config[name] for name in ("dtype", "torch_dtype") if name in config})  # as it is stored
        files.write_text(directory / "config.json", json.dumps(own, indent=2) + "\n")
        self._save_more(directory)

    def _save_more(self, directory: Path) -> None:
        """What a class writes beside."""

    # Parameters

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Every parameter by its transformers name; a tied lm_head is not listed.

        Where torch is imported they are torch.nn.Parameter's, float32 copies that optimizers step;
        what changes them reaches the model before it next computes. Else diffllama's Parameter.
        """
        for name, parameter in self._parameters:
            yield (f"{prefix}.{name}" if prefix else name), parameter

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Every parameter, as named_parameters gives them."""
        for _, parameter in self._parameters:
            yield parameter

    def get_parameter(self, target: str) -> Any:
        """The parameter of that name. Raises AttributeError."""
        if target not in self._parameters.names():
            raise AttributeError(f"{type(self).__name__} has no parameter {target!r}")
        return self._parameters.get(target)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many values the parameters have; only_trainable: those that get gradients."""
        names = self._parameters.trained() if only_trainable else self._parameters.names()
        return sum(
            math.prod(self._parameters.shape(name))
            for name in names
            if not (exclude_embeddings and "embed_tokens" in name)
        )

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes of the matrices as the engine holds them."""
        return int(self._core.runtime()["weight_bytes"])

    def state_dict(self) -> dict[str, Any]:
        """A float32 copy of every parameter by its name: torch's tensors where torch is imported."""
        convert = to_torch if has_torch() else unchanged
        return {name: convert(self._parameters.read(name)) for name in self._parameters.names()}

    def load_state_dict(self, state_dict: dict[str, Array], strict: bool = True) -> None:
        """Replaces parameters, as float32. strict: all of them must be there.

        Raises InvalidArgument for unknown names and other shapes, before anything is changed.
        """
        if strict:
            missing = set(self._parameters.names()) - set(state_dict)
            if missing:
                raise _core.InvalidArgument(f"state_dict: expected every parameter; missing: {sorted(missing)}")
        self._parameters.set(state_dict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients."""
        for parameter in self._parameters.made.values():
            parameter.grad = None

    def requires_grad_(self: ModelT, requires_grad: bool = True) -> ModelT:
        """Whether backward() gives the parameters gradients. Returns itself."""
        self._parameters.require_gradients(requires_grad)
        return self

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> Embedding:
        """Sets vocab_size: rows are cut from the end, or added.

        mean_resizing: new rows are the mean of the old ones; False: drawn with
        config.initializer_range. pad_to_multiple_of: rounds the size up. Returns the embeddings.
        """
        old = self.vocab_size
        size = old if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of:
            size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
        if size == old:
            return self.get_input_embeddings()
        self.engine.resize_token_embeddings(size)
        self.config._set("vocab_size", size)
        self._parameters.changes += 1
        self._parameters.pull()
        if not mean_resizing and size > old:
            draws = np.random.default_rng(size)
            scale = float(getattr(self.config, "initializer_range", 0.02))
            for name in self._parameters.names():
                if name.endswith(("embed_tokens.weight", "lm_head.weight")):
                    values = self._parameters.read(name)
                    values[old:] = draws.normal(0, scale, values[old:].shape)
                    self._parameters.set({name: values})
        return self.get_input_embeddings()

    def get_input_embeddings(self) -> Embedding:
        """Looks embeddings up: ids [B, T] to float32 [B, T, C]; `weight` is the parameter [V, C]."""
        name = next(name for name in self._parameters.names() if name.endswith("embed_tokens.weight"))
        embeddings: Embedding = part(self, name.removesuffix(".weight"))
        return embeddings

    def get_output_embeddings(self) -> Any:
        """lm_head, or the embeddings that it is tied to; None of other heads."""
        return self.lm_head if self.head == "ForCausalLM" else None

    @property
    def base_model(self) -> Any:
        """The layers without the head."""
        return Layers(self, f"{self.base_model_prefix}.") if self.base_model_prefix else self

    def __getattr__(self, name: str) -> Any:
        """Parts by their names: model (or transformer), lm_head, score, qa_outputs; layers, norm, ..."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        if name == self.base_model_prefix:
            return self.base_model
        if name == "lm_head" and self.head == "ForCausalLM" and "lm_head.weight" not in self._parameters.names():
            return Linear(self, f"{self.base_model_prefix}.embed_tokens.")  # tied
        return part(self, name)

    @property
    def num_labels(self) -> int:
        """Labels of the heads that classify."""
        return self.config.num_labels

    @property
    def vocab_size(self) -> int:
        """V."""
        return int(self.config.vocab_size)  # type: ignore[attr-defined]

    # Forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, input_ids: Array | None = None, **kwargs: Any) -> Any:
        """Runs the model once; the subclasses say on what."""
        raise NotImplementedError

    def _run_layers(self, input_ids: Array | None = None, **kwargs: Any) -> Any:
        wants_states = kwargs.pop("output_hidden_states", None)
        wants_states = self.config.output_hidden_states if wants_states is None else wants_states
        wants_dict = kwargs.pop("return_dict", None)
        if self.head == "ForCausalLM":
            kwargs["logits_to_keep"] = 1
        found = self.forward(input_ids, output_hidden_states=True, return_dict=True, **kwargs)
        output = BaseModelOutputWithPast(
            last_hidden_state=found.hidden_states[-1], past_key_values=found.get("past_key_values"),
            hidden_states=found.hidden_states if wants_states else None, attentions=found.attentions,
        )
        return output if (self.config.return_dict if wants_dict is None else wants_dict) else output.to_tuple()

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
        logits_to_keep: Any = 0,
        keeps_cache: bool = True,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        output_gradients: bool = False,
        return_dict: bool | None = None,
        cache: DynamicCache | None = None,
        others: dict[str, Any] | None = None,
    ) -> Any:
        config, engine = self.config, self.engine
        convert = converter(input_ids, inputs_embeds)
        ids, embeds = engine_array(input_ids), embeddings_array(inputs_embeds)
        shape: tuple[int, ...] = getattr(ids if ids is not None else embeds, "shape", ())
        scaling = LossScaling.take(type(self).__name__, self.loss_arguments, self.head, others or {}, labels)
        labels = engine_array(labels) if scaling is None else scaling.labels
        past = past_key_values if cache is None else cache
        if past is not None and not isinstance(past, DynamicCache):
            raise _core.InvalidArgument(f"past_key_values: expected a DynamicCache, got {type(past).__name__}")
        core_cache = None
        if use_cache is None:
            use_cache = keeps_cache and bool(getattr(config, "use_cache", True))
        had_past = past is not None and past.get_seq_length() > 0
        if (past is not None or (use_cache and not output_gradients)) and len(shape) > 1:  # else: the engine's to refuse
            past = DynamicCache() if past is None else past
            core_cache = past.engine_cache(engine, self._parameters, int(shape[0]))
        keep, kept = kept_logits(logits_to_keep, shape, labels)
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "inputs_embeds": embeds,
            "attention_mask": engine_mask(attention_mask),
            "position_ids": engine_array(position_ids),
            "labels": labels,
            "start_positions": engine_array(start_positions),
            "end_positions": engine_array(end_positions),
        }
        result = engine.forward(
            **inputs,
            cache=core_cache,
            logits_to_keep=keep,
            output_hidden_states=config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            output_attentions=config.output_attentions if output_attentions is None else output_attentions,
            output_gradients=output_gradients,
        )
        if kept is not None:
            result["logits"] = np.ascontiguousarray(result["logits"][:, kept])
        if convert is not unchanged:
            convert_result(result, convert, self._parameters)
        if "loss" in result:
            factor = 1.0 if scaling is None else scaling.factor
            value = 0.0 if factor == 0 else result["loss"] * factor
            if factor != 1 and "gradients" in result:
                result["gradients"] = {name: each * factor for name, each in result["gradients"].items()}
            compute = self._gradients(inputs, factor, had_past, convert)
            result["loss"] = make_loss(value, compute, self._parameters, convert)
        for name in ("hidden_states", "attentions"):
            if name in result:
                result[name] = tuple(result[name])
        if past is not None:
            result["past_key_values"] = past
        output = self.output_class(**{name: result.get(name) for name in self.output_class.fields})
        wants_dict = config.return_dict if return_dict is None else return_dict
        return output if wants_dict else output.to_tuple()

    def _gradients(
        self, inputs: dict[str, Any], factor: float, had_past: bool, convert: Callable[[Any], Any]
    ) -> Callable[[], dict[str, Any]]:
        """What computes the gradients of a loss, of what was given for it: the model runs once more, and back."""
        kept: dict[str, Any] = {name: None if value is None else np.array(numpy_array(value)) for name, value in inputs.items()}
        changes = self._parameters.changes

        def compute() -> dict[str, Any]:
            if had_past:
                raise _core.InvalidArgument(
                    "backward: expected a loss of whole texts, got one with past_key_values, through which no gradient goes"
                )
            engine = self.engine
            if self._parameters.changes != changes:
                raise _core.InvalidArgument("backward: expected the parameters that the loss was computed with, got changed ones")
            names = self._parameters.trained()
            if not names:
                raise _core.InvalidArgument("backward: expected a parameter with requires_grad, got none")
            gradients = engine.forward(**kept, output_gradients=True)["gradients"]
            return {name: convert(gradients[name] * np.float32(factor) if factor != 1 else gradients[name]) for name in names}

        return compute

    def __repr__(self) -> str:
        runtime = self.engine.runtime()
        return (
            f"{type(self).__name__}({self.name_or_path!r}, {runtime['weight_format']} weights, "
            f"{runtime['compute']}, {runtime['isa']}, {runtime['threads']} threads)"
        )
