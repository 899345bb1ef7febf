"""Small tokenizers that between them use every component of tokenizer.json, for make_tokenizer_goldens.py and
compare_tokenizers.py. Everything follows from the texts that they are trained on."""

import json
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
# What SentencePiece compiles into a small precompiled_charsmap: source and target, in hexadecimal code points.
RULES = [("FB01", "66 69"), ("C5", "41 30A"), ("65 301", "E9"), ("2026", "2E 2E 2E"), ("A0", "20"), ("3000", "20"), ("9", "20"),
         ("1", ""), ("7F", ""), ("61 62", "78"), ("61 62 63", "79 79"), ("1112 1161 11AB", "D55C"), ("1F468", "6D"), ("200B", "20"),
         ("2581", "20"), ("AD", ""), ("212B", "E5")]


def wordpiece(texts, size=400, **options):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", **options))
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, limit_alphabet=120))
    model = json.loads(t.to_str())["model"]
    return model["vocab"]


def bert(vocab, cased=False):
    t = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=20 if cased else 100))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=not cased)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece(prefix="##", cleanup=not cased)
    t.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    t.add_special_tokens(SPECIAL)
    return t


def word_level(texts):
    t = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS]:2 $A:3 [SEP]:4", pair="[CLS] $B:1 [SEP]:7 $A:5 [SEP]",
                                                     special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return t


def unigram_vocab(texts, bytes_too=False):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(texts, trainers.UnigramTrainer(vocab_size=350, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>",
                                                         show_progress=False))
    vocab = [tuple(piece) for piece in json.loads(t.to_str())["model"]["vocab"]]
    if bytes_too:
        vocab = vocab[:3] + [(f"<0x{byte:02X}>", -20.0) for byte in range(256)] + [piece for piece in vocab[3:] if len(piece[0]) < 9]
    return vocab


def charsmap():
    """A small precompiled_charsmap, compiled by SentencePiece from RULES."""
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "rules.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in RULES))
        (folder / "text.txt").write_text("a b c d e f g\nabc def ghi jkl\n" * 50)
        sentencepiece.SentencePieceTrainer.train(input=str(folder / "text.txt"), model_prefix=str(folder / "m"), vocab_size=20, model_type="char",
                                                 normalization_rule_tsv=str(folder / "rules.tsv"), minloglevel=2)
        return fields((fields((folder / "m.model").read_bytes()))[3])[2]


def fields(message):
    """The last value of each length-delimited field of a protocol buffer."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            varint()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or varint()
            if tag & 7 == 2:
                found[tag >> 3] = message[at:at + size]
            at += size
    return found


def unigram(vocab, byte_fallback=False, normalizer=None, **metaspace):
    t = Tokenizer(models.Unigram(vocab, 0, byte_fallback))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Metaspace(**metaspace)
    t.decoder = decoders.Metaspace(prepend_scheme=metaspace.get("prepend_scheme", "always"))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    t.add_special_tokens(["<unk>", "<s>", "</s>", "<mask>"])
    return t


def byte_level_bpe(texts, size=400, special=("<s>", "</s>", "<pad>")):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def copy(tokenizer, **parts):
    t = Tokenizer.from_str(tokenizer.to_str())
    for name, part in parts.items():
        setattr(t, name, part)
    return t


def roberta(base, prefix):
    t = copy(base, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=prefix),
             post_processor=processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=True, add_prefix_space=prefix))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return t


def openai_gpt(texts):
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True)
    t.pre_tokenizer, t.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder(suffix="</w>")
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=350, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False,
                                                     limit_alphabet=80))
    return t


def components(texts):
    """(name, tokenizer) of each."""
    base = byte_level_bpe(texts)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocab = wordpiece(texts)
    pieces, with_bytes = unigram_vocab(texts), unigram_vocab(texts, bytes_too=True)
    precompiled = normalizers.Precompiled(charsmap())

    def cut(*parts):
        return copy(base, pre_tokenizer=pre_tokenizers.Sequence([*parts, bytes_only]))

    def normalized(normalizer):
        return copy(base, normalizer=normalizer, pre_tokenizer=bytes_only)

    yield "bert", bert(vocab)
    yield "bert_cased", bert(vocab, cased=True)
    yield "wordpiece_no_prefix", copy(Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", continuing_subword_prefix="")),
                                      pre_tokenizer=pre_tokenizers.WhitespaceSplit(), decoder=decoders.WordPiece(prefix="", cleanup=True))
    yield "word_level", word_level(texts)
    yield "unigram", unigram(pieces)
    yield "unigram_whole", unigram(pieces, split=False, prepend_scheme="never")
    yield "unigram_bytes", unigram(with_bytes, byte_fallback=True, prepend_scheme="first")
    yield "unigram_bytes_unsplit", copy(unigram(with_bytes, byte_fallback=True, prepend_scheme="first", split=False), decoder=decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    yield "t5", unigram(pieces, normalizer=precompiled)
    yield "albert", unigram(pieces, normalizer=normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), precompiled,
         normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]))
    yield "roberta", roberta(base, False)
    yield "roberta_prefix", roberta(base, True)
    yield "openai_gpt", openai_gpt(texts)
    yield "nmt", normalized(normalizers.Nmt())
    yield "strip_accents", normalized(normalizers.StripAccents())
    yield "nfkd_strip_accents", normalized(normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()]))
    yield "precompiled", normalized(precompiled)
    yield "bert_normalizer", normalized(normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=False))
    yield "byte_level_normalizer", copy(base, normalizer=normalizers.ByteLevel(), pre_tokenizer=pre_tokenizers.Split(Regex("Ġ?[a-z]+"), "isolated"))
    yield "prepend_replace", normalized(normalizers.Sequence([normalizers.Prepend("ab"), normalizers.Replace(Regex("[aeiou]"), "#"), normalizers.NFC()]))
    yield "unicode_scripts", cut(pre_tokenizers.UnicodeScripts())
    yield "char_delimiter", cut(pre_tokenizers.CharDelimiterSplit("e"))
    yield "bert_pre_tokenizer", cut(pre_tokenizers.BertPreTokenizer())
    yield "fixed_length", cut(pre_tokenizers.FixedLength(3))
    yield "punctuation_contiguous", cut(pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(True))
    yield "metaspace_always", copy(base, pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always", split=True), bytes_only]))
    yield "string_split", cut(pre_tokenizers.Split(" ", "merged_with_previous"), pre_tokenizers.Split("the", "contiguous", True))
    yield "nested_sets", cut(pre_tokenizers.Split(Regex(r"[a-z&&[^aeiou]]+|[[:upper:]&&[^X-Z]]+|(?~ab)c"), "isolated"))
    yield "look_behind", cut(pre_tokenizers.Split(Regex(r"(?<=[a-z])(?=[A-Z])|(?<!\d)\d+(?!\d)|\R|\X{2}"), "isolated"))
    yield "sequence_processor", copy(base, pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True), post_processor=processors.Sequence(
        [processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
         processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)])]))
    trims = processors.ByteLevel(trim_offsets=True, add_prefix_space=True)
    lines = pre_tokenizers.Split("\n", "isolated")
    yield "trimmed_unigram", copy(Tokenizer(models.Unigram(pieces, 0, False)), pre_tokenizer=lines, post_processor=trims)
    without = [piece for piece in pieces if "Ġ" not in piece[0]]  # so that a space is unknown
    yield "trimmed_unigram_mapped", copy(Tokenizer(models.Unigram(without, 0, False)), pre_tokenizer=bytes_only, post_processor=trims)
    trimmed = copy(Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]")), pre_tokenizer=lines, post_processor=processors.Sequence([trims, trims]),
                   normalizer=normalizers.Sequence([normalizers.Replace("b", "    "), normalizers.Replace("\t", "x")]))
    trimmed.add_tokens([AddedToken("the", rstrip=True, lstrip=True), AddedToken("\tb", normalized=True), AddedToken(" of", normalized=False), AddedToken("b", normalized=True)])
    yield "trimmed_added", trimmed
    yield "graphemes", cut(pre_tokenizers.Split(Regex(r"\X"), "isolated"))
    for name, truncation, padding in settings():
        t = roberta(base, False)
        if truncation is not None:
            t.enable_truncation(**truncation)
        if padding is not None:
            t.enable_padding(**padding)
        yield name, t


def settings():
    pad = dict(pad_id=2, pad_token="<pad>", pad_type_id=3)
    yield "truncation", dict(max_length=7), None
    yield "truncation_left", dict(max_length=8, direction="left", strategy="longest_first"), None
    yield "truncation_first", dict(max_length=30, strategy="only_first", stride=2), None
    yield "padding", None, dict(length=12, **pad)
    yield "padding_left", dict(max_length=9), dict(direction="left", pad_to_multiple_of=8, **pad)
