"""What a tokenizer's call returns, and the encoded texts that it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tokenization import PreTrainedTokenizer


class BatchEncoding(dict[str, Any]):
    """What a tokenizer returns: input_ids, attention_mask and so on, as keys and attributes.

    One text gives lists, several give lists of lists; with return_tensors arrays.
    """

    def __init__(self, data: dict[str, Any], encodings: list[EncodedText] | None = None) -> None:
        super().__init__(data)
        self._encodings = encodings or []

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"BatchEncoding has no field {name!r}") from None

    def to(self, device: Any = None, **kwargs: Any) -> BatchEncoding:
        """Itself, its torch tensors on `device`."""
        for name, value in self.items():
            move = getattr(value, "to", None)
            if move is not None and device not in (None, "cpu"):
                self[name] = move(device, **kwargs)
        return self

    @property
    def is_fast(self) -> bool:
        """True: it knows where tokens come from."""
        return True

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens as the vocabulary writes them."""
        return self._encodings[batch_index].tokens()

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The word that each token is of; None for special tokens."""
        return [None if each < 0 else each for each in self._encodings[batch_index].word_ids]

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 or 1, the text of a pair that each token is of; None for special tokens."""
        return [None if each < 0 else each for each in self._encodings[batch_index].sequence_ids]

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that a character is in; None for none."""
        batch, char = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        encoded = self._encodings[batch]
        for i, (begin, end) in enumerate(encoded.offsets):
            if encoded.sequence_ids[i] == sequence_index and begin <= char < end:
                return i
        return None

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> tuple[int, int] | None:
        """The characters of a token, from and to; None for a special one."""
        batch, token = (0, batch_or_token_index) if token_index is None else (batch_or_token_index, token_index)
        encoded = self._encodings[batch]
        return None if encoded.sequence_ids[token] < 0 else encoded.offsets[token]


class EncodedText:
    """A text's tokens: each list has an entry for each."""

    lists = ("ids", "offsets", "type_ids", "word_ids", "sequence_ids", "special")

    def __init__(self, tokenizer: PreTrainedTokenizer, values: tuple[list[Any], ...]) -> None:
        self.tokenizer = tokenizer
        self.mask = [1] * len(values[0])
        self.ids: list[int]
        self.offsets: list[tuple[int, int]]
        self.type_ids: list[int]
        self.word_ids: list[int]
        self.sequence_ids: list[int]
        self.special: list[int]
        (self.ids, self.offsets, self.type_ids, self.word_ids, self.sequence_ids, self.special) = values

    def tokens(self) -> list[str]:
        return self.tokenizer.convert_ids_to_tokens(self.ids)  # type: ignore[return-value]

    def taken(self, kept: list[int]) -> EncodedText:
        """The tokens at those places."""
        return EncodedText(self.tokenizer, tuple([getattr(self, name)[i] for i in kept] for name in self.lists))

    def pad(self, count: int, side: str, token: int, type_id: int) -> None:
        if count <= 0:
            return
        values: dict[str, Any] = {
            "ids": token, "offsets": (0, 0), "type_ids": type_id, "word_ids": -1, "sequence_ids": -1, "special": 1,
            "mask": 0,
        }
        for name, value in values.items():
            own = getattr(self, name)
            setattr(self, name, [value] * count + own if side == "left" else own + [value] * count)


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


def remaining(encoded: EncodedText, places: list[list[int]], kept: list[int], left: bool) -> list[int]:
    stay = {i for i, each in enumerate(encoded.sequence_ids) if each < 0}
    for own, count in zip(places, kept):
        stay.update(own[len(own) - count :] if left else own[:count])
    return sorted(stay)
