#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/*.json: small tokenizers in the pipelines of GPT-2, Llama 3, Qwen 2 and SmolLM2, and
of every component, with what the tokenizers library makes of texts of every sort.

    pip install tokenizers transformers      # in a scratch virtual environment
    tools/make_tokenizer_goldens.py --corpus train.jsonl      # lines of {"text": ...} to train on

Each file has "tokenizer" (a tokenizer.json) or "gguf" (the keys tokenizer.ggml.*), and "cases": "text", or "hex" for
bytes that are not UTF-8; "ids" and "offsets" (in bytes of the text; begin and end in turn) with special tokens;
"plain" ids without; "decoded" and "skipped" (without special tokens) text of "ids". Those of tokenizer_components.py
also have "words" (word ids, -1 for none), "types", "special" and "attention" (masks), "pair" (a second text, whose
offsets are in its own bytes), and "error": true where the library cannot encode.
"""

import argparse
import codecs
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

PIECES = ["a", "the", " the", " of", "Hello", " World", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "'s", "'S", "'LL", "DON'T",
          "don't", "’s", "ſ", "'ſ", "K", "12", "1234567", "٣٤", "²", "Ⅷ", "½", "é", "e\u0301", "\u0301", "e\u0301\u0302",
          "ß", "ﬁ", "Å", "Å", "İ", "Σς", "日本語", "한국어", "\u1112\u1161\u11ab", "👍", "👩‍👩‍👧", "🏳️‍🌈", "\u200d", "\u200b",
          "\xa0", "\u3000", "\u2028", "\x85", "\u180e", "\ufeff", "?!", "...", "—", "«", "$", "+", "<", "_", "__", "()", "[]",
          "\\", "/", "#", "<s>", "</s>", "<mask>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<tool_call>",
          "x=1", "def f():\n    return", "http://a.b/c?d=e", "привет", "שלום", "हिन्दी", "ไทย", "𝐀", "\x00", "\x7f", "ﷺ", "ǆ",
          "\u0958", "a\u0323\u0307", "a\u0307\u0323", "Ⓐ", "ﾊﾟ", "\u1e9b\u0323", "Ġ", "▁", "<0x0A>", "\ufffd", "word_", "3.14",
          "éa", "e\u0301a"]
TEXTS = ["", " ", "Hello, world! It's 2024.", "I'LL we're they'd DON'T", "  leading and trailing  ", "a" * 70, " " * 40,
         "tabs\tand\nnewlines\r\n\r\n  mixed \n x", "1234567890 3.14 ½ ² Ⅷ ٣٤ 1,000", "日本語 한국어 ไทย हिन्दी שלום مرحبا",
         "👍 👩‍👩‍👧 🏳️‍🌈 🇨🇭 ❤️", "é e\u0301 Å ﬁ ß İ Σς ǆ", "<|endoftext|>", "a<|im_start|>user\nhi<|im_end|>\n",
         "<s> x </s>  y<mask> z", "x \u3000<mask>\u3000 y </s>\u2003 z", "the other theHello the_ the the-DON'T x",
         "日本 日本語", "\xa0\u2028\u3000\x85\u180e\u200b\ufeff|", "x == y && z != w; // ok\n\treturn {a[0]};", "Ġthe ▁x <0x41>"]
INVALID = [b"\xff", b"abc\x80def", b"\xe2\x82", b"\xe2\x82x", b"\xf0\x9f\x91", b"\xed\xa0\x80", b"\xc0\xafz", b"a\xf8\x88\x80b", b"\xc3\xa9\xc3 ok"]


def byte_level(use_regex=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


class Maker:
    def __init__(self, corpus, out):
        lines = [json.loads(line)["text"] for line, _ in zip(open(corpus, encoding="utf-8"), range(150))]
        self.texts = [line[:4000] for line in lines] + TEXTS + PIECES * 3
        self.out = out
        rng = random.Random(1)
        mixed = ["".join(rng.choice(PIECES) for _ in range(rng.randint(2, 9))) for _ in range(70)]
        self.many = TEXTS + PIECES + mixed
        self.few = TEXTS + mixed[:20]

    def train(self, tokenizer, size, special=(), **options):
        alphabet = pre_tokenizers.ByteLevel.alphabet() if "initial_alphabet" not in options else options.pop("initial_alphabet")
        tokenizer.train_from_iterator(self.texts, trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False, **options))
        return tokenizer

    def gpt2(self, size=700):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = byte_level(True), decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
        return self.train(t, size, ["<|endoftext|>"])

    def llama3(self):
        t = Tokenizer(models.BPE(ignore_merges=True))
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte_level()])
        t.decoder = decoders.ByteLevel()
        self.train(t, 700)
        t.add_special_tokens(["<|endoftext|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
        bos = "<|begin_of_text|>"
        t.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
            processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, t.token_to_id(bos))])])
        return t

    def qwen2(self):
        t = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
        t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level()])
        t.decoder = decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=False, add_prefix_space=False)
        self.train(t, 700)
        t.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        t.add_tokens([AddedToken("<tool_call>", normalized=False)])
        return t

    def smollm2(self):
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)])
        t.decoder = decoders.ByteLevel()
        return self.train(t, 700, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])

    def added(self, normalizer=None):
        t = Tokenizer(models.BPE())
        if normalizer is not None:
            t.normalizer = normalizer
        t.pre_tokenizer, t.decoder = byte_level(True, prefix=True), decoders.ByteLevel()
        t.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=True)
        self.train(t, 400, ["<s>"])
        t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True), AddedToken("</s>", rstrip=True, special=True)])
        t.add_tokens([AddedToken("the", single_word=True), AddedToken("Hello", normalized=True),
                      AddedToken("DON'T", single_word=True, lstrip=True, rstrip=True, normalized=False),
                      AddedToken("éa", normalized=True), AddedToken("  ", normalized=False, rstrip=True),
                      AddedToken("日本", single_word=True)])
        return t

    def sentencepiece_like(self):
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        self.train(t, 500, ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)], initial_alphabet=[], max_token_length=8,
                   limit_alphabet=60)
        t.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)])
        return t

    def words(self, pre_tokenizer, decoder=None, unk="<unk>", fuse_unk=False, **affixes):
        t = Tokenizer(models.BPE(unk_token=unk, fuse_unk=fuse_unk, **affixes))
        t.pre_tokenizer = pre_tokenizer
        if decoder is not None:
            t.decoder = decoder
        return self.train(t, 300, ["<unk>"], initial_alphabet=[], limit_alphabet=80, **affixes)

    def variant(self, base, pre_tokenizer, normalizer=None, post_processor=None):
        t = Tokenizer.from_str(base.to_str())
        t.pre_tokenizer = pre_tokenizer
        if normalizer is not None:
            t.normalizer = normalizer
        if post_processor is not None:
            t.post_processor = post_processor
        return t

    def splits(self, base):
        pattern = Regex(r"\s+|\d|é*")
        for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
            for invert in [False, True]:
                split = pre_tokenizers.Split(pattern if not invert else "e", behavior, invert)
                yield f"split_{behavior}{'_inverted' * invert}", self.variant(base, pre_tokenizers.Sequence([split, byte_level()]))

    def write(self, name, tokenizer, texts, gguf=None):
        cases = [case(tokenizer, text) for text in texts] + [invalid_case(tokenizer, data) for data in INVALID]
        content = {"gguf": gguf} if gguf else {"tokenizer": json.loads(tokenizer.to_str())}
        lines = ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases)
        head = json.dumps(content, ensure_ascii=False, separators=(",", ":"))[:-1]
        (self.out / f"{name}.json").write_text(f'{head},\n"cases":[\n{lines}\n]}}\n', encoding="utf-8")

    def write_gguf(self, name, pre, tokenizer, add_bos, texts):
        """As transformers converts tokenizer.ggml.* (it splits smollm as GPT-2)."""
        from transformers.integrations.gguf import convert_gguf_tokenizer

        data = json.loads(tokenizer.to_str())
        tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
        added = {t["content"]: t["special"] for t in data["added_tokens"]}
        types = [1 if t not in added else 3 if added[t] else 4 for t in tokens]
        gguf = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": types,
                "merges": [" ".join(m) for m in data["model"]["merges"]]}
        converted, _ = convert_gguf_tokenizer("llama", dict(
            tokenizer_type="gpt2", pre_tokenizer_type=pre, tokens=tokens, token_type=types, merges=gguf["merges"]))
        bos, eos = tokens[-1], tokens[-2]
        gguf |= {"bos_token_id": len(tokens) - 1, "eos_token_id": len(tokens) - 2, "add_bos_token": add_bos, "add_eos_token": not add_bos}
        converted.add_special_tokens([bos, eos])
        single = f"{bos} $A" if add_bos else f"$A {eos}"
        converted.post_processor = processors.TemplateProcessing(
            single=single, pair="$A $B", special_tokens=[(bos, len(tokens) - 1), (eos, len(tokens) - 2)])
        self.write(f"gguf_{name}", converted, texts, gguf)


def case(tokenizer, text, boundaries=None, source=None):
    encoded = tokenizer.encode(text)
    if boundaries is None:  # where each character begins, in bytes
        boundaries = [0]
        for character in text:
            boundaries.append(boundaries[-1] + len(character.encode()))
    offsets = [boundaries[at] for span in encoded.offsets for at in span]
    return (source or {"text": text}) | {
        "ids": encoded.ids, "offsets": offsets, "plain": tokenizer.encode(text, add_special_tokens=False).ids,
        "decoded": tokenizer.decode(encoded.ids, skip_special_tokens=False), "skipped": tokenizer.decode(encoded.ids)}


def invalid_case(tokenizer, data):
    replaced = []

    def handler(error):
        replaced.append((error.start, error.end))
        return "\ufffd", error.end

    codecs.register_error("note", handler)
    text = data.decode("utf-8", errors="note")
    boundaries, ends = [0], dict(replaced)
    for character in text:
        at = boundaries[-1]
        boundaries.append(ends[at] if at in ends else at + len(character.encode()))
    return case(tokenizer, text, boundaries, {"hex": data.hex()})


def full_case(tokenizer, text, pair=None):
    """A case with all that an Encoding has. Offsets of the pair's tokens are bytes of the pair."""
    source = {"text": text} | ({} if pair is None else {"pair": pair})
    try:
        encoded = tokenizer.encode(text, pair)
    except Exception:
        return source | {"error": True}
    starts = []
    for each in [text, pair or ""]:
        starts.append([0])
        for character in each:
            starts[-1].append(starts[-1][-1] + len(character.encode()))
    offsets = [starts[sequence or 0][at] for span, sequence in zip(encoded.offsets, encoded.sequence_ids) for at in span]
    return source | {
        "ids": encoded.ids, "offsets": offsets, "plain": plain_ids(tokenizer, text, pair),
        "decoded": tokenizer.decode(encoded.ids, skip_special_tokens=False), "skipped": tokenizer.decode(encoded.ids),
        "words": [-1 if word is None else word for word in encoded.word_ids], "types": encoded.type_ids,
        "special": encoded.special_tokens_mask, "attention": encoded.attention_mask}


def plain_ids(tokenizer, text, pair):
    try:
        return tokenizer.encode(text, pair, add_special_tokens=False).ids
    except Exception:
        return None


def write_components(make):
    from tokenizer_components import components

    for name, tokenizer in components(make.texts):
        cases = [full_case(tokenizer, text) for text in make.few]
        cases += [full_case(tokenizer, a, b) for a, b in zip(make.few[:14], make.few[2:])]
        lines = ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases)
        head = json.dumps({"tokenizer": json.loads(tokenizer.to_str())}, ensure_ascii=False, separators=(",", ":"))[:-1]
        (make.out / f"c_{name}.json").write_text(f'{head},\n"cases":[\n{lines}\n]}}\n', encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", required=True, help="JSON lines with a text each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "tests/golden/tokenizer")
    parser.add_argument("--components", action="store_true", help="make only those of tokenizer_components.py")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    make = Maker(arguments.corpus, arguments.out)

    write_components(make)
    if arguments.components:
        return

    pipelines = {"gpt2": make.gpt2(), "llama3": make.llama3(), "qwen2": make.qwen2(), "smollm2": make.smollm2()}
    for name, tokenizer in pipelines.items():
        make.write(name, tokenizer, make.many)
    for name, pre, add_bos in [("gpt2", "gpt-2", False), ("llama3", "llama-bpe", True), ("qwen2", "qwen2", False), ("smollm2", "smollm", True)]:
        make.write_gguf(name, pre, pipelines[name], add_bos, make.few)

    make.write("added_tokens", make.added(), make.many)
    make.write("added_tokens_nfc", make.added(normalizers.NFC()), make.few)
    make.write("added_tokens_lowercase", make.added(normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])), make.few)
    make.write("added_tokens_strip", make.added(normalizers.Strip()), make.few)
    make.write("sentencepiece_like", make.sentencepiece_like(), make.many)
    make.write("metaspace", make.words(pre_tokenizers.Metaspace(), decoders.Metaspace()), make.few)
    first = dict(prepend_scheme="first", split=False)
    make.write("metaspace_first", make.words(pre_tokenizers.Metaspace(**first), decoders.Metaspace(prepend_scheme="first")), make.few)
    make.write("whitespace", make.words(pre_tokenizers.Whitespace()), make.few)
    split_words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    make.write("punctuation", make.words(split_words, fuse_unk=True), make.few)
    make.write("affixes", make.words(pre_tokenizers.WhitespaceSplit(), continuing_subword_prefix="##", end_of_word_suffix="</w>"), make.few)
    make.write("no_unk", make.words(pre_tokenizers.WhitespaceSplit(), unk=None), make.few)

    base = make.gpt2(330)
    for name, tokenizer in make.splits(base):
        make.write(name, tokenizer, make.few)
    for name in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"]:
        make.write(f"normalizer_{name.lower()}", make.variant(base, byte_level(), getattr(normalizers, name)()), make.few + PIECES)
    replace = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace("e", "XY"), normalizers.Replace("a", ""),
                                    normalizers.Strip(left=True, right=False)])
    make.write("normalizer_replace", make.variant(base, byte_level(), replace), make.few)
    twice = pre_tokenizers.Sequence([byte_level(True, prefix=True), byte_level(True)])
    make.write("byte_level_twice", make.variant(base, twice), make.few)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(False), byte_level(True, prefix=True)])
    make.write("digits", make.variant(base, digits, None, processors.ByteLevel(trim_offsets=True, add_prefix_space=True)), make.few)
    for name, pattern in [("gpt4o", GPT4O), ("words", r"\b\w{1,3}+|\W+?$|^\s|[[:punct:]]{,2}"), ("flags", r"a(?i)b|THE|(?m:e.)|\h{2}|[^\S\n]x?+")]:
        split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level()])
        make.write(f"regex_{name}", make.variant(base, split), make.few)


if __name__ == "__main__":
    main()
