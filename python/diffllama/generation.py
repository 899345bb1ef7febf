"""generate: continues token ids, with the arguments of transformers' GenerationConfig."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import Array, converter, numpy_array
from .beam_loop import BeamLoop
from .cache import DynamicCache
from .generation_config import GenerationConfig, merged_options
from .generation_loop import Guidance, Loop, Processors, Prompts, ids_of, log_softmax, pad_of
from .outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

if TYPE_CHECKING:
    from .configuration import PretrainedConfig
    from .streamers import BaseStreamer
    from .tokenization import PreTrainedTokenizer

__all__ = ["GenerationConfig", "GenerationMixin", "set_seed"]

_DEFAULT_NEW_TOKENS = 20  # where nothing says how many: as transformers has it
_UNLIMITED = 2**31 - 1
_Prompts = Prompts

# Arguments of transformers' generate that change nothing here.
_IGNORED = (
    "synced_gpus", "custom_generate", "position_ids", "token_type_ids", "logits_to_keep", "trust_remote_code",
    "use_model_defaults",
)

_seeds = random.Random()


def set_seed(seed: int) -> None:
    """The seed of what generate draws from now on, where it is given no seed of its own."""
    _seeds.seed(seed)


def next_seed() -> int:
    """The seed of a call that is given none."""
    return _seeds.getrandbits(63)


class GenerationMixin:
    """generate, for models with a language model's head."""

    config: PretrainedConfig
    generation_config: GenerationConfig

    @property
    def engine(self) -> _core.Model:
        """The engine's model."""
        raise NotImplementedError

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
        logits_processor: called with the ids [N, T] and scores [N, V] of all sequences (N: B times
        num_beams, or num_return_sequences), returns scores, before temperature and the other
        warpers. stopping_criteria: called with ids [N, T] and the scores that are kept (or None)
        after each token; a sequence ends where one is true; one of a kind that options make too,
        as MaxLengthCriteria, takes that one's place. prefix_allowed_tokens_fn: (number of the
        prompt, ids [T]) to the ids that may follow. assistant_model: guesses tokens ahead, which
        changes none. streamer: gets the prompt and each token of one sequence, and is ended by an
        error too. negative_prompt_ids: [B, T] or one for all [1, T], for guidance_scale, with
        negative_prompt_attention_mask. tokenizer: for stop_strings, and json_schema, regex or
        grammar. past_key_values: a cache that holds the first tokens of inputs. seed: of what is
        drawn; without it set_seed's next.

        Returns ids int64 [B * num_return_sequences, T + new], prompts first, ends padded; with
        return_dict_in_generate GenerateDecoderOnlyOutput or GenerateBeamDecoderOnlyOutput.
        Raises ConfigError and InvalidArgument; KeyboardInterrupt at the next token.
        """
        try:
            _check_kinds(generation_config, assistant_model, tokenizer, streamer)
            return self._generate(
                kwargs.pop("input_ids", None) if inputs is None else inputs, generation_config,
                _functions("logits_processor", logits_processor), _functions("stopping_criteria", stopping_criteria),
                prefix_allowed_tokens_fn, assistant_model, streamer, negative_prompt_ids,
                negative_prompt_attention_mask, attention_mask, tokenizer, kwargs.pop("cache", past_key_values),
                inputs_embeds, kwargs,
            )
        except BaseException:
            if streamer is not None:  # who reads it in another thread would wait for ever
                with contextlib.suppress(Exception):
                    streamer.end()
            raise

    def _generate(
        self, inputs: Any, generation_config: Any, processors: list[Any], criteria: list[Any], allowed: Any, assistant: Any,
        streamer: BaseStreamer | None, negative_ids: Any, negative_mask: Any, attention_mask: Any,
        tokenizer: PreTrainedTokenizer | None, past: DynamicCache | None, embeds: Any, kwargs: dict[str, Any],
    ) -> Any:
        options = _options(self.generation_config, generation_config, kwargs)
        convert = converter(inputs, embeds)
        prompts = _read_prompts(inputs, embeds, attention_mask, options)
        _set_length(options, kwargs, generation_config, prompts, self.config)
        _let_criteria_decide(options, criteria)
        _check_sampling(options)
        guided = (options.guidance_scale or 1) != 1
        negative = _read_negative(negative_ids, negative_mask, prompts) if guided else None
        if negative is not None and len(negative.ids) == 1:
            options.negative_prompt_ids = negative.ids[0]
        engine_config = options._engine_config()
        if options.seed is None and options.do_sample:
            options.seed = next_seed()
            engine_config.update(json.dumps({"seed": options.seed}))
        engine_config.eos_token_ids = ids_of(options.eos_token_id)
        _constrain(engine_config, options, tokenizer)
        engine_config.validate()

        beams = int(options.num_beams or 1)
        if streamer is not None:
            if beams > 1 or len(prompts.ids) * int(options.num_return_sequences or 1) > 1:
                raise _core.InvalidArgument("streamer: expected one sequence without beams")
            streamer.put(convert(prompts.rows))
        core_tokenizer = None if tokenizer is None else tokenizer.engine
        extras: dict[str, Any] = {}
        equal_draws = bool(options.do_sample) and any(prompts.earlier())
        if (
            processors or allowed or criteria or past is not None or embeds is not None or equal_draws
            or options.return_dict_in_generate
        ):
            kind = BeamLoop if beams > 1 else Loop
            repeats = beams if beams > 1 else int(options.num_return_sequences or 1)
            loop = kind(
                self, prompts, engine_config, options, core_tokenizer, convert,
                Processors(processors, allowed, beams, convert), criteria,
                Guidance(self, float(options.guidance_scale), _repeated(negative, prompts, repeats)) if guided else None,
            )
            if isinstance(loop, BeamLoop):
                new_ids, scores, extras = loop.search(embeds, past)
                extras = {"sequences_scores": convert(scores), **extras}
            else:
                new_ids, extras = loop.run(embeds, past, streamer)
        else:
            on_token = None if streamer is None else (lambda sequence, token: streamer.put(convert(np.array([token]))))
            found = _core.generate(
                self.engine, prompts.ids, engine_config, core_tokenizer, on_token,
                None if assistant is None else assistant.engine,
                [] if negative is None or len(negative.ids) == 1 else negative.ids,
            )
            new_ids = [sequence[1] for sequence in found]
        if streamer is not None:
            streamer.end()
        sequences = convert(_join(prompts.rows, new_ids, options))
        if not options.return_dict_in_generate:
            return sequences
        if options.use_cache is False:  # as transformers: then none is given out
            extras.pop("past_key_values", None)
        output = GenerateBeamDecoderOnlyOutput if beams > 1 else GenerateDecoderOnlyOutput
        return output(sequences=sequences, **{name: extras[name] for name in output.fields if name in extras})

    def compute_transition_scores(
        self, sequences: Array, scores: tuple[Array, ...], beam_indices: Array | None = None, normalize_logits: bool = False
    ) -> Array:
        """What each new token added to its sequence's score: float32 [N, new].

        sequences, scores and beam_indices: of generate's output, scores one [N, V] a new token.
        normalize_logits: of log_softmax(scores). Zero behind the end of a beam.
        """
        ids = numpy_array(sequences)
        steps = np.stack([numpy_array(each, np.float32) for each in scores])
        steps = log_softmax(steps) if normalize_logits else steps
        if beam_indices is None:
            rows = np.repeat(np.arange(steps.shape[1])[:, None], len(steps), axis=1)
        else:
            rows = numpy_array(beam_indices)
            rows = rows[:, : int((rows >= 0).sum(axis=1).max())]
        new = ids[:, ids.shape[1] - rows.shape[1] :]
        found = steps[np.arange(rows.shape[1])[None], np.maximum(rows, 0), new]
        return converter(sequences)(np.where(rows < 0, np.float32(0), found))


def _check_kinds(generation_config: Any, assistant: Any, tokenizer: Any, streamer: Any) -> None:
    """Raises InvalidArgument for an argument that is none of its kind."""
    for name, value, kind, attribute in (
        ("generation_config", generation_config, "a GenerationConfig", "to_dict"),
        ("assistant_model", assistant, "a model of this package", "engine"),
        ("tokenizer", tokenizer, "a tokenizer of this package", "engine"),
        ("streamer", streamer, "a streamer", "put"),
    ):
        if value is not None and not hasattr(value, attribute):
            raise _core.InvalidArgument(f"{name}: expected {kind}, got {type(value).__name__}")


def _functions(name: str, given: Any) -> list[Any]:
    """A caller's list of functions. Raises InvalidArgument for anything else."""
    if given is not None and not isinstance(given, (list, tuple)):
        raise _core.InvalidArgument(f"{name}: expected a list, got {type(given).__name__}")
    for each in given or ():
        if not callable(each):
            raise _core.InvalidArgument(f"{name}: expected a list of functions, got {type(each).__name__} in it")
    return list(given or [])


def _options(own: GenerationConfig, given: Any, kwargs: dict[str, Any]) -> GenerationConfig:
    """The options of a call: its arguments, over the GenerationConfig given, over the model's."""
    for name in _IGNORED:
        kwargs.pop(name, None)
    return merged_options("generate", own, given, kwargs)


def _check_sampling(options: GenerationConfig) -> None:
    """Values that the engine has a meaning for, and transformers refuses."""
    if not options.do_sample:
        return
    if isinstance(options.temperature, (int, float)) and not options.temperature > 0:
        raise _core.ConfigError(
            f"temperature: expected a number above 0, got {options.temperature}; do_sample=False takes the likeliest token"
        )
    if isinstance(options.top_k, (int, float)) and options.top_k < 0:
        raise _core.ConfigError(f"top_k: expected an integer above 0, or 0 for all tokens, got {options.top_k}")


def _let_criteria_decide(options: GenerationConfig, criteria: list[Any]) -> None:
    """A criterion of a kind that options make too takes that one's place, as in transformers."""
    kinds = {type(criterion).__name__ for criterion in criteria}
    if "MaxLengthCriteria" in kinds and int(options.num_beams or 1) == 1:
        options.max_new_tokens = _UNLIMITED
    if "EosTokenCriteria" in kinds:
        options.ignore_eos = True
    if "MaxTimeCriteria" in kinds:
        options.max_time = None
    if "StopStringCriteria" in kinds:
        options.stop_strings = None


def _read_prompts(inputs: Any, embeds: Any, mask: Any, options: GenerationConfig) -> Prompts:
    if inputs is None and embeds is None:
        if options.bos_token_id is None:
            raise _core.InvalidArgument("generate: expected inputs, or a bos_token_id to begin with, got neither")
        inputs = [[options.bos_token_id]]
    ids = np.zeros(numpy_array(embeds).shape[:2], np.int64) if inputs is None else _read_ids("inputs", inputs)
    if mask is not None:
        return Prompts(ids, _read_mask("attention_mask", mask, ids), inputs is None)
    pad = options.pad_token_id
    if inputs is not None and pad is not None and pad not in ids_of(options.eos_token_id) and (ids == pad).any():
        return Prompts(ids, ids != pad)
    return Prompts(ids, np.ones_like(ids), inputs is None)


def _read_ids(name: str, given: Any) -> np.ndarray[Any, Any]:
    ids = numpy_array(given)
    if ids.dtype.kind not in "iu" and ids.size > 0:
        raise _core.InvalidArgument(f"{name}: expected integers, got {ids.dtype}")
    if ids.ndim != 2:
        raise _core.InvalidArgument(f"{name}: expected shape [B, T], got {list(ids.shape)}")
    return ids.astype(np.int64)


def _read_mask(name: str, given: Any, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    mask = numpy_array(given)
    if mask.shape != ids.shape:
        raise _core.InvalidArgument(f"{name}: expected shape {list(ids.shape)}, got {list(mask.shape)}")
    return mask


def _read_negative(ids: Any, mask: Any, prompts: Prompts) -> Prompts | None:
    """The negative prompts: one for all, or one for each; None where none is given."""
    if ids is None:
        return None
    found = numpy_array(ids)
    rows = _read_ids("negative_prompt_ids", found[None] if found.ndim == 1 else found)
    if len(rows) not in (1, len(prompts.rows)):
        raise _core.InvalidArgument(
            f"negative_prompt_ids: expected a row, or one for each of {len(prompts.rows)} prompts, got {len(rows)}"
        )
    shown = np.ones_like(rows) if mask is None else _read_mask(
        "negative_prompt_attention_mask", numpy_array(mask).reshape(rows.shape) if found.ndim == 1 else mask, rows
    )
    return Prompts(rows, shown)


def _repeated(negative: Prompts | None, prompts: Prompts, repeats: int) -> Prompts:
    """The negative prompt of every sequence; without one, the last token of its prompt."""
    if negative is None:
        if not prompts.rows.size:
            raise _core.InvalidArgument("guidance_scale: expected negative_prompt_ids with inputs_embeds, got none")
        rows = np.array([[ids[-1]] for ids in prompts.ids])
        negative = Prompts(rows, np.ones_like(rows))
    each = repeats if len(negative.rows) == len(prompts.rows) else repeats * len(prompts.rows)
    return Prompts(np.repeat(negative.rows, each, axis=0), np.repeat(negative.mask, each, axis=0))


def _set_length(
    options: GenerationConfig, kwargs: dict[str, Any], given: GenerationConfig | None, prompts: Prompts,
    config: PretrainedConfig,
) -> None:
    """max_new_tokens, of the options that count: transformers counts the padded prompt to a max_length."""
    width = prompts.mask.shape[1]
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
    allowed: Callable[[int, Array], list[int]] | None, prompts: Prompts, convert: Callable[[Any], Any],
) -> None:
    """Processors of a request of the engine, which runs each sequence alone: ids [1, T], scores [1, V]."""
    run = Processors(list(processors or []), allowed, 1, convert)
    if processors or allowed:
        engine_config.add_processor(lambda ids, scores: run(ids[None], scores[None])[0])


def _join(rows: np.ndarray[Any, Any], new_ids: list[list[int]], options: GenerationConfig) -> np.ndarray[Any, Any]:
    repeats = len(new_ids) // max(1, len(rows))
    width = max((len(ids) for ids in new_ids), default=0)
    new = np.full((len(new_ids), width), pad_of(options), np.int64)
    for row, ids in zip(new, new_ids):
        row[: len(ids)] = ids
    return np.concatenate([np.repeat(rows, repeats, axis=0), new], axis=1)
