"""Requests that come and go, within one budget of memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from .arrays import numpy_array, unchanged
from .generation import _add_processors, _constrain, _Prompts, next_seed
from .generation_config import GenerationConfig, merged_options

if TYPE_CHECKING:
    from .modeling import ForCausalLM
    from .tokenization import PreTrainedTokenizer


@dataclass(frozen=True)
class NewToken:
    """A token that a request was continued with.

    text: what it completes, whole characters; may be empty. logprob: log softmax of the model's own
    logits, and top_logprobs the likeliest (id, logprob), where they were asked for. logits [V].
    """

    request: int
    sequence: int
    id: int
    text: str
    logprob: float | None = None
    top_logprobs: list[tuple[int, float]] = field(default_factory=list)
    logits: Any = None


@dataclass(frozen=True)
class PromptResult:
    """What was asked of a prompt: logprobs, (logprob, top) of tokens 1, 2, ...; hidden_states
    float32 [T, C] or [1, C]; cached_tokens that the prefix cache held."""

    request: int
    cached_tokens: int
    logprobs: list[tuple[float, list[tuple[int, float]]]]
    hidden_states: Any


@dataclass(frozen=True)
class Ending:
    """A sequence that has ended. reason: "eos", "length", "stop_string" or "cancelled"."""

    request: int
    sequence: int
    reason: str
    score: float


@dataclass(frozen=True)
class Refusal:
    """A request that could not go on."""

    request: int
    message: str


@dataclass(frozen=True)
class StepEvents:
    """What happened in a step."""

    prompts: list[PromptResult]
    tokens: list[NewToken]
    endings: list[Ending]
    refusals: list[Refusal]


class Engine:
    """Runs many requests at once; each gets the tokens that it would get alone.

    model: with a language model's head (or, for prompt_only requests, any). tokenizer: for text and
    stop_strings. memory_bytes: of keys and values of all. max_step_tokens: bounds how long a
    running sequence waits. max_sequences: that run at once. prefix_cache: keeps what prompts have
    in common. assistant_model: guesses tokens ahead.

    One thread steps at a time: others wait. add and cancel may be called by any. `generate` steps
    in a thread of its own; step() is refused while requests of generate are there. An engine is of the
    model as it is: once its parameters or vocab_size have changed a step is refused.
    """

    def __init__(
        self,
        model: ForCausalLM,
        tokenizer: PreTrainedTokenizer | None = None,
        *,
        memory_bytes: int = 1 << 30,
        max_step_tokens: int = 512,
        max_sequences: int = 64,
        prefix_cache: bool = True,
        assistant_model: Any = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._core = _core.Engine(
            model.engine, None if tokenizer is None else tokenizer.engine, memory_bytes, max_step_tokens, max_sequences,
            prefix_cache, None if assistant_model is None else assistant_model.engine,
        )
        self._models = [each for each in (model, assistant_model) if each is not None]
        self._changes = [each._parameters.changes for each in self._models]
        self._lock = threading.Lock()
        self._listeners: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[Any]]] = {}
        self._stepper: threading.Thread | None = None
        self._step_waits = False

    def add(
        self,
        prompt: Any,
        *,
        generation_config: GenerationConfig | None = None,
        priority: int = 0,
        prompt_only: bool = False,
        logprobs: int | None = None,
        prompt_logprobs: int | None = None,
        hidden_states: str = "none",
        logits: bool = False,
        logits_processor: list[Any] | None = None,
        **options: Any,
    ) -> int:
        """Takes a request in; the next step sees it. Returns its number.

        prompt: a text, or ids [T] or [1, T], or what a tokenizer made of one. generation_config and
        options: as generate's, over the model's; without a seed each request draws its own. priority: the larger goes first. prompt_only: only runs the prompt. logprobs,
        prompt_logprobs: of each token, with so many of the likeliest. hidden_states: "none", "last"
        or "all", of the prompt. logits: of each new token.
        Raises ConfigError and InvalidArgument, also where it could never fit the memory.
        """
        config = merged_options("add", getattr(self.model, "generation_config", None), generation_config, options)
        ids = self._ids(prompt)
        if config.seed is None and config.do_sample:
            config.seed = next_seed()
        engine_config = config._engine_config()
        _constrain(engine_config, config, self.tokenizer)
        prompts = _Prompts(np.array([ids]), np.ones((1, len(ids))))
        _add_processors(engine_config, logits_processor, None, prompts, unchanged)
        return self._core.add(ids, engine_config, priority, prompt_only, logprobs, prompt_logprobs, hidden_states, logits)

    def _ids(self, prompt: Any) -> list[int]:
        if not isinstance(prompt, str):
            prompt = prompt["input_ids"] if isinstance(prompt, Mapping) and "input_ids" in prompt else prompt
            ids = numpy_array(prompt)
            if ids.size > 0 and ids.dtype.kind not in "iu":
                raise _core.InvalidArgument(f"prompt: expected a text or integers, got {ids.dtype}")
            if ids.ndim not in (1, 2) or (ids.ndim == 2 and len(ids) != 1):
                raise _core.InvalidArgument(f"prompt: expected a text, or ids [T] or [1, T], got {list(ids.shape)}")
            return [int(i) for i in ids.reshape(-1)]
        if self.tokenizer is None:
            raise _core.InvalidArgument("prompt: expected ids, for there is no tokenizer, got a text")
        return list(self.tokenizer(prompt)["input_ids"])

    def cancel(self, request: int) -> None:
        """Ends a request within the step that runs or comes next; nothing where it has ended."""
        self._core.cancel(request)

    def has_work(self) -> bool:
        """Whether a request waits or runs."""
        return self._core.has_work()

    def counters(self) -> dict[str, int]:
        """State after the last step (docs/engine.md has the names)."""
        return self._core.counters()

    def step(self) -> StepEvents:
        """Runs at most max_step_tokens tokens, and tells what happened."""
        with self._lock:
            stepper = self._stepper if self._stepper is not threading.current_thread() else None
            if stepper is not None and self._listeners:
                raise _core.InvalidArgument("step: expected no generate that steps in a thread of its own")
            self._step_waits = stepper is not None
        if stepper is not None:  # it has no more to tell, and ends
            stepper.join()
            self._step_waits = False
        return self._step()

    def _step(self) -> StepEvents:
        for model in self._models:
            model._parameters.push()
        if self._changes != [each._parameters.changes for each in self._models]:
            raise _core.InvalidArgument(
                "step: expected the model that the engine was made with, got changed parameters; make an engine anew"
            )
        events = self._core.step()
        return StepEvents(
            [PromptResult(*each) for each in events["prompts"]],
            [
                NewToken(request, sequence, token, text, (probs or (None, []))[0], (probs or (None, []))[1], logits)
                for request, sequence, token, text, probs, logits in events["tokens"]
            ],
            [Ending(*each) for each in events["endings"]],
            [Refusal(*each) for each in events["refusals"]],
        )

    async def generate(self, prompt: Any, **kwargs: Any) -> AsyncIterator[NewToken]:
        """`async for token in engine.generate(...)`: tokens as they come; arguments are add's.

        Leaving the loop cancels the request. Raises Error where it cannot go on.
        """
        events: asyncio.Queue[Any] = asyncio.Queue()
        with self._lock:
            request = self.add(prompt, **kwargs)
            self._listeners[request] = (asyncio.get_running_loop(), events)
            if self._stepper is None:
                self._stepper = threading.Thread(target=self._run, name="diffllama-engine")
                self._stepper.start()
        config = kwargs.get("generation_config") or GenerationConfig()
        left = int(kwargs.get("num_return_sequences") or config.num_return_sequences or 1)
        try:
            while left > 0:
                event = await events.get()
                if isinstance(event, NewToken):
                    yield event
                elif isinstance(event, Ending):
                    left -= 1
                else:
                    raise event if isinstance(event, BaseException) else _core.Error(event.message)
        finally:
            with self._lock:
                self._listeners.pop(request, None)
            self.cancel(request)

    def _run(self) -> None:
        # No daemon: one that computes while the interpreter goes down ends the process. Who waits for it then waits for
        # one step.
        while threading.main_thread().is_alive():
            with self._lock:
                if not self._listeners and (self._step_waits or not self._core.has_work()):
                    self._stepper = None
                    return
            try:
                events = self._step()
            except Exception as error:  # for want of memory: told to all who wait
                with self._lock:
                    for loop, queue in self._listeners.values():
                        loop.call_soon_threadsafe(queue.put_nowait, error)
                    self._stepper = None
                return
            with self._lock:
                told: list[NewToken | Ending | Refusal] = [*events.tokens, *events.endings, *events.refusals]
                for event in told:
                    if event.request in self._listeners:
                        loop, queue = self._listeners[event.request]
                        if not loop.is_closed():
                            loop.call_soon_threadsafe(queue.put_nowait, event)
