"""generate: continues token ids, with the arguments of transformers' GenerationConfig."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import Array, converter, numpy_array
from .cache import DynamicCache
from .outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

if TYPE_CHECKING:
    from .configuration import PretrainedConfig
    from .streamers import BaseStreamer
    from .tokenization import PreTrainedTokenizer

_DEFAULT_NEW_TOKENS = 20  # where nothing says how many: as transformers has it

# What Python does itself; all else is the engine's to read.
_PYTHON_ONLY = frozenset(
    {"return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states",
     "use_cache", "bos_token_id", "transformers_version", "_from_model_config", "json_schema", "regex", "grammar"}
)

_seeds = random.Random()


def set_seed(seed: int) -> None:
    """The seed of what generate draws from now on, where it is given no seed of its own."""
    _seeds.seed(seed)


class GenerationConfig:
    """Options of generate. Fields are transformers', None where they are not set.

    Beyond them: seed, ignore_eos, presence_penalty, frequency_penalty, logit_bias, and json_schema,
    regex and grammar, which the text is kept to (docs/generation.md has every option).
    """

    fields: tuple[str, ...] = tuple(name for name, _, _ in _core.generation_options()) + tuple(sorted(_PYTHON_ONLY))

    def __init__(self, **kwargs: Any) -> None:
        self._values: dict[str, Any] = {}
        self.update(**kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_values":
            raise AttributeError(name)
        return self._values.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_values":
            super().__setattr__(name, value)
        else:
            self._values[name] = value

    def update(self, defaults_only: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Sets options; defaults_only: those alone that are not set. Returns what is no option."""
        unused = {}
        for name, value in kwargs.items():
            if name not in self.fields:
                unused[name] = value
            elif not defaults_only or self._values.get(name) is None:
                self._values[name] = value
        return unused

    def validate(self) -> None:
        """Raises ConfigError for the first option that is not allowed."""
        self._engine_config().validate()

    def to_dict(self) -> dict[str, Any]:
        """The options that are set."""
        return {name: copy.deepcopy(value) for name, value in self._values.items() if value is not None}

    def to_json_string(self) -> str:
        """The text of a generation_config.json."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Writes generation_config.json into a directory."""
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        (Path(save_directory) / "generation_config.json").write_text(self.to_json_string())

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> GenerationConfig:
        """Of a model's generation_config.json or .gguf file; kwargs come over it."""
        from .hub import find_model

        config = cls()
        config._values = _file_options(find_model(pretrained_model_name))
        config.update(**kwargs)
        return config

    @classmethod
    def of_model(cls, path: Path | None, model_config: PretrainedConfig) -> GenerationConfig:
        """What a model begins with: its file's options, else the ids of its configuration."""
        config = cls()
        if path is not None:
            config._values = _file_options(path)
        config.update(
            defaults_only=True,
            **{name: getattr(model_config, name, None) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        )
        return config

    def _engine_config(self) -> _core.GenerationConfig:
        engine = _core.GenerationConfig()
        options = {k: v for k, v in self.to_dict().items() if k not in _PYTHON_ONLY}
        engine.update(json.dumps(options, default=_plain), "generate")
        return engine

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GenerationConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"GenerationConfig {self.to_json_string()}"


def _plain(value: Any) -> Any:
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if to_dict is not None else numpy_array(value).tolist()


def _file_options(path: Path) -> dict[str, Any]:
    if path.is_dir():
        file = path / "generation_config.json"
        return dict(json.loads(file.read_text())) if file.is_file() else {}
    return dict(json.loads(_core.GenerationConfig.from_pretrained(path).to_json()))


class _Prompts:
    """The prompts of a call: ids without padding, and the rows that they came in."""

    def __init__(self, ids: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> None:
        self.rows = ids
        self.mask = mask
        self.ids: list[list[int]] = [row[kept].tolist() for row, kept in zip(ids, mask.astype(bool))]


class GenerationMixin:
    """generate, for models with a language model's head."""

    engine: _core.Model
    config: PretrainedConfig
    generation_config: GenerationConfig

    def generate(
        self,
        inputs: Array | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: list[Any] | None = None,
        stopping_criteria: list[Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Array], list[int]] | None = None,
        assistant_model: Any = None,
        streamer: BaseStreamer | None = None,
        negative_prompt_ids: Array | None = None,
        negative_prompt_attention_mask: Array | None = None,
        *,
        attention_mask: Array | None = None,
        tokenizer: PreTrainedTokenizer | None = None,
        past_key_values: DynamicCache | None = None,
        inputs_embeds: Array | None = None,
        **kwargs: Any,
    ) -> Any:
        """Continues token ids.

        inputs (or input_ids): int [B, T], padded on the left where lengths differ, with its
        attention_mask [B, T]; without one padding is found by pad_token_id. inputs_embeds: float32
        [B, T, C] in their place: then new ids alone come back. generation_config and kwargs:
        options, over the model's generation_config; 20 new tokens unless told.
        logits_processor: called with ids [1, T] and scores [1, V], returns scores, before
        temperature and the other warpers. stopping_criteria: called with ids [B, T] and scores
        after each token; a sequence ends where one is true. prefix_allowed_tokens_fn: (sequence,
        ids) to the ids that may follow. assistant_model: guesses tokens ahead, which changes none.
        streamer: gets the prompt and each token of one sequence. tokenizer: for stop_strings, and
        json_schema, regex or grammar. past_key_values: a cache that holds the first tokens of
        inputs. seed: of what is drawn; without it set_seed's next.

        Returns ids int64 [B * num_return_sequences, T + new], prompts first, ends padded; with
        return_dict_in_generate GenerateDecoderOnlyOutput or GenerateBeamDecoderOnlyOutput.
        Raises ConfigError and InvalidArgument; KeyboardInterrupt at the next token.
        """
        inputs = kwargs.pop("input_ids", None) if inputs is None else inputs
        past_key_values = kwargs.pop("cache", past_key_values)
        for name in ("synced_gpus", "custom_generate", "position_ids", "token_type_ids", "logits_to_keep"):
            kwargs.pop(name, None)
        options = GenerationConfig(**self.generation_config.to_dict())
        if generation_config is not None:
            options.update(**generation_config.to_dict())
        unknown = options.update(**kwargs)
        if unknown:
            raise _core.InvalidArgument(f"generate: expected options of generation, got {', '.join(sorted(unknown))}")
        convert = converter(inputs, inputs_embeds)
        prompts = _read_prompts(inputs, inputs_embeds, attention_mask, options)
        _set_length(options, kwargs, generation_config, prompts, self.config)
        if negative_prompt_ids is not None:
            options.negative_prompt_ids = numpy_array(negative_prompt_ids).reshape(-1).tolist()
        engine_config = options._engine_config()
        if options.seed is None and options.do_sample:
            engine_config.update(json.dumps({"seed": _seeds.getrandbits(63)}))
        engine_config.eos_token_ids = _ids(options.eos_token_id)
        _constrain(engine_config, options, tokenizer)
        _add_processors(engine_config, logits_processor, prefix_allowed_tokens_fn, prompts, convert)
        engine_config.validate()

        wants_more = any(
            getattr(options, name) for name in ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
        )
        beams = int(options.num_beams or 1)
        own_loop = bool(
            stopping_criteria or past_key_values is not None or inputs_embeds is not None
            or (wants_more and options.return_dict_in_generate)
        )
        if own_loop and (beams > 1 or (options.guidance_scale or 1) != 1):
            raise _core.InvalidArgument(
                "generate: expected no stopping_criteria, past_key_values, inputs_embeds or output_... with beams or "
                "guidance, got them together"
            )
        if streamer is not None:
            if beams > 1 or len(prompts.ids) * int(options.num_return_sequences or 1) > 1:
                raise _core.InvalidArgument("streamer: expected one sequence without beams")
            streamer.put(prompts.rows)
        core_tokenizer = None if tokenizer is None else tokenizer.engine
        if own_loop:
            loop = _Loop(self, prompts, engine_config, options, core_tokenizer, convert)
            new_ids, extras = loop.run(inputs_embeds, past_key_values, stopping_criteria or [], streamer)
            scores = None
        else:
            on_token = None if streamer is None else (lambda sequence, token: streamer.put(np.array([token])))
            found = _core.generate(
                self.engine, prompts.ids, engine_config, core_tokenizer, on_token,
                None if assistant_model is None else assistant_model.engine,
            )
            new_ids, extras = [sequence[1] for sequence in found], {}
            scores = np.array([sequence[4] for sequence in found], np.float32)
        if streamer is not None:
            streamer.end()
        rows = prompts.rows if inputs_embeds is None else prompts.rows[:, :0]
        sequences = convert(_join(rows, new_ids, options))
        if not options.return_dict_in_generate:
            return sequences
        if beams > 1 and scores is not None:
            return GenerateBeamDecoderOnlyOutput(sequences=sequences, sequences_scores=convert(scores))
        return GenerateDecoderOnlyOutput(sequences=sequences, **extras)


def _ids(value: Any) -> list[int]:
    if value is None:
        return []
    return [int(value)] if np.ndim(value) == 0 else [int(each) for each in value]


def _read_prompts(inputs: Any, embeds: Any, mask: Any, options: GenerationConfig) -> _Prompts:
    if inputs is None and embeds is None:
        if options.bos_token_id is None:
            raise _core.InvalidArgument("generate: expected inputs, or a bos_token_id to begin with, got neither")
        inputs = [[options.bos_token_id]]
    if inputs is None:
        ids = np.zeros(numpy_array(embeds).shape[:2], np.int64)
    else:
        ids = numpy_array(inputs, np.int64)
    if ids.ndim != 2:
        raise _core.InvalidArgument(f"inputs: expected shape [B, T], got {list(ids.shape)}")
    if mask is not None:
        found = numpy_array(mask)
        if found.shape != ids.shape:
            raise _core.InvalidArgument(f"attention_mask: expected shape {list(ids.shape)}, got {list(found.shape)}")
        return _Prompts(ids, found)
    pad = options.pad_token_id
    if inputs is not None and pad is not None and pad not in _ids(options.eos_token_id) and (ids == pad).any():
        return _Prompts(ids, ids != pad)
    return _Prompts(ids, np.ones_like(ids))


def _set_length(
    options: GenerationConfig, kwargs: dict[str, Any], given: GenerationConfig | None, prompts: _Prompts,
    config: PretrainedConfig,
) -> None:
    """max_new_tokens, of the options that count: transformers counts the padded prompt to a max_length."""
    width = prompts.rows.shape[1]
    own = {**(given.to_dict() if given is not None else {}), **{k: v for k, v in kwargs.items() if v is not None}}
    if "max_new_tokens" in own or ("max_length" not in own and options.max_new_tokens is not None):
        options.max_length = None
    elif options.max_length is not None:
        if options.max_length <= width:
            raise _core.InvalidArgument(
                f"max_length: expected more than the {width} tokens of the prompt, got {options.max_length}"
            )
        options.max_new_tokens, options.max_length = options.max_length - width, None
    else:
        longest = getattr(config, "max_position_embeddings", width + _DEFAULT_NEW_TOKENS)
        options.max_new_tokens = max(1, min(_DEFAULT_NEW_TOKENS, longest - width))
    if options.min_length is not None and options.min_new_tokens is None:
        options.min_new_tokens = max(0, options.min_length - width)
    options.min_length = None


def _constrain(engine_config: _core.GenerationConfig, options: GenerationConfig, tokenizer: Any) -> None:
    for kind in ("json_schema", "regex", "grammar"):
        text = getattr(options, kind)
        if text is None:
            continue
        if tokenizer is None:
            raise _core.InvalidArgument(f"{kind}: expected a tokenizer with it")
        engine_config.constrain(kind, text if isinstance(text, str) else json.dumps(text), tokenizer.engine)


def _add_processors(
    engine_config: _core.GenerationConfig, processors: list[Any] | None,
    allowed: Callable[[int, Array], list[int]] | None, prompts: _Prompts, convert: Callable[[Any], Any],
) -> None:
    for processor in processors or []:
        def call(ids: Any, scores: Any, processor: Any = processor) -> Any:
            return numpy_array(processor(convert(ids[None]), convert(scores[None])), np.float32)[0]

        engine_config.add_processor(call)
    if allowed is None:
        return
    rows = [np.array(ids) for ids in prompts.ids]

    def keep_allowed(ids: Any, scores: Any) -> Any:
        batch = next((i for i, row in enumerate(rows) if np.array_equal(row, ids[: len(row)])), 0)
        kept = np.full_like(scores, -np.inf)
        chosen = allowed(batch, convert(ids))
        kept[chosen] = scores[chosen]
        return kept

    engine_config.add_processor(keep_allowed)


def _join(rows: np.ndarray[Any, Any], new_ids: list[list[int]], options: GenerationConfig) -> np.ndarray[Any, Any]:
    repeats = len(new_ids) // max(1, len(rows))
    eos = _ids(options.eos_token_id)
    pad = options.pad_token_id if options.pad_token_id is not None else (eos[0] if eos else 0)
    width = max((len(ids) for ids in new_ids), default=0)
    new = np.full((len(new_ids), width), pad, np.int64)
    for row, ids in zip(new, new_ids):
        row[: len(ids)] = ids
    return np.concatenate([np.repeat(rows, repeats, axis=0), new], axis=1)


class _Loop:
    """generate, step by step in Python: where a caller wants to see each step, or brings what comes
    before. Tokens are those of the engine's own loop."""

    def __init__(
        self, model: Any, prompts: _Prompts, engine_config: _core.GenerationConfig, options: GenerationConfig,
        tokenizer: Any, convert: Callable[[Any], Any],
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.options = options
        self.convert = convert
        self.repeats = int(options.num_return_sequences or 1)
        if not engine_config.eos_token_ids and not options.ignore_eos:
            engine_config.eos_token_ids = _ids(getattr(model.config, "eos_token_id", None))
        self.sequences = [
            _core.Continuation(engine_config, ids, tokenizer, number)
            for number, ids in enumerate(ids for ids in prompts.ids for _ in range(self.repeats))
        ]
        self.new_ids: list[list[int]] = [[] for _ in self.sequences]
        self.steps: dict[str, list[Any]] = {"scores": [], "logits": [], "attentions": [], "hidden_states": []}

    def run(
        self, embeds: Any, past: DynamicCache | None, criteria: list[Any], streamer: BaseStreamer | None
    ) -> tuple[list[list[int]], dict[str, Any]]:
        began = time.monotonic()
        cache = DynamicCache() if past is None else past
        mask = np.repeat(self.prompts.mask, self.repeats, axis=0).astype(np.int64)
        known = cache.get_seq_length()
        held = min(known, mask.shape[1] - 1)
        cache.crop(held)
        rows = np.repeat(self.prompts.rows, self.repeats, axis=0)
        step: dict[str, Any] = {"input_ids": rows[:, held:]}
        if embeds is not None:
            step = {"inputs_embeds": np.repeat(numpy_array(embeds, np.float32), self.repeats, axis=0)[:, held:]}
        ended = np.zeros(len(self.sequences), bool)
        while not ended.all():
            logits = self._forward(step, mask, cache)
            for i in np.flatnonzero(ended):
                logits[i] = 0
            tokens = self._choose(logits, ended)
            if streamer is not None:
                streamer.put(np.array(tokens))
            rows = np.concatenate([rows, np.array(tokens)[:, None]], axis=1)
            ended |= [sequence.stop_reason is not None for sequence in self.sequences]
            for criterion in criteria:
                asked = criterion(self.convert(rows), self.convert(logits))
                ended |= np.broadcast_to(numpy_array(asked), ended.shape).astype(bool)
            if self.options.max_time is not None and time.monotonic() - began > self.options.max_time:
                break
            step = {"input_ids": rows[:, -1:]}
            mask = np.concatenate([mask, np.ones((len(mask), 1), np.int64)], axis=1)
        return self.new_ids, self._extras(cache)

    def _choose(self, logits: np.ndarray[Any, Any], ended: np.ndarray[Any, Any]) -> list[int]:
        going = [i for i in range(len(self.sequences)) if not ended[i]]
        part = np.ascontiguousarray(logits[going])
        chosen = _core.next_tokens([self.sequences[i] for i in going], part)
        logits[going] = part
        if self.options.output_scores:
            self.steps["scores"].append(self.convert(logits.copy()))
        eos = _ids(self.options.eos_token_id)
        pad = self.options.pad_token_id if self.options.pad_token_id is not None else (eos[0] if eos else 0)
        tokens = [int(pad)] * len(self.sequences)
        for i, token in zip(going, chosen):
            tokens[i] = token
            self.new_ids[i].append(token)
        return tokens

    def _forward(self, step: dict[str, Any], mask: np.ndarray[Any, Any], cache: DynamicCache) -> np.ndarray[Any, Any]:
        width = next(iter(step.values())).shape[1]
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, -width:]
        output = self.model.forward(
            **step, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1,
            output_attentions=bool(self.options.output_attentions),
            output_hidden_states=bool(self.options.output_hidden_states), return_dict=True,
        )
        logits: np.ndarray[Any, Any] = output.logits[:, -1]
        if self.options.output_logits:
            self.steps["logits"].append(self.convert(logits.copy()))
        for name in ("attentions", "hidden_states"):
            if getattr(self.options, f"output_{name}"):
                self.steps[name].append(tuple(self.convert(each) for each in output[name]))
        return logits

    def _extras(self, cache: DynamicCache) -> dict[str, Any]:
        asked = {name: tuple(steps) for name, steps in self.steps.items() if steps}
        return {**asked, "past_key_values": cache}
