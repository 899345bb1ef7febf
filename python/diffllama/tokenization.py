"""Text to token ids and back, called as transformers' tokenizers are."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, hub
from .arrays import as_tensors, numpy_array
from .batch_encoding import BatchEncoding, EncodedText, remaining, shorten_longest

# What makes a tokenizer; save_pretrained and pickling take those that are there.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "config.json",
)
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class PreTrainedTokenizer:
    """A tokenizer of the engine, called as transformers' PreTrainedTokenizerFast is.

    padding_side, truncation_side, model_max_length, bos_token, eos_token, pad_token and the others
    come from tokenizer_config.json, and may be set. Safe from any number of threads.
    """

    def __init__(self, path: Path, **kwargs: Any) -> None:
        self.name_or_path = str(path)
        self._open(path)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def _open(self, path: Path) -> None:
        self.engine = _core.Tokenizer(path)
        self._directory = path if path.is_dir() else (path.parent if path.suffix == ".json" else None)
        settings = _read_json(self._directory, "tokenizer_config.json")
        tokens = {**_read_json(self._directory, "special_tokens_map.json"), **settings}
        for name in _SPECIAL:
            value = tokens.get(name)
            setattr(self, name, value.get("content") if isinstance(value, dict) else value)
        if self._directory is None:
            self.bos_token = self._token(self.engine.bos_token_id)
            self.eos_token = self._token(self.engine.eos_token_id)
        self.padding_side: str = settings.get("padding_side", "right")
        self.truncation_side: str = settings.get("truncation_side", "right")
        self.model_max_length: int = int(settings.get("model_max_length", 1e30))
        self.model_input_names: list[str] = settings.get("model_input_names", ["input_ids", "attention_mask"])
        self.clean_up_tokenization_spaces: bool = bool(settings.get("clean_up_tokenization_spaces", False))
        self.pad_token_type_id = 0
        self._templates: dict[str | None, _core.ChatTemplate | None] = {}
        self._template_path = path

    # Files

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *init_inputs: Any,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str = "main",
        subfolder: str = "",
        gguf_file: str | None = None,
        **kwargs: Any,
    ) -> PreTrainedTokenizer:
        """Of a directory, a tokenizer.json, a .gguf file or a snapshot (diffllama.hub.find_model).

        kwargs: attributes such as padding_side and pad_token. Raises IoError, FormatError.
        """
        path = hub.find_model(
            pretrained_model_name_or_path, revision=revision, cache_dir=cache_dir, subfolder=subfolder, gguf_file=gguf_file
        )
        for name in ("force_download", "local_files_only", "token", "trust_remote_code", "use_fast", "config", "dtype"):
            kwargs.pop(name, None)
        return cls(path, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> tuple[str, ...]:
        """Writes its files into a directory, which is made where it is not there. Returns them."""
        if self._directory is None:
            raise _core.InvalidArgument("save_pretrained: expected a tokenizer of a directory, got one of a .gguf file")
        target = Path(save_directory)
        target.mkdir(parents=True, exist_ok=True)
        written = []
        for name in TOKENIZER_FILES:
            source = self._directory / name
            if name == "config.json" or not source.is_file():
                continue
            if not (target / name).exists() or not source.samefile(target / name):
                shutil.copyfile(source, target / name)
            written.append(str(target / name))
        return tuple(written)

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("engine", "_templates", "_directory", "_template_path")}
        if self._directory is not None:
            files = {n: self._directory / n for n in TOKENIZER_FILES}
            state["_files"] = {n: p.read_bytes() for n, p in files.items() if p.is_file()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        if files is None:
            self._open(Path(state["name_or_path"]))
        else:
            # Kept as long as the tokenizer lives: save_pretrained copies them.
            self._held = tempfile.TemporaryDirectory(prefix="diffllama-tokenizer-")
            for name, content in files.items():
                (Path(self._held.name) / name).write_bytes(content)
            self._open(Path(self._held.name))
        self.__dict__.update({k: v for k, v in state.items() if k != "_held"})

    # The vocabulary

    @property
    def vocab_size(self) -> int:
        """One past the largest id, added tokens included."""
        return int(self.engine.vocab_size)

    def __len__(self) -> int:
        return self.vocab_size

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return {token: i for i in range(self.vocab_size) if (token := self.engine.id_to_token(i))}

    def _token(self, token_id: int | None) -> str | None:
        return None if token_id is None else self.engine.id_to_token(token_id)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_token_id") and name[:-3] in _SPECIAL:
            token = self.__dict__.get(name[:-3])
            return None if token is None else self.engine.token_to_id(token)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("_token_id") and name[:-3] in _SPECIAL:
            name, value = name[:-3], self._token(value)
        object.__setattr__(self, name, value)

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The special tokens that are set, by their role."""
        return {name: self.__dict__[name] for name in _SPECIAL if self.__dict__.get(name)}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens that are set."""
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [i for token in self.all_special_tokens if (i := self.engine.token_to_id(token)) is not None]

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> Any:
        """The id of a token, or of each; unk_token's, or None, for one that is not there."""
        if isinstance(tokens, str):
            found = self.engine.token_to_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """The token of an id, or of each, as the vocabulary writes them."""
        if np.ndim(ids) == 0:
            return self.engine.id_to_token(int(ids))
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.engine.id_to_token(int(i)) for i in ids if int(i) not in special]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The tokens of a text, as the vocabulary writes them."""
        ids = self.engine.encode(text, pair, add_special_tokens)[0]
        return [self.engine.id_to_token(i) for i in ids]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens an empty text, or pair of texts, gets."""
        return len(self.engine.encode("", "" if pair else None, True)[0])

    # Text to ids

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
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encodes a text, or a list of them.

        text, text_pair: str or list[str]; with is_split_into_words a list of words, or a list of
        such lists. text_target: becomes `labels`. add_special_tokens: BOS, EOS and what else the
        tokenizer adds. padding: True or "longest", "max_length", False; padding_side "left" or
        "right" (the tokenizer's); pad_to_multiple_of. truncation: True or "longest_first",
        "only_first", "only_second", False, to max_length (model_max_length) tokens; stride: tokens
        that overflowing pieces share. return_tensors: "np", "pt", "jax", or None for lists.
        return_offsets_mapping: characters [begin, end) of each token. Returns BatchEncoding.
        Raises ValueError for options that do not fit.
        """
        if text is None and text_target is not None:
            text, text_target = text_target, None
        texts, pairs, batched = _texts(text, text_pair, is_split_into_words)
        pieces: list[EncodedText] = []
        sources: list[int] = []
        strategy, limit = self._truncation(truncation, max_length)
        for number, (first, second) in enumerate(zip(texts, pairs)):
            encoded = self._encode(first, second, add_special_tokens)
            cut = [encoded] if strategy is None else self._truncate(encoded, strategy, limit, stride)
            kept = cut if return_overflowing_tokens else cut[:1]
            pieces += kept
            sources += [number] * len(kept)
        self._pad(pieces, padding, max_length, pad_to_multiple_of, padding_side)
        data: dict[str, Any] = {"input_ids": [each.ids for each in pieces]}
        wants_types = "token_type_ids" in self.model_input_names if return_token_type_ids is None else return_token_type_ids
        if wants_types:
            data["token_type_ids"] = [each.type_ids for each in pieces]
        if return_attention_mask is None or return_attention_mask:
            data["attention_mask"] = [each.mask for each in pieces]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [each.special for each in pieces]
        if return_offsets_mapping:
            data["offset_mapping"] = [each.offsets for each in pieces]
        if return_length:
            data["length"] = [len(each.ids) for each in pieces]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = sources
        if not batched and return_tensors is None and not return_overflowing_tokens:
            data = {name: values[0] for name, values in data.items()}
        elif return_tensors is not None:
            _check_lengths(pieces)
            data = {name: as_tensors(values, return_tensors) for name, values in data.items()}
        if text_target is not None:
            target = self(
                text_target, text_pair_target, None, None, add_special_tokens, padding, truncation, max_length,
                return_tensors=return_tensors,
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

    def _encode(self, text: Any, pair: Any, add_special_tokens: bool) -> EncodedText:
        if isinstance(text, list):
            return self._encode_words(text, add_special_tokens)
        return EncodedText(self, self.engine.encode(text, pair, add_special_tokens))

    def _encode_words(self, words: list[str], add_special_tokens: bool) -> EncodedText:
        """Words that were cut before: each alone, then the special tokens around all."""
        around = EncodedText(self, self.engine.encode("", None, add_special_tokens))
        values: list[list[Any]] = [[], [], [], [], [], []]
        for number, word in enumerate(words):
            one: list[list[Any]] = list(self.engine.encode(word, None, False))
            one[3] = [number] * len(one[0])
            for all_words, own in zip(values, one):
                all_words.extend(own)
        middle = len(around.ids) if self._special_after() == 0 else self._special_before()
        joined = [getattr(around, name)[:middle] + own + getattr(around, name)[middle:]
                  for name, own in zip(EncodedText.lists, values)]
        return EncodedText(self, tuple(joined))

    def _special_before(self) -> int:
        special = self.engine.encode("a", None, True)[4]
        return next(i for i, each in enumerate(special) if each >= 0)

    def _special_after(self) -> int:
        special = self.engine.encode("a", None, True)[4]
        return next(i for i, each in enumerate(reversed(special)) if each >= 0)

    # Truncation and padding

    def _truncation(self, truncation: bool | str | None, max_length: int | None) -> tuple[str | None, int]:
        if truncation is None or truncation is False or truncation == "do_not_truncate":
            return None, 0
        strategy = "longest_first" if truncation is True else str(truncation)
        if strategy not in ("longest_first", "only_first", "only_second"):
            raise ValueError(f"truncation: expected longest_first, only_first or only_second, got {truncation!r}")
        limit = self.model_max_length if max_length is None else max_length
        return (None, 0) if limit > 10**20 else (strategy, limit)

    def _truncate(self, encoded: EncodedText, strategy: str, limit: int, stride: int) -> list[EncodedText]:
        """The text cut to `limit` tokens, special ones kept, then the pieces that were left over."""
        excess = len(encoded.ids) - limit
        if excess <= 0:
            return [encoded]
        places = [[i for i, each in enumerate(encoded.sequence_ids) if each == number] for number in (0, 1)]
        counts = [len(each) for each in places]
        left = self.truncation_side == "left"
        if strategy == "longest_first":
            kept = shorten_longest(counts, excess)
            if counts[1] > 0:
                return [encoded.taken(remaining(encoded, places, kept, left))]
            number = 0
        else:
            number = 0 if strategy == "only_first" else 1
            kept = [count - (excess if i == number else 0) for i, count in enumerate(counts)]
        width = kept[number]
        if width < 0 or (width == 0 and counts[number] > 0 and stride > 0):
            raise ValueError(f"max_length: expected room for the special tokens, got {limit}")
        if stride >= max(1, width):
            raise ValueError(f"stride: expected less than the {width} tokens of text in a piece, got {stride}")
        others = [i for i in range(len(encoded.ids)) if encoded.sequence_ids[i] != number]
        pieces, own = [], places[number]
        step = max(1, width - stride)
        begin, end = (0, width) if not left else (len(own) - width, len(own))
        while True:
            pieces.append(encoded.taken(sorted(others + own[max(0, begin) : max(0, end)])))
            if (end >= len(own)) if not left else (begin <= 0):
                return pieces
            begin, end = (begin + step, end + step) if not left else (begin - step, end - step)

    def _pad(
        self, pieces: list[EncodedText], padding: bool | str, max_length: int | None, multiple: int | None, side: str | None
    ) -> None:
        if padding is False or padding == "do_not_pad":
            return
        if padding not in (True, "longest", "max_length"):
            raise ValueError(f"padding: expected longest, max_length or do_not_pad, got {padding!r}")
        if self.pad_token_id is None:
            raise ValueError("padding: expected a pad_token, got none; set tokenizer.pad_token")
        if padding == "max_length":
            width = self.model_max_length if max_length is None else max_length
            if width > 10**20:
                raise ValueError("padding: expected a max_length with padding=\"max_length\", got none")
        else:
            width = max((len(each.ids) for each in pieces), default=0)
        if multiple:
            width = -(-width // multiple) * multiple
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
        """Pads what was encoded before: a BatchEncoding of lists, or a list of them."""
        if isinstance(encoded_inputs, (list, tuple)):
            encoded_inputs = {name: [each[name] for each in encoded_inputs] for name in encoded_inputs[0]}
        rows = [numpy_array(ids).tolist() for ids in encoded_inputs["input_ids"]]
        pieces = [EncodedText(self, (ids, [(0, 0)] * len(ids), *([0] * len(ids) for _ in range(4)))) for ids in rows]
        if "attention_mask" in encoded_inputs:
            for piece, mask in zip(pieces, encoded_inputs["attention_mask"]):
                piece.mask = numpy_array(mask).tolist()
        self._pad(pieces, padding, max_length, pad_to_multiple_of, padding_side)
        data: dict[str, Any] = {"input_ids": [each.ids for each in pieces]}
        if return_attention_mask is None or return_attention_mask:
            data["attention_mask"] = [each.mask for each in pieces]
        return BatchEncoding({name: as_tensors(each, return_tensors) for name, each in data.items()}, pieces)

    # Ids to text

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The text of ids: an int, a list or array [T], or several [N, T], which give a list.

        Bytes that do not make UTF-8 become U+FFFD. Raises InvalidArgument for unknown ids.
        """
        ids = [int(token_ids)] if np.ndim(token_ids) == 0 else token_ids
        if len(ids) > 0 and np.ndim(ids[0]) > 0:
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        plain = ids if isinstance(ids, list) and all(type(i) is int for i in ids) else numpy_array(ids).tolist()
        text = self.engine.decode(plain, skip_special_tokens)
        clean = self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return _clean_up(text) if clean else text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    # Chat

    @property
    def chat_template(self) -> str | None:
        """The model's chat template in Jinja, or None; set it to use another."""
        given = self.__dict__.get("_chat_template")
        if given is not None or self._directory is None:
            return given
        file = self._directory / "chat_template.jinja"
        found = file.read_text() if file.is_file() else _read_json(self._directory, "tokenizer_config.json").get("chat_template")
        return found if isinstance(found, str) or found is None else json.dumps(found)

    @chat_template.setter
    def chat_template(self, template: str | None) -> None:
        object.__setattr__(self, "_chat_template", template)

    def _template(self, source: str | None) -> _core.ChatTemplate:
        source = source or self.__dict__.get("_chat_template")
        if source not in self._templates:
            self._templates[source] = (
                _core.ChatTemplate.from_pretrained(self._template_path)
                if source is None
                else _core.ChatTemplate({"default": source}, self.special_tokens_map)
            )
        found = self._templates[source]
        if found is None:
            raise ValueError(f"{self.name_or_path}: expected a chat template, got none; set chat_template")
        return found

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[Any] | None = None,
        documents: list[dict[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        sanitize_control_tokens: bool = False,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = True,
        tokenizer_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A conversation, or a list of them, as the model's template writes it.

        conversation: list of {"role": ..., "content": ...}. tools: JSON schemas. chat_template: in
        place of the model's. add_generation_prompt: ends where the assistant's turn begins.
        tokenize: ids (a BatchEncoding, with return_dict=False ids alone), else text.
        sanitize_control_tokens: control tokens inside the conversation stay plain text. kwargs:
        variables of the template. Raises FormatError for a template that refuses the conversation.
        """
        if continue_final_message and add_generation_prompt:
            raise ValueError("continue_final_message: expected not with add_generation_prompt")
        batched = len(conversation) > 0 and not isinstance(conversation[0], dict)
        rendered, ids = [], []
        for messages in conversation if batched else [conversation]:
            variables = {**kwargs, "messages": messages, "add_generation_prompt": add_generation_prompt}
            variables.update({k: v for k, v in (("tools", tools), ("documents", documents)) if v is not None})
            chat = self._template(chat_template).apply(json.dumps(variables))
            text = chat.text
            if continue_final_message:
                last = messages[-1]["content"].strip()
                text = text[: text.rindex(last) + len(last)]
            rendered.append(text)
            if tokenize and not continue_final_message:
                ids.append(self.engine.encode_chat(chat, not sanitize_control_tokens))
            elif tokenize:
                ids.append(self.engine.encode(text, None, False)[0])
        if not tokenize:
            return rendered if batched else rendered[0]
        strategy, limit = self._truncation(truncation, max_length)
        if strategy is not None:
            ids = [row[:limit] for row in ids]
        out = self.pad({"input_ids": ids}, padding, max_length, return_tensors=return_tensors, **(tokenizer_kwargs or {}))
        if not batched and return_tensors is None:
            out = BatchEncoding({name: values[0] for name, values in out.items()}, out._encodings)
        return out if return_dict else out["input_ids"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, {self.special_tokens_map})"


PreTrainedTokenizerFast = PreTrainedTokenizer


class AutoTokenizer:
    """Opens a tokenizer: there is one class."""

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None, *inputs: Any, **kwargs: Any
    ) -> PreTrainedTokenizer:
        """As PreTrainedTokenizer.from_pretrained."""
        return PreTrainedTokenizer.from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)


def _read_json(directory: Path | None, name: str) -> dict[str, Any]:
    if directory is None or not (directory / name).is_file():
        return {}
    return dict(json.loads((directory / name).read_text()))


def _texts(text: Any, pair: Any, is_split: bool) -> tuple[list[Any], list[Any], bool]:
    """Lists of texts and of their pairs, and whether they were lists."""
    def check(value: Any) -> None:
        if not isinstance(value, (str, list)) or (isinstance(value, list) and not is_split):
            raise ValueError(f"text: expected str or a list of them, got {type(value).__name__}")

    batched = isinstance(text, (list, tuple)) and (not is_split or (len(text) > 0 and isinstance(text[0], (list, tuple))))
    if not batched:
        check(text if not isinstance(text, tuple) else list(text))
        return [list(text) if isinstance(text, tuple) else text], [pair], False
    if pair is None and len(text) > 0 and isinstance(text[0], (tuple, list)) and not is_split:
        texts, pairs = [each[0] for each in text], [each[1] for each in text]  # pairs in one list
    else:
        texts, pairs = list(text), [None] * len(text) if pair is None else list(pair)
    if len(texts) != len(pairs):
        raise ValueError(f"text_pair: expected {len(texts)} texts, got {len(pairs)}")
    for value in texts:
        check(value)
    return texts, pairs, True


def _check_lengths(pieces: list[EncodedText]) -> None:
    if len({len(each.ids) for each in pieces}) > 1:
        raise ValueError("return_tensors: expected texts of one length, got several; use padding=True and truncation=True")


def _clean_up(text: str) -> str:
    for before, after in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
                          (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(before, after)
    return text
