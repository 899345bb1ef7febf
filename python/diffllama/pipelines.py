"""pipeline: from text to answers, as transformers' pipelines give them."""

from __future__ import annotations

import importlib.util
import inspect
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from . import _core, hub
from .arrays import to_torch
from .modeling_auto import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from .tokenization import AutoTokenizer, PreTrainedTokenizer


def _engine_option(name: str, value: str, kinds: Any) -> Any:
    try:
        return kinds[value]
    except KeyError:
        known = ", ".join(each.name for each in kinds if each.name != "automatic")
        raise ValueError(f"{name}: expected one of {known}, got {value}") from None


class Pipeline:
    """A model with its tokenizer, called on a text or a list of texts, which gives a list.

    Texts of a list go through the model together, without padding: each has the bits that it has
    alone, so batch_size changes nothing. A generator or a data set gives an iterator. tokenizer:
    None: the model's. Raises TypeError for an option that the task lacks.
    """

    auto: Any = AutoModel
    task = ""
    run: Any  # (inputs, **options): the answer of each

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizer | None = None, **defaults: Any) -> None:
        self.model = model
        self.tokenizer = AutoTokenizer.from_pretrained(model.name_or_path) if tokenizer is None else tokenizer
        self.defaults = self._checked(defaults)

    @property
    def device(self) -> Any:
        """The model's."""
        return self.model.device

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Writes the model's and the tokenizer's files into a directory."""
        self.model.save_pretrained(save_directory)
        self.tokenizer.save_pretrained(save_directory)

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        if _is_stream(inputs):
            return self._answers(iter(inputs), kwargs)
        options = {**self.defaults, **self._checked(kwargs)}
        if isinstance(inputs, list) and self._is_batch(inputs):
            return self.run(inputs, **options)
        return self.run([inputs], **options)[0]

    def _answers(self, inputs: Iterator[Any], kwargs: dict[str, Any]) -> Iterator[Any]:
        for each in inputs:
            yield self([each], **kwargs)[0]

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options without those that change nothing. Raises TypeError for what `run` does not take."""
        options = {name: value for name, value in options.items() if name not in ("batch_size", "num_workers")}
        parameters = inspect.signature(self.run).parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return options
        known = [name for name in parameters if name != "inputs"]
        for name in options:
            if name not in known:
                raise TypeError(f"{self.task}: unexpected keyword argument {name!r}, expected one of {', '.join(known)}")
        return options

    def _is_batch(self, inputs: list[Any]) -> bool:
        return True


def _is_stream(inputs: Any) -> bool:
    """Whether inputs come one by one: a generator, or a data set."""
    if hasattr(inputs, "__next__"):
        return True
    plain = isinstance(inputs, (str, bytes, list, tuple, dict, np.ndarray))
    return not plain and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")


class TextClassificationPipeline(Pipeline):
    """Labels of texts: [{"label", "score"}], the highest first.

    Takes texts, or dictionaries of text and text_pair, one of which gives a dictionary. top_k: 1, or
    None for all; one asked for gives a list of its own for a text. function_to_apply: "softmax",
    "sigmoid", "none"; None: as config.problem_type says. truncation, max_length, padding,
    add_special_tokens: as the tokenizer's call has them.
    """

    auto = AutoModelForSequenceClassification
    task = "text-classification"

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        result = super().__call__(inputs, **kwargs)
        if "top_k" in kwargs or _is_stream(inputs):
            return result
        if "top_k" in self.defaults:  # as transformers: a text is a list of one then
            return [result] if isinstance(inputs, str) else result
        if isinstance(inputs, dict):
            return result[0]
        return [each[0] for each in result] if isinstance(inputs, list) else result

    def run(
        self, inputs: list[Any], top_k: int | None = 1, function_to_apply: str | None = None, truncation: bool | str = False,
        max_length: int | None = None, padding: bool | str = False, add_special_tokens: bool = True,
        return_all_scores: bool | None = None,
    ) -> list[Any]:
        """Each text's labels."""
        if return_all_scores:
            warnings.warn("return_all_scores: transformers 5 does not know it; top_k=None gives all labels", stacklevel=3)
        ids = []
        for each in inputs:
            if not isinstance(each, str) and not (isinstance(each, dict) and "text" in each):
                raise ValueError(f"text-classification: expected a text, or a dictionary of text and text_pair, got {each!r}")
            text, pair = (each["text"], each.get("text_pair")) if isinstance(each, dict) else (each, None)
            encoded = self.tokenizer(
                text, pair, truncation=truncation, max_length=max_length, add_special_tokens=add_special_tokens
            )
            ids.append(encoded["input_ids"])
        function = _engine_option("function_to_apply", function_to_apply or "automatic", _core.ScoreFunction)
        rows = _core.classify(self.model.engine, self.tokenizer.engine, ids, top_k or 0, function)
        return [[{"label": label, "score": score} for label, score in zip(*row)] for row in rows]


class TokenClassificationPipeline(Pipeline):
    """Entities of a text: [{"entity", "score", "index", "word", "start", "end"}].

    aggregation_strategy: "none", or "simple", "first", "average", "max", which join tokens to
    {"entity_group", "score", "word", "start", "end"}. ignore_labels: ["O"]. is_split_into_words:
    each text is a list of its words. stride: tokens that pieces of a long text would share; a text
    that needs several is an error.
    """

    auto = AutoModelForTokenClassification
    task = "token-classification"

    def __call__(self, inputs: Any, is_split_into_words: bool = False, **kwargs: Any) -> Any:
        if is_split_into_words and inputs and isinstance(inputs[0], str):
            return super().__call__([inputs], is_split_into_words=True, **kwargs)[0]
        return super().__call__(inputs, is_split_into_words=is_split_into_words, **kwargs)

    def run(
        self, inputs: list[Any], aggregation_strategy: str = "none", ignore_labels: Sequence[str] = ("O",),
        is_split_into_words: bool = False, stride: int | None = None,
    ) -> list[Any]:
        """Each text's entities in its order."""
        if stride is not None:
            self._check_stride(inputs, stride, aggregation_strategy, is_split_into_words)
        texts = [("", each) if is_split_into_words else (each, None) for each in inputs]
        kind = _engine_option("aggregation_strategy", aggregation_strategy, _core.Aggregation)
        rows = _core.tag(self.model.engine, self.tokenizer.engine, texts, kind, list(ignore_labels))
        names = ("entity", "score", "index", "word", "start", "end")
        if kind is _core.Aggregation.none:
            return [[dict(zip(names, entity)) for entity in row] for row in rows]
        return [
            [{"entity_group": group, "score": score, "word": word, "start": start, "end": end}
             for group, score, _, word, start, end in row]
            for row in rows
        ]


    def _check_stride(self, inputs: list[Any], stride: int, strategy: str, words: bool) -> None:
        longest = self.tokenizer.model_max_length
        if stride >= longest or strategy == "none":
            raise _core.InvalidArgument(
                f"stride: expected less than model_max_length {longest} and an aggregation_strategy, got {stride} and {strategy}"
            )
        for each in inputs:
            length = len(self.tokenizer(each, is_split_into_words=words)["input_ids"])
            if length > longest:
                raise _core.InvalidArgument(f"stride: expected texts of at most {longest} tokens, got one of {length}")


class QuestionAnsweringPipeline(Pipeline):
    """The answer in a context: {"score", "start", "end", "answer"}; a list with top_k > 1.

    question, context: or a dictionary of both, or a list of such. doc_stride: tokens that pieces of
    a long context share. max_seq_len: of a piece, 384 where the tokenizer has no less.
    max_answer_len: tokens. handle_impossible_answer: no answer may be the best, "".
    """

    auto = AutoModelForQuestionAnswering
    task = "question-answering"

    def __call__(self, inputs: Any = None, question: Any = None, context: Any = None, **kwargs: Any) -> Any:
        if inputs is None:
            if isinstance(question, list):
                contexts = context if isinstance(context, list) else [context] * len(question)
                inputs = [{"question": q, "context": c} for q, c in zip(question, contexts)]
            else:
                inputs = {"question": question, "context": context}
        return super().__call__(inputs, **kwargs)

    def run(
        self, inputs: list[Any], top_k: int = 1, doc_stride: int | None = None, max_answer_len: int = 15,
        max_seq_len: int | None = None, handle_impossible_answer: bool = False,
    ) -> list[Any]:
        """Each question's answers, the best first."""
        questions = [(each["question"], each["context"]) for each in inputs]
        rows = _core.answer(
            self.model.engine, self.tokenizer.engine, questions, top_k, max_answer_len, doc_stride, max_seq_len,
            handle_impossible_answer,
        )
        answers = [
            [{"score": score, "start": start, "end": end, "answer": text} for text, score, start, end in row] for row in rows
        ]
        return [each[0] if len(each) == 1 else each for each in answers]


class TextGenerationPipeline(Pipeline):
    """Continues a text: [{"generated_text"}]; or a conversation, whose messages then have one more.

    A conversation that ends with the assistant's message has that one continued
    (continue_final_message). return_full_text: False leaves the prompt out; return_tensors: ids.
    prefix: stands before the text, and is not in the answer. stop_sequence: a text, or several, that
    end it. truncation, padding, add_special_tokens and tokenizer_encode_kwargs: of the tokenizer's
    call. handle_long_generation: "hole" takes so much off the left of a prompt that the new tokens
    fit model_max_length. skip_special_tokens, clean_up_tokenization_spaces: of decode. tools,
    documents: of apply_chat_template. All else goes to generate, with transformers' defaults of this
    pipeline: do_sample, temperature 0.7, 256 new tokens.
    """

    auto = AutoModelForCausalLM
    task = "text-generation"

    def _is_batch(self, inputs: list[Any]) -> bool:
        return len(inputs) == 0 or not isinstance(inputs[0], dict)

    def __call__(self, inputs: Any = None, *, text_inputs: Any = None, **kwargs: Any) -> Any:
        return super().__call__(inputs if text_inputs is None else text_inputs, **kwargs)

    def run(self, inputs: list[Any], **options: Any) -> list[Any]:
        """Each text's continuations."""
        return [self._continue(each, **options) for each in inputs]

    def _continue(
        self, text: Any, return_full_text: bool | None = None, return_tensors: bool | None = None,
        return_text: bool | None = None, prefix: str | None = None, stop_sequence: str | list[str] | None = None,
        clean_up_tokenization_spaces: bool | None = None, skip_special_tokens: bool | None = None,
        continue_final_message: bool | None = None, handle_long_generation: str | None = None, **options: Any,
    ) -> Any:
        chat = isinstance(text, (list, tuple)) and len(text) > 0 and all(isinstance(each, dict) for each in text)
        if not chat and not isinstance(text, str):
            raise ValueError(f"text-generation: expected a text, or a list of messages, got {text!r}")
        if chat and continue_final_message is None:
            continue_final_message = text[-1].get("role") == "assistant"
        inputs = self._encoded(text, bool(continue_final_message), prefix, options)
        if "generation_config" not in options:  # transformers' defaults of this pipeline
            options = {"do_sample": True, "temperature": 0.7, **options}
            if "max_length" not in options:
                options.setdefault("max_new_tokens", 256)
        if stop_sequence is not None:
            options["stop_strings"] = [stop_sequence] if isinstance(stop_sequence, str) else stop_sequence
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        if handle_long_generation is not None:
            ids, mask = self._with_room(handle_long_generation, ids, mask, options)
        rows = self.model.generate(ids, attention_mask=mask, tokenizer=self.tokenizer, **options)
        rows = getattr(rows, "sequences", rows)
        if return_tensors:
            return [{"generated_token_ids": row.tolist()} for row in rows]
        answers: list[dict[str, Any]] = []
        for row in rows:
            new = self.tokenizer.decode(
                row[ids.shape[1] :], skip_special_tokens is None or skip_special_tokens, clean_up_tokenization_spaces
            )
            full: Any = new
            if return_full_text is None or return_full_text:
                full = _longer_chat(text, new, bool(continue_final_message)) if chat else text + new
            answers.append({"generated_text": full})
        return answers

    def _encoded(self, text: Any, continued: bool, prefix: str | None, options: dict[str, Any]) -> Any:
        """The prompt's ids; takes the tokenizer's options out of `options`."""
        own = ("truncation", "padding", "add_special_tokens")
        call: dict[str, Any] = {name: options.pop(name) for name in own if name in options}
        if options.get("max_length") is not None and "truncation" in call:
            call["max_length"] = options["max_length"]
        call.update(options.pop("tokenizer_encode_kwargs", None) or {})
        of_chat = {name: options.pop(name) for name in ("tools", "documents") if name in options}
        if isinstance(text, str):
            return self.tokenizer((prefix or "") + text, return_tensors="np", **call)
        call.pop("add_special_tokens", None)
        return self.tokenizer.apply_chat_template(
            list(text), add_generation_prompt=not continued, continue_final_message=continued, return_tensors="np",
            **of_chat, **call,
        )

    def _with_room(self, how: str, ids: Any, mask: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        if how != "hole":
            raise _core.InvalidArgument(f"handle_long_generation: expected hole or None, got {how!r}")
        new = options.get("max_new_tokens") or options.get("max_length", 0) - ids.shape[1]
        longest = self.tokenizer.model_max_length
        kept = longest - new
        if ids.shape[1] <= kept:
            return ids, mask
        if kept <= 0 or new < 0:
            raise _core.InvalidArgument(f"handle_long_generation: expected less than {longest} new tokens, got {new}")
        return ids[:, -kept:], mask[:, -kept:]


def _longer_chat(messages: Any, new: str, continued: bool) -> list[Any]:
    """The messages with one more, or with the last one's text continued."""
    if not continued:
        return [*messages, {"role": "assistant", "content": new}]
    last = messages[-1]
    return [*messages[:-1], {"role": last["role"], "content": last["content"] + new}]


class FeatureExtractionPipeline(Pipeline):
    """The last hidden state of each token (of a model with a head, what that gives): nested lists [1, T, C]; return_tensors: torch tensors, or
    numpy arrays where there is no torch.

    truncation, max_length: as the tokenizer's call has them, or tokenize_kwargs with these and others.
    """

    task = "feature-extraction"

    def run(
        self, inputs: list[Any], return_tensors: bool = False, truncation: bool | str | None = None,
        max_length: int | None = None, tokenize_kwargs: dict[str, Any] | None = None,
    ) -> list[Any]:
        """Each text's states."""
        call = dict(tokenize_kwargs or {})
        for name, value in (("truncation", truncation), ("max_length", max_length)):
            if value is not None and name in call:
                raise _core.InvalidArgument(f"{name}: expected it once, got it in tokenize_kwargs too")
            if value is not None:
                call[name] = value
        as_tensor = to_torch if return_tensors and importlib.util.find_spec("torch") is not None else np.asarray
        results = []
        for text in inputs:
            encoded = self.tokenizer(text, return_tensors="np", **call)
            states = self.model(input_ids=encoded["input_ids"], use_cache=False)[0]  # with a head: what it gives
            results.append(as_tensor(states) if return_tensors else states.tolist())
        return results


PIPELINES: dict[str, type[Pipeline]] = {
    each.task: each
    for each in (
        TextClassificationPipeline, TokenClassificationPipeline, QuestionAnsweringPipeline, TextGenerationPipeline,
        FeatureExtractionPipeline,
    )
}
PIPELINES.update({"sentiment-analysis": TextClassificationPipeline, "ner": TokenClassificationPipeline})


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    revision: str = "main",
    dtype: Any = "auto",
    model_kwargs: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Pipeline:
    """A task on a model.

    task: "text-classification" ("sentiment-analysis"), "question-answering", "token-classification"
    ("ner"), "text-generation", "feature-extraction". model: a model, or what from_pretrained takes;
    None: the model that ships. tokenizer: likewise; None: the model's. kwargs: defaults of the
    calls. Raises ValueError for another task.
    """
    if task not in PIPELINES:
        raise ValueError(f"task: expected one of {', '.join(sorted(PIPELINES))}, got {task!r}")
    cls = PIPELINES[task]
    hub.drop_arguments(kwargs, "device", "device_map", "use_fast", "framework")
    loading = {"dtype": dtype, "config": config, **(model_kwargs or {})}
    if "torch_dtype" in kwargs:
        loading["torch_dtype"] = kwargs.pop("torch_dtype")
    where = model
    if model is None or not hasattr(model, "engine"):
        model = cls.auto.from_pretrained(where, revision=revision, **loading)
    else:
        where = model.name_or_path
    if tokenizer is None or not hasattr(tokenizer, "engine"):
        tokenizer = AutoTokenizer.from_pretrained(where if tokenizer is None else tokenizer, revision=revision)
    return cls(model, tokenizer, **kwargs)
