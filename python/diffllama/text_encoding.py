"""Texts to ids as transformers' tokenizers are called: pairs, words, truncation and padding."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import _core
from .arrays import as_tensors
from .batch_encoding import BatchEncoding, EncodedText, pieces_of, plain_rows, shorten_longest

_NO_LIMIT = 10**20  # transformers' LARGE_INTEGER: a larger model_max_length stands for none


class EncodingMixin:
    """Calling a tokenizer, encode and pad."""

    engine: _core.Tokenizer
    padding_side: str
    truncation_side: str
    model_max_length: int
    model_input_names: list[str]
    pad_token_type_id: int
    pad_token_id: int | None
    split_special_tokens: bool

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        split_special_tokens: bool | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encodes a text, or a list of them.

        text, text_pair: str or list[str]; with is_split_into_words a list of words, or a list of
        such lists. text_target: becomes `labels`. add_special_tokens: BOS, EOS and what else the
        tokenizer adds. padding: True or "longest", "max_length", False; padding_side "left" or
        "right" (the tokenizer's); pad_to_multiple_of. truncation: True or "longest_first",
        "only_first", "only_second", False, to max_length (model_max_length) tokens; max_length alone
        truncates too. stride: tokens that overflowing pieces share; of a pair of which both texts
        are cut there is a piece for each two of theirs. return_tensors: "np", "pt", "jax", or None
        for lists. return_offsets_mapping: characters [begin, end) of each token.
        split_special_tokens: special tokens that are written in a text are ordinary text (None: as the
        tokenizer's attribute says). Returns BatchEncoding. Raises ValueError for options that do not fit.
        """
        if text is None and text_target is not None:
            text, text_target = text_target, None
        texts, pairs, batched = _texts(text, text_pair, is_split_into_words)
        strategy, limit = self._truncation(truncation, max_length, padding)
        if strategy is not None and padding not in (False, "do_not_pad") and pad_to_multiple_of and limit % pad_to_multiple_of:
            raise ValueError(f"max_length: expected a multiple of pad_to_multiple_of {pad_to_multiple_of}, got {limit}")
        room = limit - self.num_special_tokens_to_add() if strategy is not None and stride else stride
        if 0 <= room < stride:
            raise ValueError(f"stride: expected at most the {room} tokens of text that max_length leaves, got {stride}")
        pieces: list[EncodedText] = []
        sources: list[int] = []
        for number, (first, second) in enumerate(zip(texts, pairs)):
            encoded = self._encode(first, second, add_special_tokens, split_special_tokens)
            cut = [encoded] if strategy is None else self._truncate(encoded, strategy, limit, stride)
            cut[0].overflowing = cut[1:]
            kept = cut if return_overflowing_tokens else cut[:1]
            pieces += kept
            sources += [number] * len(kept)
        self._pad(pieces, padding, max_length, pad_to_multiple_of, padding_side)
        data: dict[str, Any] = {"input_ids": [each.ids for each in pieces]}
        wants_types = "token_type_ids" in self.model_input_names if return_token_type_ids is None else return_token_type_ids
        wants_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if wants_types:
            data["token_type_ids"] = [each.type_ids for each in pieces]
        if wants_mask:
            data["attention_mask"] = [each.attention_mask for each in pieces]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [each.special for each in pieces]
        if return_offsets_mapping:
            data["offset_mapping"] = [each.offsets for each in pieces]
        if return_length:
            data["length"] = [len(each.ids) for each in pieces]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = sources
        if not batched and return_tensors is None and not return_overflowing_tokens:
            data = {name: values if name == "length" else values[0] for name, values in data.items()}
        elif return_tensors is not None:
            _check_lengths(pieces)
            data = {name: _as_tensors(values, return_tensors) for name, values in data.items()}
        if text_target is not None:
            target = self(
                text_target, text_pair_target, None, None, add_special_tokens, padding, truncation, max_length,
                return_tensors=return_tensors, split_special_tokens=split_special_tokens,
            )
            data["labels"] = target["input_ids"]
        return BatchEncoding(data, pieces)

    def encode(
        self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, padding: bool | str = False,
        truncation: bool | str | None = None, max_length: int | None = None, stride: int = 0,
        padding_side: str | None = None, return_tensors: str | None = None, **kwargs: Any,
    ) -> Any:
        """The ids of a text alone; arguments as calling it has them."""
        encoded = self(
            text, text_pair, None, None, add_special_tokens, padding, truncation, max_length, stride,
            padding_side=padding_side, return_tensors=return_tensors, **kwargs,
        )
        return encoded["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        """Calling it, by its old name."""
        return self(text, text_pair, **kwargs)

    batch_encode_plus = encode_plus

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens an empty text, or pair of texts, gets."""
        return len(self.engine.encode("", "" if pair else None, True)[0])

    def _encode(self, text: Any, pair: Any, add_special_tokens: bool, split_special_tokens: bool | None = None) -> EncodedText:
        tokenizer: Any = self
        splits = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        try:
            if isinstance(text, list):
                return self._encode_words(text, pair, add_special_tokens, splits)
            if splits:
                return self._encode_parts([text], None if pair is None else [pair], add_special_tokens, self._untrusted)
            return EncodedText(tokenizer, self.engine.encode(text, pair, add_special_tokens))
        except (TypeError, UnicodeError):
            for each in (*text, *(pair or ())) if isinstance(text, list) else (text, pair):
                _check_text(each)
            raise

    def _untrusted(self, text: str) -> list[list[Any]]:
        return list(self.engine.encode_untrusted(text))

    def _encode_words(self, words: list[str], pair: list[str] | None, add_special_tokens: bool, splits: bool) -> EncodedText:
        """Words that were cut before, each alone."""
        def encode(word: str) -> list[list[Any]]:
            return self._untrusted(word) if splits else list(self.engine.encode(word, None, False))

        return self._encode_parts(words, pair, add_special_tokens, encode, number_words=True)

    def _encode_parts(
        self, parts: list[str], pair: list[str] | None, add_special_tokens: bool, encode: Callable[[str], list[list[Any]]],
        number_words: bool = False,
    ) -> EncodedText:
        """Parts that `encode` turns into tokens, where a text, or its pair, would stand among the special tokens.

        number_words: each is a word.
        """
        around: Any = self.engine.encode("a", None if pair is None else "a", add_special_tokens)
        joined: list[list[Any]] = [[], [], [], [], [], []]
        sequences = around[4]
        for i, sequence in enumerate(sequences):
            if sequence < 0:
                for values, own in zip(joined, around):
                    values.append(own[i])
            elif i == 0 or sequences[i - 1] != sequence:
                for number, part in enumerate(parts if sequence == 0 else pair or []):
                    one = encode(part)
                    count = len(one[0])
                    one[2], one[4] = [around[2][i]] * count, [sequence] * count
                    if number_words:
                        one[3] = [number] * count
                    for values, own in zip(joined, one):
                        values.extend(own)
        tokenizer: Any = self
        return EncodedText(tokenizer, tuple(joined))

    # Truncation and padding

    def _truncation(
        self, truncation: bool | str | None, max_length: int | None, padding: bool | str = False
    ) -> tuple[str | None, int]:
        if truncation is None and max_length is not None and padding is False:
            truncation = True  # as transformers: a max_length alone truncates
        if truncation is None or truncation is False or truncation == "do_not_truncate":
            if max_length is not None and padding is True:
                warnings.warn('max_length: ignored with padding=True and no truncation; use padding="max_length"', stacklevel=4)
            return None, 0
        strategy = "longest_first" if truncation is True else str(truncation)
        if strategy not in ("longest_first", "only_first", "only_second"):
            raise ValueError(f"truncation: expected longest_first, only_first or only_second, got {truncation!r}")
        limit = self.model_max_length if max_length is None else max_length
        return (None, 0) if limit > _NO_LIMIT else (strategy, limit)

    def _truncate(self, encoded: EncodedText, strategy: str, limit: int, stride: int) -> list[EncodedText]:
        """The text cut to `limit` tokens, special ones kept, then the pieces that were left over."""
        excess = len(encoded.ids) - limit
        places = [[i for i, each in enumerate(encoded.sequence_ids) if each == number] for number in (0, 1)]
        special = [i for i, each in enumerate(encoded.sequence_ids) if each < 0]
        if excess <= 0 or limit < len(special):  # as the tokenizers library: without room for these, nothing is cut
            return [encoded]
        counts = [len(each) for each in places]
        if strategy == "longest_first":
            kept = shorten_longest(counts, excess)
        else:
            number = 0 if strategy == "only_first" else 1
            kept = [count - (excess if i == number else 0) for i, count in enumerate(counts)]
            if limit == len(special):  # no room for either: the strategy says nothing
                kept = [0, 0]
            elif kept[number] <= 0:
                raise ValueError(f"max_length: expected room for a token of the text that is cut, got {limit}")
        for count, width in zip(counts, kept):
            if width < count and stride >= max(1, width):
                raise ValueError(f"stride: expected less than the {width} tokens of text in a piece, got {stride}")
        left = self.truncation_side == "left"
        first, second = (pieces_of(own, width, stride, left) for own, width in zip(places, kept))
        # The order is that of the tokenizers library: the first text's own piece comes last with the second's others.
        chosen = [(first[0], second[0]), *((a, b) for a in first[1:] for b in second), *((first[0], b) for b in second[1:])]
        return [encoded.taken(sorted(special + a + b)) for a, b in chosen]

    def _padded_length(self, padding: bool | str, max_length: int | None, longest: int, multiple: int | None) -> int | None:
        """What texts are padded to; None where they are not."""
        if padding is False or padding == "do_not_pad":
            return None
        if padding not in (True, "longest", "max_length"):
            raise ValueError(f"padding: expected longest, max_length or do_not_pad, got {padding!r}")
        width = longest
        if padding == "max_length":
            width = self.model_max_length if max_length is None else max_length
            if width > _NO_LIMIT:  # as transformers: there is no length to pad to
                return None
        if self.pad_token_id is None:
            raise ValueError("padding: expected a pad_token, got none; set tokenizer.pad_token")
        return -(-width // multiple) * multiple if multiple else width

    def _pad(
        self, pieces: list[EncodedText], padding: bool | str, max_length: int | None, multiple: int | None, side: str | None
    ) -> None:
        longest = max((len(each.ids) for each in pieces), default=0)
        width = self._padded_length(padding, max_length, longest, multiple)
        if width is None or self.pad_token_id is None:
            return
        for each in pieces:
            each.pad(width - len(each.ids), side or self.padding_side, self.pad_token_id, self.pad_token_type_id)

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads what was encoded before: a BatchEncoding, or a list of them.

        input_ids, attention_mask, token_type_ids and special_tokens_mask are padded; other fields,
        such as labels, stay what they are. One text without a list around stays one. Raises
        ValueError where input_ids are absent.
        """
        if isinstance(encoded_inputs, (list, tuple)) and encoded_inputs and isinstance(encoded_inputs[0], Mapping):
            encoded_inputs = {name: [each[name] for each in encoded_inputs] for name in encoded_inputs[0].keys()}
        name = self.model_input_names[0]
        if name not in encoded_inputs:
            raise ValueError(f"pad: expected encoded texts with {name}, got {', '.join(encoded_inputs.keys()) or 'none'}")
        if return_tensors is None:
            return_tensors = _kind_of(encoded_inputs[name])
        data = {key: plain_rows(value) for key, value in encoded_inputs.items()}
        one = len(data[name]) > 0 and not isinstance(data[name][0], list)
        data = {key: [value] for key, value in data.items()} if one else data
        rows = data[name]
        wants_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if wants_mask and "attention_mask" not in data:
            data["attention_mask"] = [[1] * len(row) for row in rows]
        width = self._padded_length(padding, max_length, max(map(len, rows), default=0), pad_to_multiple_of)
        if width is not None:
            fills = {name: self.pad_token_id, "attention_mask": 0, "token_type_ids": self.pad_token_type_id,
                     "special_tokens_mask": 1}
            side = padding_side or self.padding_side
            for key in fills.keys() & data.keys():
                lacking = [[fills[key]] * (width - len(row)) for row in data[key]]
                data[key] = [more + row if side == "left" else row + more for row, more in zip(data[key], lacking)]
        if one:
            data = {key: value[0] for key, value in data.items()}
        encodings = getattr(encoded_inputs, "encodings", None) if width is None else None
        return BatchEncoding(data, encodings, return_tensors)


def _kind_of(values: Any) -> str | None:
    """The return_tensors that gives what `values`, or the first of them, are."""
    first = values[0] if isinstance(values, (list, tuple)) and len(values) > 0 else values
    kind = type(first).__module__.split(".")[0]
    return {"numpy": "np", "torch": "pt", "jax": "jax", "jaxlib": "jax"}.get(kind)


def _check_text(text: Any) -> None:
    """Raises InvalidArgument for what is no text of Unicode."""
    if text is None:
        return
    if not isinstance(text, str):
        raise _core.InvalidArgument(f"text: expected str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise _core.InvalidArgument(
            f"text: expected characters, got half a surrogate pair, U+{code:04X}, at {error.start}"
        ) from None


def _texts(text: Any, pair: Any, is_split: bool) -> tuple[list[Any], list[Any], bool]:
    """Lists of texts and of their pairs, and whether they were lists."""
    def check(value: Any) -> None:
        if not isinstance(value, (str, list)) or (isinstance(value, list) and not is_split):
            raise ValueError(f"text: expected str or a list of them, got {type(value).__name__}")

    def words(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    batched = isinstance(text, (list, tuple)) and (not is_split or (len(text) > 0 and isinstance(text[0], (list, tuple))))
    if not batched:
        check(words(text))
        return [words(text)], [words(pair) or None], False  # as transformers: an empty pair is none
    if isinstance(pair, str):
        raise ValueError("text_pair: expected a list as text is one, got str")
    if pair is None and len(text) > 0 and isinstance(text[0], (tuple, list)) and not is_split:
        texts, pairs = [each[0] for each in text], [each[1] for each in text]  # pairs in one list
    else:
        texts, pairs = [words(each) for each in text], [None] * len(text) if pair is None else [words(each) for each in pair]
    if len(texts) != len(pairs):
        raise ValueError(f"text_pair: expected {len(texts)} texts, got {len(pairs)}")
    for value in texts:
        check(value)
    return texts, pairs, True


def _as_tensors(values: Any, kind: str) -> Any:
    """as_tensors, of int64 where there is no token too."""
    array = np.asarray(values)
    return as_tensors(array.astype(np.int64) if array.size == 0 else array, kind)


def _check_lengths(pieces: list[EncodedText]) -> None:
    if len({len(each.ids) for each in pieces}) > 1:
        raise ValueError("return_tensors: expected texts of one length, got several; use padding=True and truncation=True")
