"""What a tokenizer's call returns, and the encoded texts that it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .arrays import as_tensors, numpy_array

if TYPE_CHECKING:
    from .tokenization import PreTrainedTokenizer


class CharSpan(NamedTuple):
    """Characters from and to."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens from and to."""

    start: int
    end: int


class BatchEncoding(dict[str, Any]):
    """What a tokenizer returns: input_ids, attention_mask and so on, as keys and attributes.

    One text gives lists, several give lists of lists; with return_tensors arrays. `encoding[0]` is
    the first text's EncodedText. Where a method takes (batch, index), one argument alone is an
    index in the first text.
    """

    def __init__(
        self, data: dict[str, Any] | None = None, encodings: Any = None, tensor_type: str | None = None,
        prepend_batch_axis: bool = False, n_sequences: int | None = None,
    ) -> None:
        super().__init__(data or {})
        self._encodings: list[EncodedText] = encodings if isinstance(encodings, list) else [] if encodings is None else [encodings]
        if n_sequences is None and self._encodings:
            n_sequences = self._encodings[0].n_sequences
        self._n_sequences = n_sequences
        self.convert_to_tensors(tensor_type, prepend_batch_axis)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return super().__getitem__(item)
        if self._encodings:
            return self._encodings[item]
        if isinstance(item, slice):
            return {name: value[item] for name, value in self.items()}
        raise KeyError("BatchEncoding: expected a name, got a number of a text that no tokenizer encoded")

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return super().__getitem__(name)
        raise AttributeError(f"BatchEncoding has no field {name!r}")

    @property
    def data(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return dict(self)

    @property
    def encodings(self) -> list[EncodedText] | None:
        """Each text's tokens; None where no tokenizer encoded it."""
        return self._encodings or None

    @property
    def n_sequences(self) -> int | None:
        """2 for pairs, else 1; None where no tokenizer encoded it."""
        return self._n_sequences

    def to(self, device: Any = None, **kwargs: Any) -> BatchEncoding:
        """Itself, its torch tensors on `device`."""
        for name, value in self.items():
            move = getattr(value, "to", None)
            if move is not None and device not in (None, "cpu"):
                self[name] = move(device, **kwargs)
        return self

    def convert_to_tensors(self, tensor_type: str | None = None, prepend_batch_axis: bool = False) -> BatchEncoding:
        """Itself, its fields as arrays: "np", "pt", "jax", or None for what they are.

        Raises ValueError for rows of several lengths.
        """
        if tensor_type is None:
            return self
        for name, value in self.items():
            value = [value] if prepend_batch_axis else value
            try:
                self[name] = as_tensors(value if hasattr(value, "dtype") else np.asarray(value), tensor_type)
            except ValueError as error:
                if "return_tensors" in str(error):
                    raise
                raise ValueError(
                    f"{name}: expected rows of one length, got several; use padding=True and truncation=True"
                ) from None
        return self

    @property
    def is_fast(self) -> bool:
        """True: it knows where tokens come from."""
        return True

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return self._encodings[batch_index].tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word that each token is of; None for special tokens."""
        return self._encodings[batch_index].words

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 or 1, the text of a pair that each token is of; None for special tokens."""
        return self._encodings[batch_index].sequences

    def _place(self, first: int, second: int | None) -> tuple[EncodedText, int]:
        batch, index = (0, first) if second is None else (first, second)
        encoded = self._encodings[batch]
        return encoded, index

    def _token(self, first: int, second: int | None) -> tuple[EncodedText, int]:
        encoded, token = self._place(first, second)
        return encoded, token + len(encoded.ids) if token < 0 else token

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1, the text of a pair that a token is of; None for a special one."""
        encoded, token = self._token(batch_or_token_index, token_index)
        return encoded.sequences[token]

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word that a token is of; None for a special one."""
        encoded, token = self._token(batch_or_token_index, token_index)
        return encoded.words[token]

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters of a token, from and to; None for a special one."""
        encoded, token = self._token(batch_or_token_index, token_index)
        return None if encoded.sequence_ids[token] < 0 else CharSpan(*encoded.offsets[token])

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word, from and to; None where it has none."""
        encoded, word = self._place(batch_or_word_index, word_index)
        found = encoded.tokens_of_word(word + max((w or 0 for w in encoded.words), default=0) + 1 if word < 0 else word,
                                       sequence_index)
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word, from and to; None where it has no token."""
        encoded, word = self._place(batch_or_word_index, word_index)
        found = encoded.tokens_of_word(word, sequence_index)
        return CharSpan(encoded.offsets[found[0]][0], encoded.offsets[found[-1]][1]) if found else None

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that a character is in; None for none."""
        encoded, char = self._place(batch_or_char_index, char_index)
        for i, (begin, end) in enumerate(encoded.offsets):
            if encoded.sequence_ids[i] == sequence_index and begin <= char < end:
                return i
        return None

    def char_to_word(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The word that a character is in; None for none."""
        token = self.char_to_token(batch_or_char_index, char_index, sequence_index)
        return None if token is None else self._place(batch_or_char_index, char_index)[0].words[token]


class EncodedText:
    """A text's tokens: each list has an entry for each, and overflowing the pieces that were cut off."""

    lists = ("ids", "offsets", "type_ids", "word_ids", "sequence_ids", "special")

    def __init__(self, tokenizer: PreTrainedTokenizer, values: tuple[list[Any], ...]) -> None:
        self.tokenizer = tokenizer
        self.attention_mask = [1] * len(values[0])
        self.overflowing: list[EncodedText] = []
        self.ids: list[int]
        self.offsets: list[tuple[int, int]]
        self.type_ids: list[int]
        self.word_ids: list[int]
        self.sequence_ids: list[int]
        self.special: list[int]
        (self.ids, self.offsets, self.type_ids, self.word_ids, self.sequence_ids, self.special) = values

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return list(self.tokenizer.convert_ids_to_tokens(self.ids))

    @property
    def words(self) -> list[int | None]:
        """The word that each token is of; None for special tokens."""
        return [None if each < 0 else each for each in self.word_ids]

    @property
    def sequences(self) -> list[int | None]:
        """0 or 1, the text of a pair that each token is of; None for special tokens."""
        return [None if each < 0 else each for each in self.sequence_ids]

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for tokens that are of no text."""
        return self.special

    @property
    def n_sequences(self) -> int:
        """2 for a pair, else 1."""
        return 2 if 1 in self.sequence_ids else 1

    def tokens_of_word(self, word: int, sequence: int) -> list[int]:
        """Places of a word's tokens."""
        places = zip(self.word_ids, self.sequence_ids)
        return [i for i, (own, of) in enumerate(places) if own == word and of == sequence]

    def taken(self, kept: list[int]) -> EncodedText:
        """The tokens at those places."""
        return EncodedText(self.tokenizer, tuple([getattr(self, name)[i] for i in kept] for name in self.lists))

    def pad(self, count: int, side: str, token: int, type_id: int) -> None:
        """Adds `count` tokens of padding on a side."""
        if count <= 0:
            return
        values: dict[str, Any] = {
            "ids": token, "offsets": (0, 0), "type_ids": type_id, "word_ids": -1, "sequence_ids": -1, "special": 1,
            "attention_mask": 0,
        }
        for name, value in values.items():
            own = getattr(self, name)
            setattr(self, name, [value] * count + own if side == "left" else own + [value] * count)


def plain_rows(values: Any) -> Any:
    """Lists of what may be arrays, or lists of arrays."""
    if isinstance(values, (list, tuple)):
        return [plain_rows(each) if hasattr(each, "__len__") and not isinstance(each, str) else each for each in values]
    return numpy_array(values).tolist() if hasattr(values, "shape") else values


def shorten_longest(counts: list[int], excess: int) -> list[int]:
    """How many tokens of each text stay when the longer one loses tokens first, as the tokenizers
    library shares them out."""
    first, second = counts
    if second == 0:
        return [first - excess, 0]
    total = first + second - excess
    shorter, longer = sorted(counts)
    if shorter > total:
        longer = shorter
    else:
        longer = max(shorter, total - shorter)
    if shorter + longer > total:
        shorter = total // 2
        longer = shorter + total % 2
    return [shorter, longer] if first <= second else [longer, shorter]


def pieces_of(places: list[int], width: int, stride: int, left: bool) -> list[list[int]]:
    """Places cut to pieces of `width` that share `stride`, from the side that is kept."""
    if width >= len(places):
        return [places]
    if width <= 0:
        return [[], places]
    pieces, step = [], width - stride
    begin, end = (len(places) - width, len(places)) if left else (0, width)
    while True:
        pieces.append(places[max(0, begin) : max(0, end)])
        if (begin <= 0) if left else (end >= len(places)):
            return pieces
        begin, end = (begin - step, end - step) if left else (begin + step, end + step)
