"""Text to token ids and back, called as transformers' tokenizers are."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from . import _core, hub
from .added_tokens import AddedToken, added_to_json, added_to_settings, template_processor
from .arrays import numpy_array
from .chat_templates import TEMPLATE_FOLDERS, ChatMixin, write_templates
from .text_encoding import EncodingMixin
from .tokenizer_files import TOKENIZER_FILES, json_bytes, read_file, read_files, read_json, write_files

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_SETTINGS = (
    "padding_side", "truncation_side", "model_max_length", "model_input_names", "clean_up_tokenization_spaces",
    "split_special_tokens",
)


class PreTrainedTokenizer(ChatMixin, EncodingMixin):
    """A tokenizer of the engine, called as transformers' PreTrainedTokenizerFast is.

    padding_side, truncation_side, model_max_length, bos_token, eos_token, pad_token and the others
    come from tokenizer_config.json, and may be set; add_bos_token and add_eos_token say what is put
    around a text. split_special_tokens: special tokens that are written in a text are ordinary text.
    Safe from any number of threads while nothing is set.

    path: a directory, tokenizer.json or .gguf file; or tokenizer_file, a tokenizer.json alone; or
    tokenizer_object, of the tokenizers library. kwargs: attributes; special tokens that the
    vocabulary lacks are added to it, additional_special_tokens and extra_special_tokens (a list, or
    a dictionary whose keys become attributes) too.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, tokenizer_file: str | os.PathLike[str] | None = None,
        tokenizer_object: Any = None, **kwargs: Any,
    ) -> None:
        self.name_or_path = "" if path is None else str(path)
        if path is not None:
            self._open(Path(path))
        elif tokenizer_file is not None:
            self._reopen({"tokenizer.json": read_file(Path(tokenizer_file))})
        elif tokenizer_object is not None:
            self._reopen({"tokenizer.json": tokenizer_object.to_str().encode()})
        else:
            raise _core.InvalidArgument("tokenizer: expected a path, a tokenizer_file or a tokenizer_object, got none")
        self._read_settings()
        if "additional_special_tokens" in kwargs:
            kwargs.setdefault("extra_special_tokens", kwargs.pop("additional_special_tokens"))
        special = {name: kwargs.pop(name) for name in (*_SPECIAL, "extra_special_tokens") if kwargs.get(name) is not None}
        for name, value in kwargs.items():
            setattr(self, name, value)
        if special:
            self.add_special_tokens(special)

    def _open(self, path: Path) -> None:
        self.engine = _core.Tokenizer(path)
        self._directory = path if path.is_dir() else (path.parent if path.suffix == ".json" else None)
        self._templates: dict[Any, _core.ChatTemplate | None] = {}
        self._template_path = path
        self._json: dict[str, Any] | None = None

    def _read_settings(self) -> None:
        settings = read_json(self._directory, "tokenizer_config.json")
        tokens = {**read_json(self._directory, "special_tokens_map.json"), **settings}
        for name in _SPECIAL:
            value = tokens.get(name)
            setattr(self, name, value.get("content") if isinstance(value, dict) else value)
        extra = tokens.get("extra_special_tokens") or tokens.get("additional_special_tokens") or []
        self.extra_special_tokens: list[str] = []
        self._set_extra(extra, [])
        if self._directory is None:
            self.bos_token = self._token(self.engine.bos_token_id)
            self.eos_token = self._token(self.engine.eos_token_id)
        self.padding_side: str = settings.get("padding_side", "right")
        self.truncation_side: str = settings.get("truncation_side", "right")
        self.model_max_length: int = int(settings.get("model_max_length", 1e30))
        self.model_input_names: list[str] = settings.get("model_input_names", ["input_ids", "attention_mask"])
        self.clean_up_tokenization_spaces: bool = bool(settings.get("clean_up_tokenization_spaces", False))
        self.split_special_tokens: bool = bool(settings.get("split_special_tokens", False))
        self.pad_token_type_id = 0
        self._loaded = self._changeable()

    def _changeable(self) -> dict[str, Any]:
        """What may be set and is saved, as tokenizer_config.json has it."""
        return {name: self.__dict__.get(name) for name in (*_SPECIAL, "extra_special_tokens", *_SETTINGS)}

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

        kwargs: attributes such as padding_side, pad_token and add_bos_token. Raises IoError,
        FormatError.
        """
        path = hub.find_model(
            pretrained_model_name_or_path, revision=revision, cache_dir=cache_dir, subfolder=subfolder, gguf_file=gguf_file
        )
        if path.is_dir() and not any((path / name).is_file() for name in TOKENIZER_FILES):
            path = _core.find_model(path)  # the one sub-folder with a model, as AutoModel takes it
        hub.drop_arguments(kwargs, "use_fast", "config", "dtype")
        return cls(path, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> tuple[str, ...]:
        """Writes its files into a directory, which is made where it is not there. Returns them.

        What was set since it was opened (special tokens, padding_side, model_max_length,
        chat_template, added tokens, ...) is in them. Of a .gguf file they are what `diffllama
        convert` makes of it.
        """
        target = Path(save_directory)
        target.mkdir(parents=True, exist_ok=True)
        files = self._files()
        files.pop("config.json", None)
        changed = {name: value for name, value in self._changeable().items() if value != self._loaded.get(name)}
        template = self.__dict__.get("_chat_template")
        if changed or template is not None:
            settings = json.loads(files.get("tokenizer_config.json", b"{}"))
            settings.update(changed)
            if template is not None:
                settings.pop("chat_template", None)
                files = {name: data for name, data in files.items() if not name.endswith(".jinja")}
            files["tokenizer_config.json"] = json_bytes(settings)
            if "special_tokens_map.json" in files:
                tokens = {name: value for name, value in changed.items() if name in _SPECIAL}
                files["special_tokens_map.json"] = json_bytes({**json.loads(files["special_tokens_map.json"]), **tokens})
        written = write_files(target, files)
        if template is not None:
            for file in (target / "chat_template.jinja", *(f for d in TEMPLATE_FOLDERS for f in (target / d).glob("*.jinja"))):
                file.unlink(missing_ok=True)
            written += write_templates(target, template)
        return tuple(str(file) for file in written)

    def _files(self) -> dict[str, bytes]:
        """Contents of its files by their names."""
        if self._directory is None:
            with tempfile.TemporaryDirectory(prefix="diffllama-tokenizer-") as folder:
                _core.convert_model(self._template_path, Path(folder) / "model")
                return read_files(Path(folder) / "model")
        files = read_files(self._directory)
        if self._template_path.suffix == ".json":  # by whatever name
            files["tokenizer.json"] = self._template_path.read_bytes()
        return files

    def _reopen(self, files: dict[str, bytes]) -> None:
        """Becomes the tokenizer of other files, which are kept as long as it lives."""
        held = tempfile.TemporaryDirectory(prefix="diffllama-tokenizer-")
        write_files(Path(held.name), files)
        self._open(Path(held.name))
        self._held = held

    def __getstate__(self) -> dict[str, Any]:
        not_kept = ("engine", "_templates", "_directory", "_template_path", "_json", "_held")
        state = {name: value for name, value in self.__dict__.items() if name not in not_kept}
        if self._directory is not None:
            state["_files"] = self._files()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        if files is None:
            self._open(Path(state["name_or_path"]))
        else:
            self._reopen(files)
        self.__dict__.update(state)

    # The vocabulary

    def _tokenizer_json(self) -> dict[str, Any]:
        """tokenizer.json; empty where there is none."""
        if self._json is None:
            path = self._template_path
            if path.suffix == ".json":
                self._json = hub.read_json(path)
            else:
                self._json = read_json(self._directory, "tokenizer.json")
        return self._json

    @property
    def is_fast(self) -> bool:
        """True: it knows where tokens come from."""
        return True

    @property
    def vocab_size(self) -> int:
        """How many tokens there are without those that were added; len() counts all."""
        vocabulary = self._tokenizer_json().get("model", {}).get("vocab")
        return len(vocabulary) if vocabulary else len(self)

    def __len__(self) -> int:
        return int(self.engine.vocab_size)

    def __bool__(self) -> bool:
        return True

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return {token: i for i in range(len(self)) if (token := self.engine.id_to_token(i))}

    @property
    def vocab(self) -> dict[str, int]:
        """get_vocab()."""
        return self.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens beside the vocabulary's own, special ones among them, by their ids."""
        found = {int(each["id"]): AddedToken.of(each) for each in self._tokenizer_json().get("added_tokens", [])}
        if not found:
            given = read_json(self._directory, "tokenizer_config.json").get("added_tokens_decoder", {})
            found = {int(number): AddedToken.of(each) for number, each in given.items()}
        return dict(sorted(found.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Their ids by the tokens."""
        return {token.content: number for number, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """added_tokens_encoder."""
        return self.added_tokens_encoder

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens behind the last id: a str, an AddedToken or a list of them.

        special_tokens: they are control tokens, which skip_special_tokens leaves out. Those that are
        there stay as they are. Returns how many are new; the model's resize_token_embeddings(len(
        tokenizer)) makes room for them.
        """
        tokens = list(new_tokens) if isinstance(new_tokens, (list, tuple)) else [new_tokens] if new_tokens else []
        tokens = [AddedToken.of(each, special_tokens) for each in tokens]
        length = len(self)
        wanted: dict[int, AddedToken] = {}
        known = self.added_tokens_encoder
        for token in tokens:
            if not token.content or (token.content in known and known[token.content] not in wanted):
                continue
            number = self.engine.token_to_id(token.content)
            if number is None:
                number = known.setdefault(token.content, length)
                length = max(length, number + 1)
            wanted[number] = token
        if wanted:
            files = self._files()
            if "tokenizer.json" in files:
                files["tokenizer.json"] = added_to_json(files["tokenizer.json"], wanted)
            else:
                files["tokenizer_config.json"] = added_to_settings(files.get("tokenizer_config.json", b"{}"), wanted)
            before = len(self)
            self._reopen(files)
            return len(self) - before
        return 0

    def add_special_tokens(
        self, special_tokens_dict: dict[str, Any], replace_extra_special_tokens: bool = True
    ) -> int:
        """Sets special tokens by their roles ({"pad_token": "<pad>"}), and adds those that are not
        there. extra_special_tokens: a list of others. Returns how many are new. Raises ValueError for
        another role."""
        roles = dict(special_tokens_dict)
        if "additional_special_tokens" in roles:
            roles.setdefault("extra_special_tokens", roles.pop("additional_special_tokens"))
        tokens: list[Any] = []
        for role, value in roles.items():
            if role not in (*_SPECIAL, "extra_special_tokens"):
                raise ValueError(f"add_special_tokens: expected one of {', '.join(_SPECIAL)}, extra_special_tokens, got {role}")
            tokens += _extra_tokens(value).values() if role == "extra_special_tokens" else [value]
        count = self.add_tokens(tokens, special_tokens=True)
        for role, value in roles.items():
            if role == "extra_special_tokens":
                self._set_extra(value, [] if replace_extra_special_tokens else self.extra_special_tokens)
            else:
                setattr(self, role, AddedToken.of(value).content)
        return count

    def _set_extra(self, tokens: Any, kept: list[str]) -> None:
        """extra_special_tokens behind those that are kept; named ones become attributes."""
        named = {name: AddedToken.of(each).content for name, each in _extra_tokens(tokens).items()}
        self._named_tokens = {name: token for name, token in named.items() if isinstance(name, str)}
        self.extra_special_tokens = list(dict.fromkeys([*kept, *named.values()]))

    def _token(self, token_id: int | None) -> str | None:
        return None if token_id is None else self.engine.id_to_token(token_id)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_token_id") and name[:-3] in _SPECIAL:
            token = self.__dict__.get(name[:-3])
            return None if token is None else self.engine.token_to_id(token)
        named: dict[str, str] = self.__dict__.get("_named_tokens", {})
        if name in named:
            return named[name]
        if name.endswith("_id") and name[:-3] in named:
            return self.engine.token_to_id(named[name[:-3]])
        if name == "extra_special_tokens_ids":
            return [self.engine.token_to_id(token) for token in self.__dict__.get("extra_special_tokens", [])]
        if name in ("add_bos_token", "add_eos_token"):
            return self.__dict__.get(f"_{name}", self._adds(name))
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("_token_id") and name[:-3] in _SPECIAL:
            name, value = name[:-3], self._token(value)
        elif name in _SPECIAL and value is not None:
            value = AddedToken.of(value).content
        elif name in ("add_bos_token", "add_eos_token"):
            self._set_around(**{"add_bos_token": self.add_bos_token, "add_eos_token": self.add_eos_token, name: bool(value)})
            return
        object.__setattr__(self, name, value)

    def _adds(self, name: str) -> bool:
        """Whether a text gets bos_token in front, or eos_token behind."""
        ids = self.engine.encode("a", None, True)[0]
        return bool(ids) and ids[0 if name == "add_bos_token" else -1] == getattr(self, name[4:] + "_id")

    def _set_around(self, add_bos_token: bool, add_eos_token: bool) -> None:
        if (add_bos_token, add_eos_token) == (self.add_bos_token, self.add_eos_token):
            return
        bos = [(self.bos_token, self.bos_token_id)] if add_bos_token and self.bos_token is not None else []
        eos = [(self.eos_token, self.eos_token_id)] if add_eos_token and self.eos_token is not None else []
        files = self._files()
        if "tokenizer.json" in files:
            document = json.loads(files["tokenizer.json"])
            document["post_processor"] = template_processor(bos, eos)
            files["tokenizer.json"] = json_bytes(document)
        settings = json.loads(files.get("tokenizer_config.json", b"{}"))
        settings.update(add_bos_token=add_bos_token, add_eos_token=add_eos_token)
        files["tokenizer_config.json"] = json_bytes(settings)
        self._reopen(files)

    @property
    def special_tokens_map(self) -> dict[str, str]:  # type: ignore[override]
        """The special tokens that are set, by their role."""
        return {name: self.__dict__[name] for name in _SPECIAL if self.__dict__.get(name)}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens that are set."""
        return list(dict.fromkeys([*self.special_tokens_map.values(), *self.extra_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [i for token in self.all_special_tokens if (i := self.engine.token_to_id(token)) is not None]

    def get_special_tokens_mask(
        self, token_ids_0: Any, token_ids_1: Any = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each id that is a special token's; already_has_special_tokens: True."""
        if not already_has_special_tokens or token_ids_1 is not None:
            raise _core.InvalidArgument("get_special_tokens_mask: expected already_has_special_tokens=True and one list of ids")
        special = set(self.all_special_ids)
        return [int(i in special) for i in _plain_ids(token_ids_0)]

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> Any:
        """The id of a token, or of each; unk_token's, or None, for one that is not there."""
        if isinstance(tokens, str):
            found = self.engine.token_to_id(tokens)
            return self.unk_token_id if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or of each, as the vocabulary writes them; None for no token's id."""
        if np.ndim(ids) == 0:
            return self.engine.id_to_token(_plain_ids([ids])[0]) or None
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.engine.id_to_token(i) or None for i in _plain_ids(ids) if i not in special]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens as the vocabulary writes them."""
        ids = [self.engine.token_to_id(token) for token in tokens]
        unknown = next((token for token, number in zip(tokens, ids) if number is None), None)
        if unknown is not None:
            raise _core.InvalidArgument(f"convert_tokens_to_string: expected tokens of the vocabulary, got {unknown!r}")
        return self.engine.decode([number for number in ids if number is not None], False)

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False,
        split_special_tokens: bool | None = None, **kwargs: Any,
    ) -> list[str]:
        """The tokens of a text, as the vocabulary writes them; arguments as calling it has them."""
        return self._encode(text, pair, add_special_tokens, split_special_tokens).tokens

    # Ids to text

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The text of ids: an int, a list or array [T], or several [N, T], which give a list.

        Bytes that do not make UTF-8 become U+FFFD. clean_up_tokenization_spaces takes spaces before
        punctuation off, but not of a BPE, as in transformers. Raises InvalidArgument for unknown ids.
        """
        if isinstance(token_ids, dict):
            token_ids = token_ids["input_ids"]
        ids = [token_ids] if np.ndim(token_ids) == 0 else token_ids
        if len(ids) > 0 and np.ndim(ids[0]) > 0:
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        text = self.engine.decode(_plain_ids(ids), skip_special_tokens)
        clean = self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        if clean and self._tokenizer_json().get("model", {}).get("type") not in ("BPE", None):
            return _clean_up(text)
        return text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """The text of each row of ids; of ids alone, a list of their one text."""
        if len(sequences) > 0 and np.ndim(sequences[0]) == 0:
            sequences = [sequences]
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, {self.special_tokens_map})"


PreTrainedTokenizerFast = PreTrainedTokenizer
PreTrainedTokenizerBase = PreTrainedTokenizer


class AutoTokenizer:
    """Opens a tokenizer: there is one class."""

    @staticmethod
    def from_pretrained(
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None, *inputs: Any, **kwargs: Any
    ) -> PreTrainedTokenizer:
        """As PreTrainedTokenizer.from_pretrained."""
        return PreTrainedTokenizer.from_pretrained(pretrained_model_name_or_path, *inputs, **kwargs)


def _plain_ids(ids: Any) -> list[int]:
    """Ids as Python's integers. Raises InvalidArgument for anything else."""
    if isinstance(ids, list) and all(type(i) is int for i in ids):
        return ids
    values = numpy_array([numpy_array(i).item() if hasattr(i, "shape") else i for i in ids] if isinstance(ids, (list, tuple)) else ids)
    if values.size > 0 and values.dtype.kind not in "iu":
        raise _core.InvalidArgument(f"ids: expected integers, got {values.reshape(-1)[0].item()!r}")
    return [int(i) for i in values.reshape(-1)]


def _extra_tokens(tokens: Any) -> dict[Any, Any]:
    """Tokens by their names, or by their numbers where they are a list."""
    return dict(tokens) if isinstance(tokens, dict) else dict(enumerate(tokens))


def _clean_up(text: str) -> str:
    for before, after in ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
                          (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")):
        text = text.replace(before, after)
    return text
