"""Text as it is generated."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from .arrays import numpy_array

if TYPE_CHECKING:
    from .tokenization import PreTrainedTokenizer


class BaseStreamer:
    """What generate gives tokens to."""

    def put(self, value: Any) -> None:
        """The prompt [1, T], then each new token [1]."""
        raise NotImplementedError

    def end(self) -> None:
        """After the last token."""
        raise NotImplementedError


class TextStreamer(BaseStreamer):
    """Prints text as soon as its characters are whole.

    skip_prompt: leaves the prompt out. decode_kwargs: what tokenizer.decode takes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizer, skip_prompt: bool = False, **decode_kwargs: Any) -> None:
        self.tokenizer = tokenizer
        self.skip_prompt = skip_prompt
        self.decode_kwargs = decode_kwargs
        self._ids: list[int] = []
        self._shown = 0
        self._prompt_comes = True

    def put(self, value: Any) -> None:
        """Takes tokens, and gives on_finalized_text what they complete."""
        ids = numpy_array(value)
        if ids.ndim > 1:
            if ids.shape[0] > 1:
                raise ValueError(f"TextStreamer: expected one sequence, got {ids.shape[0]}")
            ids = ids[0]
        prompt, self._prompt_comes = self._prompt_comes, False
        if prompt and self.skip_prompt:
            return
        self._ids.extend(ids.tolist())
        text = self._text()
        if text.endswith("\ufffd"):  # perhaps a character whose other bytes come
            return
        shown, self._shown = self._shown, len(text)
        self.on_finalized_text(text[shown:])
        if text.endswith("\n"):  # a line's text does not change any more
            self._ids = self._ids[-1:]
            self._shown = len(self._text())

    def end(self) -> None:
        """Gives the rest."""
        text, shown = self._text(), self._shown
        self._ids, self._shown, self._prompt_comes = [], 0, True
        self.on_finalized_text(text[shown:], stream_end=True)

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Prints text; a subclass may do something else with it."""
        print(text, flush=True, end="" if not stream_end else None)

    def _text(self) -> str:
        return str(self.tokenizer.decode(self._ids, **self.decode_kwargs)) if self._ids else ""


class TextIteratorStreamer(TextStreamer):
    """Iterates over text that a generate in another thread makes.

    timeout: seconds that the next piece may take; queue.Empty is raised after them. None: any.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizer, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self.text_queue: queue.Queue[str | None] = queue.Queue()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hands text to who iterates."""
        self.text_queue.put(text, timeout=self.timeout)
        if stream_end:
            self.text_queue.put(None, timeout=self.timeout)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        piece = self.text_queue.get(timeout=self.timeout)
        if piece is None:
            raise StopIteration
        return piece


class AsyncTextIteratorStreamer(TextStreamer):
    """TextIteratorStreamer for `async for`; made inside a running event loop."""

    def __init__(
        self, tokenizer: PreTrainedTokenizer, skip_prompt: bool = False, timeout: float | None = None, **decode_kwargs: Any
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_kwargs)
        self.timeout = timeout
        self.text_queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hands text to who iterates."""
        self._loop.call_soon_threadsafe(self.text_queue.put_nowait, text)
        if stream_end:
            self._loop.call_soon_threadsafe(self.text_queue.put_nowait, None)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        piece = await asyncio.wait_for(self.text_queue.get(), self.timeout)
        if piece is None:
            raise StopAsyncIteration
        return piece
