"""pipeline: from text to answers, as transformers' pipelines give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _core
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
    alone, so batch_size changes nothing.
    """

    auto: Any = AutoModel
    task = ""
    run: Any  # (inputs, **options): the answer of each

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizer, **defaults: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.defaults = defaults

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        options = {**self.defaults, **kwargs}
        options.pop("batch_size", None)
        if isinstance(inputs, list) and self._is_batch(inputs):
            return self.run(inputs, **options)
        return self.run([inputs], **options)[0]

    def _is_batch(self, inputs: list[Any]) -> bool:
        return True


class TextClassificationPipeline(Pipeline):
    """Labels of texts: [{"label", "score"}], the highest first.

    Takes texts, or dictionaries of text and text_pair. top_k: 1, or None for all; one asked for
    gives a list of its own for a text. function_to_apply: "softmax", "sigmoid", "none"; None: as
    config.problem_type says. truncation, max_length: as the tokenizer's call has them.
    """

    auto = AutoModelForSequenceClassification
    task = "text-classification"

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        result = super().__call__(inputs, **kwargs)
        if "top_k" in {**self.defaults, **kwargs}:
            return result
        return [each[0] for each in result] if isinstance(inputs, list) else result

    def run(
        self, inputs: list[Any], top_k: int | None = 1, function_to_apply: str | None = None, truncation: bool | str = False,
        max_length: int | None = None,
    ) -> list[Any]:
        """Each text's labels."""
        ids = []
        for each in inputs:
            text, pair = (each["text"], each.get("text_pair")) if isinstance(each, dict) else (each, None)
            ids.append(self.tokenizer(text, pair, truncation=truncation, max_length=max_length)["input_ids"])
        function = _engine_option("function_to_apply", function_to_apply or "automatic", _core.ScoreFunction)
        rows = _core.classify(self.model.engine, self.tokenizer.engine, ids, top_k or 0, function)
        return [[{"label": label, "score": score} for label, score in zip(*row)] for row in rows]


class TokenClassificationPipeline(Pipeline):
    """Entities of a text: [{"entity", "score", "index", "word", "start", "end"}].

    aggregation_strategy: "none", or "simple", "first", "average", "max", which join tokens to
    {"entity_group", "score", "word", "start", "end"}. ignore_labels: ["O"]. is_split_into_words:
    each text is a list of its words.
    """

    auto = AutoModelForTokenClassification
    task = "token-classification"

    def __call__(self, inputs: Any, is_split_into_words: bool = False, **kwargs: Any) -> Any:
        if is_split_into_words and inputs and isinstance(inputs[0], str):
            return super().__call__([inputs], is_split_into_words=True, **kwargs)[0]
        return super().__call__(inputs, is_split_into_words=is_split_into_words, **kwargs)

    def run(
        self, inputs: list[Any], aggregation_strategy: str = "none", ignore_labels: Sequence[str] = ("O",),
        is_split_into_words: bool = False,
    ) -> list[Any]:
        """Each text's entities in its order."""
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

    return_full_text: False leaves the prompt out. All else goes to generate, with transformers'
    defaults of this pipeline: do_sample, temperature 0.7, 256 new tokens.
    """

    auto = AutoModelForCausalLM
    task = "text-generation"

    def _is_batch(self, inputs: list[Any]) -> bool:
        return len(inputs) == 0 or not isinstance(inputs[0], dict)

    def run(self, inputs: list[Any], **options: Any) -> list[Any]:
        """Each text's continuations."""
        return [self._continue(each, **options) for each in inputs]

    def _continue(
        self, text: Any, return_full_text: bool | None = None, return_tensors: bool = False, return_text: bool | None = None,
        **options: Any,
    ) -> Any:
        chat = isinstance(text, list)
        if chat:
            inputs = self.tokenizer.apply_chat_template(text, add_generation_prompt=True, return_tensors="np")
        else:
            inputs = self.tokenizer(text, return_tensors="np")
        if "generation_config" not in options:  # transformers' defaults of this pipeline
            options = {"do_sample": True, "temperature": 0.7, **options}
            if "max_length" not in options:
                options.setdefault("max_new_tokens", 256)
        rows = self.model.generate(
            inputs["input_ids"], attention_mask=inputs["attention_mask"], tokenizer=self.tokenizer, **options
        )
        if return_tensors:
            return [{"generated_token_ids": row.tolist()} for row in rows]
        answers = []
        for row in rows:
            new = self.tokenizer.decode(row[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            full = return_full_text is None or return_full_text
            if chat:
                answers.append({"generated_text": [*text, {"role": "assistant", "content": new}] if full else new})
            else:
                answers.append({"generated_text": text + new if full else new})
        return answers


class FeatureExtractionPipeline(Pipeline):
    """The last hidden state of each token: nested lists [1, T, C]; arrays with return_tensors.

    truncation, max_length: as the tokenizer's call has them.
    """

    task = "feature-extraction"

    def run(
        self, inputs: list[Any], return_tensors: bool = False, truncation: bool | str = False, max_length: int | None = None
    ) -> list[Any]:
        """Each text's states."""
        results = []
        for text in inputs:
            encoded = self.tokenizer(text, truncation=truncation, max_length=max_length, return_tensors="np")
            states = self.model(input_ids=encoded["input_ids"], use_cache=False).last_hidden_state
            results.append(states if return_tensors else states.tolist())
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
    for name in ("device", "device_map", "trust_remote_code", "token", "use_fast", "framework"):
        kwargs.pop(name, None)
    where = model
    if model is None or not hasattr(model, "engine"):
        model = cls.auto.from_pretrained(where, revision=revision, dtype=dtype, config=config, **(model_kwargs or {}))
    else:
        where = model.name_or_path
    if tokenizer is None or not hasattr(tokenizer, "engine"):
        tokenizer = AutoTokenizer.from_pretrained(where if tokenizer is None else tokenizer, revision=revision)
    return cls(model, tokenizer, **kwargs)
