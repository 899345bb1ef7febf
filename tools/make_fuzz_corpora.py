#!/usr/bin/env python3
"""Makes what the fuzzers of training, adapters and conversion begin with: tests/fuzz/corpus/NAME for the names below.

    python3 tools/make_fuzz_corpora.py

Small files that are right, and some that are nearly so; the fuzzers find the others. Needs numpy and safetensors. Files
that a fuzzer has added stay."""

import json
import shutil
import struct
from pathlib import Path

import numpy
from safetensors.numpy import save_file

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "golden"
CORPUS = REPOSITORY / "tests" / "fuzz" / "corpus"


def folder(name):
    path = CORPUS / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def texts(name, files):
    for file, text in files.items():
        (folder(name) / file).write_bytes(text.encode() if isinstance(text, str) else text)


def squad(context, question, answers, **more):
    qa = {"id": "1", "question": question, "answers": answers, **more}
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": context, "qas": [qa]}]}]})


def token_shard(tokens, documents, bytes_per_token=2, vocab_size=300, last=1):
    """src/training/data/token_shard.h; the target puts the checksums in."""
    header = b"DLTOKENS" + struct.pack("<IIII", 1, 96, bytes_per_token, last)
    header += struct.pack("<9Q", 0, vocab_size, 5, 6, 0, len(tokens), len(documents), 0, 0)
    kind = "<u2" if bytes_per_token == 2 else "<u4"
    return header + numpy.array(documents, "<u8").tobytes() + numpy.array(tokens, kind).tobytes()


def words(rows):
    return "".join("\t".join(row + ["_"] * (10 - len(row))) + "\n" for row in rows) + "\n"


def make_texts():
    texts(
        "squad",
        {
            "one.json": squad("The king is here.", "Who?", [{"text": "king", "answer_start": 4}]),
            "none.json": squad("The king.", "Who?", [], is_impossible=True),
            "umlaut.json": squad("Über 😀 der König", "Wer?", [{"text": "König", "answer_start": 11}]),
            "wrong_place.json": squad("The king.", "Who?", [{"text": "king", "answer_start": 5}]),
        },
    )
    the = ["1", "The", "the", "DET", "DT"]
    texts(
        "conllu",
        {
            "two.conllu": "# text = The king\n" + words([the, ["2", "king", "king", "NOUN", "NN"]]),
            "multiword.conllu": words(
                [["1-2", "du"], ["1", "de", "_", "ADP"], ["2", "le", "_", "DET"], ["2.1", "x"]]
            ),
            "no_space.conllu": words([the[:5] + ["_"] * 4 + ["SpaceAfter=No"], ["2", ".", "_", "PUNCT"]]),
            "nine_columns.conllu": "\t".join(the + ["_"] * 4) + "\n",
        },
    )
    texts(
        "conll",
        {
            "conll2003.txt": "-DOCSTART- -X- -X- O\n\nAnna NNP B-NP B-PER\nsleeps VBZ B-VP O\n",
            "bio.txt": "Anna\tB-PER\nSmith\tI-PER\n\nsleeps\tO\n",
            "short.txt": "Anna B-PER\nsleeps\n\n. O\n",
        },
    )
    texts(
        "csv",
        {
            "quotes.csv": 'a,b\r\n1,"x, ""y""\nz"\r\n',
            "tabs.tsv": 'a\tb\nsays "hi"\t2\n',
            "short.csv": "a,b\n1\n2,3\n",
            "open.csv": 'a,b\n1,"2\n',
        },
    )
    texts(
        "conversation",
        {
            "two.json": json.dumps({"messages": [{"role": "user", "content": "a"},
                                                 {"role": "assistant", "content": "b"}]}),
            "none.json": json.dumps({"messages": [{"role": "user", "content": "a"}]}),
            "list.json": json.dumps({"messages": [{"role": "assistant", "content": [1]}, 3]}),
        },
    )
    texts(
        "labelled_texts",
        {
            "names.jsonl": '{"text": "To be", "label": "b"}\n{"sentence": "or not", "label": "a"}\n',
            "numbers.jsonl": '{"text": "a", "text_pair": "b", "label": 0.5}\n{"text": "c", "label": 2}\n',
            "lists.jsonl": '{"text": "a", "label": [0, 2]}\n{"text": "b", "label": [1]}\n',
            "mixed.jsonl": '{"text": "a", "label": 0}\n{"text": "b", "label": "x"}\n',
        },
    )
    texts(
        "recipe",
        {
            "trec_lora.json": (REPOSITORY / "recipes" / "trec-lora.json").read_text(),
            "new_model.json": (REPOSITORY / "recipes" / "llama-tiny.json").read_text(),
            "field.txt": "optimizer.learning_rate=1e-3",
            "list.txt": 'data.train=["a", "b"]',
            "typo.txt": "learning_rate=1",
            "null.txt": "lora=null",
        },
    )
    state = {
        "global_step": 6,
        "optimizer_steps": 6,
        "num_examples_seen": 48,
        "num_input_tokens_seen": 1536,
        "best_metric": 8.25,
        "best_global_step": 5,
        "last_evaluation_step": 5,
        "mean_loss": 0.9,
        "mean_count": 6,
        "recipe": {"training": {"batch_size": 8}},
        "files": {"config.json": "2:00000000000000ff"},
        "checksum": "0:0",
    }
    old = {k: v for k, v in state.items() if k not in ("num_examples_seen", "last_evaluation_step")}
    texts("trainer_state", {"whole.json": json.dumps(state), "old.json": json.dumps(old)})
    texts(
        "token_shard",
        {
            "two_bytes.bin": token_shard([1, 2, 3, 299, 5], [0, 3]),
            "four_bytes.bin": token_shard([70000, 1], [0], bytes_per_token=4, vocab_size=70001),
            "too_large.bin": token_shard([300], [0]),
        },
    )
    names = {"bos_token": "<s>", "eos_token": {"content": "<s>", "lstrip": False}}
    texts(
        "tokenizer_config",
        {
            "both.json": json.dumps({"add_bos_token": True, **names}) + "\0" + json.dumps({"unk_token": "a"}),
            "added.json": json.dumps({"added_tokens_decoder": {"3": {"content": "<s>", "special": True}}, **names}),
            "listed.json": "\0".join(
                json.dumps(file)
                for file in ({"pad_token": "<a>"}, {"additional_special_tokens": ["<b>"]}, {"<b>": 900, "<c>": 901, "<a>": -1})
            ),
            "other.json": json.dumps({"bos_token": "<none>", "chat_template": "{{ x }}"}),
        },
    )


def make_tensors():
    for name in ("causal_patterns", "causal_expression", "sequence_classification", "tied_head"):
        shutil.copy(GOLDEN / "adapters" / name / "adapter_config.json", folder("adapter_config") / f"{name}.json")
    a, b = numpy.ones((2, 32), numpy.float32), numpy.ones((32, 2), numpy.float32)
    adapter = {"base_model.model.score.weight": numpy.ones((3, 32), numpy.float32)}
    for layer in range(2):
        module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        adapter |= {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}
    save_file(adapter, folder("lora_tensors") / "head.safetensors")
    adapter.pop("base_model.model.score.weight")
    save_file(adapter, folder("lora_tensors") / "no_head.safetensors")

    ids = numpy.array([[3, 4, 5, 6], [7, 8, 9, 3]], numpy.int64)
    inputs = {
        "plain": {"input_ids": ids},
        "masked": {"input_ids": ids, "attention_mask": numpy.array([[0, 1, 1, 1], [1, 1, 1, 1]])},
        "packed": {"input_ids": ids, "position_ids": numpy.array([[0, 1, 0, 1], [0, 1, 2, 3]])},
        "causal": {"input_ids": ids, "labels": ids},
        "square_mask": {"input_ids": ids, "attention_mask": numpy.tril(numpy.ones((2, 1, 4, 4), bool))},
        "classes": {"input_ids": ids, "labels": numpy.array([0, 1])},
        "numbers": {"input_ids": ids, "labels": numpy.ones((2, 2), numpy.float32)},
        "spans": {"input_ids": ids, "start_positions": numpy.array([0, 9]), "end_positions": numpy.array([1, 2])},
        "embeddings": {"inputs_embeds": numpy.ones((1, 2, 32), numpy.float32)},
    }
    for name, tensors in inputs.items():
        save_file(tensors, folder("forward_inputs") / f"{name}.safetensors")
    for name in ("keys", "types", "llama"):
        shutil.copy(CORPUS / "gguf" / f"{name}.gguf", folder("gguf_convert") / f"{name}.gguf")


if __name__ == "__main__":
    make_texts()
    make_tensors()
