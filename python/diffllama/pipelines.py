"""pipeline: from text to answers, as transformers' pipelines give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .modeling import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from .tokenization import AutoTokenizer, PreTrainedTokenizer


def _softmax(logits: Any) -> Any:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-logits))


class Pipeline:
    """A model with its tokenizer, called on a text or a list of texts, which gives a list."""

    auto: Any = AutoModel
    task = ""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizer, **defaults: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.defaults = defaults

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        options = {**self.defaults, **kwargs}
        options.pop("batch_size", None)  # one text at a time: no padding changes a bit
        if isinstance(inputs, list) and self._is_batch(inputs):
            return [self.run(each, **options) for each in inputs]
        return self.run(inputs, **options)

    def _is_batch(self, inputs: list[Any]) -> bool:
        return True

    def run(self, text: Any, **options: Any) -> Any:
        """One text's answer."""
        raise NotImplementedError

    def _encode(self, text: Any, pair: Any = None, **options: Any) -> Any:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return self.tokenizer(text, pair, truncation=limit is not None, max_length=limit, return_tensors="np", **options)


class TextClassificationPipeline(Pipeline):
    """Labels of a text: [{"label", "score"}]. top_k: how many; None: all. function_to_apply:
    "softmax", "sigmoid", "none"; None: as config.problem_type says."""

    auto = AutoModelForSequenceClassification
    task = "text-classification"

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        result = super().__call__(inputs, **kwargs)
        flat = {**self.defaults, **kwargs}.get("top_k", 1) == 1 and "top_k" not in {**self.defaults, **kwargs}
        if isinstance(inputs, list):
            return [each[0] for each in result] if flat else result
        return result

    def run(self, text: Any, top_k: int | None = 1, function_to_apply: str | None = None, **options: Any) -> Any:
        """One text's labels, the likeliest first."""
        pair = None
        if isinstance(text, dict):
            text, pair = text["text"], text.get("text_pair")
        inputs = self._encode(text, pair)
        logits = self.model(input_ids=inputs["input_ids"], use_cache=False).logits[0]
        config = self.model.config
        if function_to_apply is None:
            if config.problem_type == "multi_label_classification" or len(logits) == 1:
                function_to_apply = "none" if config.problem_type == "regression" else "sigmoid"
            else:
                function_to_apply = "none" if config.problem_type == "regression" else "softmax"
        scores = {"softmax": _softmax, "sigmoid": _sigmoid}.get(function_to_apply, lambda each: each)(logits)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": config.id2label[int(i)], "score": float(scores[i])} for i in order]


class TokenClassificationPipeline(Pipeline):
    """Entities of a text: [{"entity", "score", "index", "word", "start", "end"}].

    aggregation_strategy: "none", or "simple", "first", "average", "max", which join tokens to
    {"entity_group", "score", "word", "start", "end"}. ignore_labels: ["O"].
    """

    auto = AutoModelForTokenClassification
    task = "token-classification"

    def run(
        self, text: Any, aggregation_strategy: str = "none", ignore_labels: tuple[str, ...] | list[str] = ("O",), **options: Any
    ) -> Any:
        """One text's entities in its order."""
        inputs = self._encode(text, return_offsets_mapping=True)
        scores = _softmax(self.model(input_ids=inputs["input_ids"], use_cache=False).logits[0])
        labels = self.model.config.id2label
        tokens = []
        for i, (begin, end) in enumerate(inputs["offset_mapping"][0].tolist()):
            if inputs.sequence_ids()[i] is None:
                continue
            word = self.tokenizer.convert_ids_to_tokens(int(inputs["input_ids"][0, i]))
            tokens.append(
                {"scores": scores[i], "index": i, "word": word, "start": begin, "end": end, "word_id": inputs.word_ids()[i],
                 "id": int(inputs["input_ids"][0, i])}
            )
        if aggregation_strategy == "none":
            entities = [
                {"entity": labels[int(t["scores"].argmax())], "score": float(t["scores"].max()),
                 **{name: t[name] for name in ("index", "word", "start", "end")}}
                for t in tokens
            ]
            return [e for e in entities if e["entity"] not in ignore_labels]
        units = [self._unit([t], "simple") for t in tokens]
        if aggregation_strategy != "simple":
            words: list[list[dict[str, Any]]] = []
            for token in tokens:
                if words and words[-1][-1]["word_id"] == token["word_id"]:
                    words[-1].append(token)
                else:
                    words.append([token])
            units = [self._unit(word, aggregation_strategy) for word in words]
        return [g for g in self._groups(units) if g["entity_group"] not in ignore_labels]

    def _unit(self, tokens: list[dict[str, Any]], strategy: str) -> dict[str, Any]:
        if strategy == "average":
            scores = np.mean([t["scores"] for t in tokens], axis=0)
        elif strategy == "max":
            scores = max((t["scores"] for t in tokens), key=lambda each: float(each.max()))
        elif strategy in ("simple", "first"):
            scores = tokens[0]["scores"]
        else:
            raise ValueError(f"aggregation_strategy: expected none, simple, first, average or max, got {strategy}")
        label = self.model.config.id2label[int(scores.argmax())]
        return {"label": label, "score": float(scores.max()), "ids": [t["id"] for t in tokens],
                "start": tokens[0]["start"], "end": tokens[-1]["end"]}

    def _groups(self, units: list[dict[str, Any]]) -> list[dict[str, Any]]:
        groups: list[list[dict[str, Any]]] = []
        for unit in units:
            tag = unit["label"].split("-", 1)[-1]
            begins = unit["label"].startswith("B-")
            if groups and not begins and groups[-1][-1]["label"].split("-", 1)[-1] == tag:
                groups[-1].append(unit)
            else:
                groups.append([unit])
        return [
            {"entity_group": g[0]["label"].split("-", 1)[-1], "score": float(np.mean([u["score"] for u in g])),
             "word": self.tokenizer.decode([i for u in g for i in u["ids"]]), "start": g[0]["start"], "end": g[-1]["end"]}
            for g in groups
        ]


class QuestionAnsweringPipeline(Pipeline):
    """The answer in a context: {"score", "start", "end", "answer"}; a list with top_k > 1.

    question, context: or a dictionary of both, or a list of such. doc_stride: tokens that pieces of
    a long context share. max_seq_len: of a piece. max_answer_len: tokens.
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
        self, text: Any, top_k: int = 1, doc_stride: int | None = None, max_answer_len: int = 15, max_seq_len: int | None = None,
        handle_impossible_answer: bool = False, **options: Any,
    ) -> Any:
        """One question's answers, the likeliest first."""
        context = text["context"]
        longest = min(384, getattr(self.model.config, "max_position_embeddings", 384))
        limit = min(max_seq_len or longest, longest)
        pieces = self.tokenizer(
            text["question"], context, truncation="only_second", max_length=limit,
            stride=min(limit // 2, 128) if doc_stride is None else doc_stride, return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        answers: list[dict[str, Any]] = []
        impossible = 1e6
        for number, ids in enumerate(pieces["input_ids"]):
            output = self.model(input_ids=np.array([ids]))
            inside = np.array([each == 1 for each in pieces.sequence_ids(number)])
            if handle_impossible_answer:
                inside[0] = True
            scores = []
            for logits in (output.start_logits[0], output.end_logits[0]):
                shown = np.where(inside, logits, -10000.0)
                scores.append(_softmax(shown))
            if handle_impossible_answer:
                impossible = min(impossible, float(scores[0][0] * scores[1][0]))
                scores[0][0] = scores[1][0] = 0
            table = np.tril(np.triu(np.outer(scores[0], scores[1])), max_answer_len - 1)
            flat = table.reshape(-1)
            for place in np.argsort(-flat)[: max(top_k, 1)]:
                begin, end = divmod(int(place), len(ids))
                if not inside[begin] or not inside[end]:
                    continue
                first, last = pieces["offset_mapping"][number][begin][0], pieces["offset_mapping"][number][end][1]
                answers.append({"score": float(flat[place]), "start": first, "end": last, "answer": context[first:last]})
        if handle_impossible_answer:
            answers.append({"score": impossible, "start": 0, "end": 0, "answer": ""})
        answers = sorted(answers, key=lambda each: -each["score"])[:top_k]
        for each in answers:
            shift = len(each["answer"]) - len(each["answer"].lstrip())
            each["start"] += shift
            each["answer"] = each["answer"].strip()
            each["end"] = each["start"] + len(each["answer"])
        return answers[0] if top_k == 1 and answers else answers


class TextGenerationPipeline(Pipeline):
    """Continues a text: [{"generated_text"}]; or a conversation, whose messages then have one more.

    return_full_text: False leaves the prompt out. All else goes to generate, with transformers'
    defaults of this pipeline: do_sample, temperature 0.7, 256 new tokens.
    """

    auto = AutoModelForCausalLM
    task = "text-generation"

    def _is_batch(self, inputs: list[Any]) -> bool:
        return len(inputs) == 0 or not isinstance(inputs[0], dict)

    def run(
        self, text: Any, return_full_text: bool | None = None, return_tensors: bool = False, return_text: bool | None = None,
        **options: Any,
    ) -> Any:
        """One text's continuations."""
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
    """The last hidden state of each token: nested lists [1, T, C]; arrays with return_tensors."""

    task = "feature-extraction"

    def run(self, text: Any, return_tensors: bool = False, **options: Any) -> Any:
        """One text's states."""
        inputs = self._encode(text)
        states = self.model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state
        return states if return_tensors else states.tolist()


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
