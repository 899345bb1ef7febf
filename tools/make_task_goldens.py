#!/usr/bin/env python3
"""Makes tests/golden/tasks/{classify,tag,embed,answer}.json: what transformers' pipelines give for the adapters there.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch transformers==5.24.0 safetensors
    /tmp/venv/bin/pip install --target /tmp/transformers4 --no-deps transformers==4.57.1 'huggingface-hub<1.0' \\
        'tokenizers>=0.22,<=0.23.0' hf-xet requests charset_normalizer idna certifi urllib3 regex
    /tmp/venv/bin/python tools/make_task_goldens.py
    PYTHONPATH=/tmp/transformers4 /tmp/venv/bin/python tools/make_task_goldens.py answer

The question answering pipeline is that of transformers 4.57.1, the last version that has one.

Each file is a list of cases: the adapter (a folder of tests/golden/tasks, on models/diffllama-tiny; null: the model
itself), fields that its config.json gets besides, the command's options, and its inputs and outputs as the command
reads and writes them. Scores are computed in float32.

The adapters trec, xquad and ud (6 classes of questions, spans, UPOS tags) were trained by `diffllama train` on TREC,
XQuAD and UD English EWT with lora.r=4 of q_proj and v_proj, and the learning rate 5e-3, for 150, 50 and 60 steps. The
adapter ner has the weights of ud and labels in the IOB2 scheme in place of its tags."""

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoTokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
ROOT = REPOSITORY / "tests" / "golden" / "tasks"
MODEL = REPOSITORY / "models" / "diffllama-tiny"

LONG = " ".join(
    f"In the year {1800 + i} the miller of Grauhof, whose name was {name}, sold {i + 3} sacks of flour to the baker."
    for i, name in enumerate(["Anna", "Bertil", "Caecilia", "Dragan", "Eino", "Fatima", "Gustav", "Hanna"] * 6)
)
TEXTS = [
    "Who wrote the letter to the king?",
    "How many rivers are there in Finland ?",
    "What city is the capital of Peru?",
    "Why do cats purr",
    "x",
    "What does the abbreviation \"N.A.T.O.\" stand for, in plain words, please tell me at once?",
    "\N{GRINNING FACE} \N{PARTY POPPER} who? \N{FAMILY}\N{ZERO WIDTH JOINER}\N{WOMAN}",
    "Cafe\N{COMBINING ACUTE ACCENT} nai\N{COMBINING DIAERESIS}ve \N{LATIN SMALL LETTER A WITH DIAERESIS}",
    " leading and trailing spaces \n\n",
    "<s> in the text </s> and <pad>",
    "tail <pad><pad>",
    LONG[:1500],
]
PAIRS = [
    {"text": "A man sleeps.", "text_pair": "Nobody is awake."},
    {"text": "How far is it?", "text_pair": "Two miles \N{SNOWMAN}"},
    {"text": "one", "text_pair": None},
]
WORDS = [
    ["Maria", "sold", "3", "cats", "in", "New", "York", "."],
    ["nai\N{COMBINING DIAERESIS}ve", "\N{GRINNING FACE}", "don't", "state-of-the-art"],
    ["one"],
]
SENTENCES = [
    "Maria Schmidt sold 3 cats in New York yesterday.",
    "I don't know whether the state-of-the-art machine, built in 1987, works well enough!",
    "\N{GRINNING FACE}\N{PARTY POPPER} Zoe\N{COMBINING DIAERESIS} loves cre\N{COMBINING CIRCUMFLEX ACCENT}pes",
    "  two  spaces   and\nlines ",
    "<s> tokens </s> in the text",
    "a",
]
QUESTIONS = [
    {"question": "Who sold the cats?", "context": "Maria Schmidt sold 3 cats in New York yesterday."},
    {"question": "Where were the cats sold?", "context": "Maria Schmidt sold 3 cats in New York yesterday."},
    {"question": "Which miller sold ten sacks of flour?", "context": LONG},
    {"question": "When did Hanna sell flour?", "context": LONG[:900]},
    {
        "question": "Who loves cre\N{COMBINING CIRCUMFLEX ACCENT}pes?",
        "context": "\N{GRINNING FACE}\N{PARTY POPPER} Zoe\N{COMBINING DIAERESIS} loves cre\N{COMBINING CIRCUMFLEX ACCENT}"
        "pes, and \N{GREEK CAPITAL LETTER OMICRON}\N{GREEK CAPITAL LETTER DELTA}\N{GREEK CAPITAL LETTER OMICRON}"
        "\N{GREEK CAPITAL LETTER SIGMA} is a road. The road. THE ROAD. the road.",
    },
    {"question": "What?", "context": "one"},
]
# Too few spans for top_k, and a token of padding in the text.
SHORT_QUESTIONS = [
    {"question": "x", "context": "y"},
    {"question": " ", "context": "abc def"},
    {"question": "who <s>?", "context": "ctx </s> <s> x <pad>"},
]


def adapter_config(adapter):
    return json.loads((ROOT / adapter / "config.json").read_text(encoding="utf-8"))


def merged_state(adapter):
    """The model's weights with those of the adapter, float32, and the adapter's head."""
    state = {name: tensor.float() for name, tensor in load_file(MODEL / "model.safetensors").items()}
    if adapter is None:
        return state
    settings = json.loads((ROOT / adapter / "adapter_config.json").read_text(encoding="utf-8"))
    scaling = settings["lora_alpha"] / settings["r"]
    tensors = load_file(ROOT / adapter / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        name = name.removeprefix("base_model.model.")
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            b = tensors["base_model.model." + layer + ".lora_B.weight"]
            state[layer.replace("transformer.", "model.", 1) + ".weight"] += scaling * (b.float() @ tensor.float())
        elif ".lora_" not in name:
            state[name] = tensor.float()
    return state


def load(adapter, config_fields, class_name=None):
    """A model of transformers in float32, as the adapter's config.json says, with some fields changed."""
    source = json.loads((MODEL / "config.json").read_text(encoding="utf-8"))
    config = {**(source if adapter is None else adapter_config(adapter)), **config_fields, "dtype": "float32",
              "torch_dtype": "float32"}
    model_class = getattr(transformers, class_name or config["architectures"][0])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        parsed = transformers.AutoConfig.from_pretrained(folder)
    model = model_class(parsed).float().eval()
    state = merged_state(adapter)
    prefix = model_class.base_model_prefix
    own = model.state_dict()
    for name in own:
        candidates = [name, name.replace(prefix + ".", "model.", 1), "model." + name]
        found = next((state[each] for each in candidates if each in state), None)
        if found is None and name == "lm_head.weight":
            found = state["model.embed_tokens.weight"]
        own[name] = found
    model.load_state_dict(own)
    return model


def tokenizer(**settings):
    return AutoTokenizer.from_pretrained(MODEL, **settings)


def classify_cases():
    cases = []
    inputs = [{"text": text} for text in TEXTS] + PAIRS
    for fields, options in [
        ({}, {}),
        ({}, {"top_k": 2}),
        ({}, {"top_k": 50, "function": "sigmoid"}),
        ({}, {"function": "none"}),
        ({"problem_type": "multi_label_classification"}, {}),
        ({"problem_type": "regression"}, {}),
        ({"problem_type": "regression"}, {"function": "softmax"}),
    ]:
        pipe = transformers.TextClassificationPipeline(model=load("trec", fields), tokenizer=tokenizer())
        outputs = []
        for item in inputs:
            given = item["text"] if item.get("text_pair") is None else item
            scores = pipe(given, top_k=options.get("top_k"), function_to_apply=options.get("function"))
            outputs.append({"labels": [each["label"] for each in scores], "scores": [each["score"] for each in scores]})
        cases.append({"adapter": "trec", "config": fields, "options": options, "inputs": inputs, "outputs": outputs})
    return cases


def tag_cases():
    cases = []
    inputs = [{"text": text} for text in SENTENCES] + [{"words": words} for words in WORDS]
    for adapter in ("ud", "ner"):
        pipe = transformers.TokenClassificationPipeline(model=load(adapter, {}), tokenizer=tokenizer())
        for aggregation in ("none", "simple", "first", "average", "max"):
            outputs = []
            for item in inputs:
                if "words" in item:
                    entities = pipe([item["words"]], is_split_into_words=True, aggregation_strategy=aggregation)[0]
                else:
                    entities = pipe(item["text"], aggregation_strategy=aggregation)
                outputs.append({"entities": [{**each, "score": float(each["score"])} for each in entities]})
            cases.append({"adapter": adapter, "config": {}, "options": {"aggregation": aggregation}, "inputs": inputs,
                          "outputs": outputs})
    return cases


def embed_cases():
    cases = []
    inputs = [{"text": text} for text in TEXTS]
    for adapter in (None, "trec", "xquad"):
        model = load(adapter, {}, "DiffLlamaModel")
        pipe = transformers.FeatureExtractionPipeline(model=model, tokenizer=tokenizer())
        for options in ({}, {"pooling": "last"}, {"pooling": "weighted", "normalize": True}):
            if adapter is not None and options != {"pooling": "last"}:
                continue
            outputs = []
            for item in inputs:
                states = torch.tensor(pipe(item["text"])[0], dtype=torch.float64)
                weights = torch.ones(len(states), dtype=torch.float64)
                if options.get("pooling") == "weighted":
                    weights = torch.arange(1, len(states) + 1, dtype=torch.float64)
                pooled = states[-1] if options.get("pooling") == "last" else weights @ states / weights.sum()
                if options.get("normalize"):
                    pooled = pooled / pooled.norm()
                outputs.append({"embedding": [round(value, 7) for value in pooled.tolist()]})
            cases.append({"adapter": adapter, "config": {}, "options": options, "inputs": inputs, "outputs": outputs})
    return cases


def answer_cases():
    cases = []
    model = load("xquad", {})
    left = {"padding_side": "left"}
    for settings, inputs, options in (
        ({}, QUESTIONS, {}),
        ({}, QUESTIONS, {"top_k": 5}),
        ({}, QUESTIONS, {"top_k": 3, "max_answer_length": 4}),
        ({}, QUESTIONS, {"top_k": 3, "doc_stride": 10, "max_seq_length": 64}),
        ({}, QUESTIONS, {"top_k": 2, "max_seq_length": 100, "handle_impossible": True}),
        ({}, SHORT_QUESTIONS, {"top_k": 5}),
        (left, QUESTIONS + SHORT_QUESTIONS, {}),
        (left, QUESTIONS, {"top_k": 5}),
        (left, QUESTIONS, {"top_k": 3, "doc_stride": 10, "max_seq_length": 64}),
        (left, QUESTIONS, {"top_k": 2, "max_seq_length": 100, "handle_impossible": True}),
    ):
        pipe = transformers.QuestionAnsweringPipeline(model=model, tokenizer=tokenizer(**settings))
        names = {"max_answer_length": "max_answer_len", "max_seq_length": "max_seq_len",
                 "handle_impossible": "handle_impossible_answer"}
        outputs = []
        for item in inputs:
            found = pipe(**item, **{names.get(name, name): value for name, value in options.items()})
            outputs.append({"answers": found if isinstance(found, list) else [found]})
        cases.append({"adapter": "xquad", "config": {}, "tokenizer_config": settings, "options": options,
                      "inputs": inputs, "outputs": outputs})
    return cases


def main():
    torch.set_num_threads(2)
    makers = {"classify": classify_cases, "tag": tag_cases, "embed": embed_cases, "answer": answer_cases}
    for name in sys.argv[1:] or ["classify", "tag", "embed"]:
        path = ROOT / f"{name}.json"
        path.write_text(json.dumps(makers[name](), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
