#!/usr/bin/env python3
"""Writes tests/golden/tokenizer_model/*: small tokenizer.model files with a tokenizer_config.json, and in cases.json what
transformers makes of texts ("ids" with special tokens, "decoded").

    pip install transformers==4.57.1 sentencepiece protobuf tiktoken      # in a scratch virtual environment
    tools/make_model_file_goldens.py --corpus train.jsonl

transformers 4.57.1, because later versions read a unigram tokenizer.model as if it were BPE.
"""

import argparse
import base64
import json
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.convert_slow_tokenizer import TikTokenConverter

from make_tokenizer_goldens import PIECES, TEXTS

OPTIONS = dict(byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, num_threads=1, minloglevel=2, vocab_size=600,
               normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.99)
CONFIG = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>", clean_up_tokenization_spaces=False,
              add_eos_token=False)
# Text like <0x41> is text for SentencePiece, and the byte's token for the tokenizers library.
TEXTS = [text for text in [*TEXTS, *PIECES] if text.strip("▁ ") and "<0x" not in text] + [ "a<|user|>b <|user|>", "<s> x</s>y", "<|x|> <|x|>b", "Hello<s>Hello", "", "  a"]


def token(content, special=False):
    return dict(content=content, special=special, normalized=False, lstrip=False, rstrip=False, single_word=False)


def sentencepiece_model(folder, lines, **options):
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "lines.txt"
    text.write_text("\n".join(lines))
    sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(folder / "tokenizer"), **OPTIONS, **options)
    text.unlink()
    (folder / "tokenizer.vocab").unlink()


def write(folder, config, tokenizer, texts=TEXTS):
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n")
    if isinstance(tokenizer, LlamaTokenizer):  # a slow one puts blanks around special tokens when it decodes
        cases = [dict(text=text, ids=tokenizer.encode(text)) for text in texts]
    else:
        cases = [dict(text=text, ids=(ids := tokenizer.encode(text).ids), decoded=tokenizer.decode(ids, skip_special_tokens=False)) for text in texts]
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def backend(folder, config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return AutoTokenizer.from_pretrained(folder).backend_tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests/golden/tokenizer_model")
    arguments = parser.parse_args()
    texts = [json.loads(line)["text"] for line, _ in zip(open(arguments.corpus, encoding="utf-8"), range(60))]
    lines = [line for text in texts for line in text.split("\n") if line.strip()]

    folder = arguments.out / "unigram_no_prefix"
    sentencepiece_model(folder, lines, model_type="unigram", add_dummy_prefix=False, user_defined_symbols=["<|x|>"])
    added = {"0": token("<unk>", True), "1": token("<s>", True), "2": token("</s>", True), "600": token("<|user|>"), "601": token("<|assistant|>")}
    config = CONFIG | dict(legacy=False, add_prefix_space=False, add_bos_token=False, added_tokens_decoder=added)
    write(folder, config, backend(folder, config))
    # What a tokenizer_config.json leaves out has LlamaTokenizer's defaults; null is not the same as absent.
    for name, fields in [("bpe_llama", dict(legacy=False, add_bos_token=True)), ("bpe_legacy", dict(legacy=True, add_bos_token=True)),
                         ("bpe_defaults", {}), ("bpe_null_prefix", dict(legacy=None, add_prefix_space=None, add_bos_token=None))]:
        folder = arguments.out / name
        sentencepiece_model(folder, lines, model_type="bpe", add_dummy_prefix=True)
        config = CONFIG | fields
        write(folder, config, backend(folder, config))

    # What old directories have instead of added_tokens_decoder, as slow tokenizers read it: ids with gaps, in any order.
    folder = arguments.out / "bpe_added_tokens"
    sentencepiece_model(folder, lines, model_type="bpe", add_dummy_prefix=True)
    (folder / "added_tokens.json").write_text(json.dumps({"<|user|>": 605, "[PAD]": 600, "<|end|>": 602}) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]", "additional_special_tokens": ["<|end|>"]}) + "\n")
    config = CONFIG | dict(add_bos_token=True)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    write(folder, config, LlamaTokenizer.from_pretrained(folder), ["a<|user|>b <|user|>", "[PAD]<|end|> x", "Hello<|end|>Hello[PAD]", "the <|user|>of<|end|>", "x"])

    folder = arguments.out / "tiktoken"
    folder.mkdir(parents=True, exist_ok=True)
    golden = json.loads((arguments.out.parent / "tokenizer/llama3.json").read_text())["tokenizer"]["model"]["vocab"]
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
    ranks = {bytes(byte_of[c] for c in text): rank for text, rank in golden.items()}
    (folder / "tokenizer.model").write_text("".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in sorted(ranks.items(), key=lambda i: i[1])))
    size = len(ranks)
    extra = [f"<|reserved_token_{size}|>", "<|user|>", f"<|reserved_token_{size + 2}|>", "<s>"]
    config = dict(tokenizer_class="PreTrainedTokenizerFast", added_tokens_decoder={str(size + 3): token("<s>", True), str(size + 1): token("<|user|>", True)})
    write(folder, config, TikTokenConverter(str(folder / "tokenizer.model"), additional_special_tokens=extra).converted())


if __name__ == "__main__":
    main()
