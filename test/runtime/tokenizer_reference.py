"""What Python's tokenizers and tiktoken make of texts, for tokenizers built here.

    python tokenizer_reference.py FOLDER COUNT SEED

writes FOLDER/vocabulary.json (what all tokenizer.json share), FOLDER/variants.json (what each has of its own),
FOLDER/tiktoken.model, FOLDER/tokenizer_config.json, and FOLDER/answers.json: texts, and for each variant their ids and,
where it is another, the text of these ids with special tokens ("whole") and without ("plain"). The vocabularies are trained on made-up words of many scripts, so nothing is fetched.
"""

import base64
import json
import random
import sys
import unicodedata
from pathlib import Path

KIMI = "|".join(
    [
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
DEEPSEEK_V2 = [
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    "[一-龥ࠀ-一가-퟿]+",
]
GLM = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def steps(*parts):
    return {"type": "Sequence", "pretokenizers": [*parts]}


def variants():
    """Name to what a tokenizer.json has beside vocabulary and added tokens."""
    byte_level = {
        "deepseek-v3": {"pre_tokenizer": steps(*[split(p) for p in DEEPSEEK], BYTES)},
        "deepseek-v2": {"pre_tokenizer": steps(*[split(p) for p in DEEPSEEK_V2], {"type": "Digits", "individual_digits": True}, BYTES)},
        "kimi": {"pre_tokenizer": steps(split(KIMI), BYTES)},
        "glm": {"pre_tokenizer": steps(split(GLM), BYTES)},
        "cl100k": {"pre_tokenizer": steps(split(CL100K), BYTES)},
        "qwen2": {"pre_tokenizer": steps(split(QWEN2), BYTES), "normalizer": {"type": "NFC"}},
        "gpt2": {"pre_tokenizer": {**BYTES, "use_regex": True}},
        "gpt2-prefix": {"pre_tokenizer": {**BYTES, "use_regex": True, "add_prefix_space": True}},
        "digits": {"pre_tokenizer": steps({"type": "Digits", "individual_digits": True}, BYTES)},
        "digit-runs": {"pre_tokenizer": steps({"type": "Digits", "individual_digits": False}, BYTES), "normalizer": {"type": "NFKC"}},
        "punctuation": {"pre_tokenizer": steps({"type": "Punctuation", "behavior": "MergedWithPrevious"}, BYTES), "normalizer": {"type": "Lowercase"}},
        "whitespace": {"pre_tokenizer": steps({"type": "Whitespace"}, BYTES), "normalizer": {"type": "NFD"}},
        "whitespace-split": {"pre_tokenizer": steps({"type": "WhitespaceSplit"}, BYTES), "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}]}},
        "merged-with-next": {"pre_tokenizer": steps(split(r"\s", "MergedWithNext"), BYTES)},
        "merged-with-previous": {"pre_tokenizer": steps(split(r"\p{P}|\s", "MergedWithPrevious"), BYTES)},
        "contiguous": {"pre_tokenizer": steps(split(r"[aeiou]", "Contiguous"), BYTES)},
        "removed": {"pre_tokenizer": steps(split(r"\s+", "Removed"), BYTES), "normalizer": {"type": "Strip", "strip_left": True, "strip_right": True}},
        "inverted": {"pre_tokenizer": steps(split(r"\p{L}+|\p{N}", "Removed", True), BYTES)},
        "bert-split": {"pre_tokenizer": steps({"type": "BertPreTokenizer"}, BYTES)},
        "delimiter": {"pre_tokenizer": steps({"type": "CharDelimiterSplit", "delimiter": "."}, BYTES)},
        "atomic": {"pre_tokenizer": steps(split(r"(?>a|ab)c|\p{L}*+e|(?i:k+[r-t])|(?i:k+)|\s++|."), BYTES)},
        "replaced": {"pre_tokenizer": steps(split(r"\s+"), BYTES), "normalizer": {"type": "Replace", "pattern": {"String": "a"}, "content": "$&"}},
    }
    for v in byte_level.values():
        v["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    mark = {"type": "Metaspace", "replacement": "▁"}
    fallback = {
        "type": "Sequence",
        "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
    }
    characters = {
        "metaspace-always": {"pre_tokenizer": {**mark, "prepend_scheme": "always", "split": True}, "decoder": {**mark, "prepend_scheme": "always", "split": True}},
        "metaspace-first": {"pre_tokenizer": {**mark, "prepend_scheme": "first", "split": False}, "decoder": fallback},
        "metaspace-never": {"pre_tokenizer": {**mark, "prepend_scheme": "never", "split": True}, "decoder": {**mark, "prepend_scheme": "never", "split": True}},
        "llama": {
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": None,
            "decoder": fallback,
        },
    }
    return byte_level, characters


ADDED = [
    {"content": "<s>", "special": True},
    {"content": "</s>", "special": True},
    {"content": "<｜User｜>", "special": False},
    {"content": "<|end|>", "special": True},
    {"content": "<|end|>>", "special": False, "normalized": True},
    {"content": "<left>", "special": True, "lstrip": True},
    {"content": "<right>", "special": False, "rstrip": True},
    {"content": "word", "special": False, "single_word": True, "normalized": True},
    {"content": "Ёлки", "special": False, "normalized": True},
    {"content": "=>", "special": False, "normalized": True},
]


def added_tokens(first):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [{"id": first + i, **flags, **t} for i, t in enumerate(ADDED)]


SCRIPTS = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x531, 0x58A), (0x5D0, 0x5EA), (0x620, 0x64A), (0x900, 0x97F), (0xE01, 0xE3A),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x4FFF), (0x9F00, 0x9FFF), (0xAC00, 0xAD00), (0x20000, 0x20100), (0x1D400, 0x1D4FF),
]
DIGITS = "0123456789" * 3 + "٠١٢٣٩०१९①②½²³ⅷ〇一𝟘𝟡୩௧𐄇"
SPACES = "     \n\n\r\n\t\v\f\x85\xa0\u1680\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\x1c\x1f"
MARKS = "\u0301\u0308\u0327\u094d\u200d\ufe0f\u20e3\u0e33\u1ab0"
EMOJI = ["🙂", "👩‍👩‍👧", "🇩🇪", "1️⃣", "👍🏽", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☃", "♯"]
CODE = ["def f(x):\n    return x**2\n", "for (let i = 0; i < n; i++) { a[i] += 1; }", "#include <stdio.h>\r\n", "x != y && !z", "</div>", "{\"k\": [1, 2.5e-3, null]}", "it's we'RE I'll don't 'ſ ‘s 'Ve K'k", "a'ſb", "kKx"]


def word(r):
    low, high = r.choice(SCRIPTS)
    return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 8)))


def assigned(r):
    while True:
        c = chr(r.choice([r.randint(0, 0x2FFF), r.randint(0, 0xFFFF), r.randint(0, 0x1FFFF), r.randint(0, 0x3FFFF)]))
        # Not what younger versions of Unicode have given a meaning: libraries know different ones.
        if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs"):
            return c


def text(r):
    out = []
    for _ in range(r.randint(0, 12)):
        k = r.random()
        if k < 0.25:
            out.append(r.choice(["the ", " and", "a", " of ", "ing", "Word word", "thinking", "ABc", "abc", "aab", "kKx"]))
        elif k < 0.4:
            out.append(word(r))
        elif k < 0.5:
            out.append("".join(r.choice(DIGITS) for _ in range(r.randint(1, 7))))
        elif k < 0.63:
            out.append("".join(r.choice(SPACES) for _ in range(r.randint(1, 4))))
        elif k < 0.68:
            out.append(r.choice(EMOJI))
        elif k < 0.74:
            out.append(r.choice(CODE))
        elif k < 0.80:
            out.append(r.choice([".", ",", "!?", "...", "—", "«»", "。", "、", "$", "€", "_", "~~", "'", "’s"]))
        elif k < 0.84:
            out.append(r.choice(MARKS))
        elif k < 0.90:
            out.append(r.choice([" ", "", "  "]) + r.choice(ADDED)["content"] + r.choice([" ", "", "  ", "s"]))
        elif k < 0.93:
            out.append(chr(r.randint(0, 0x9F)))
        else:
            out.append(assigned(r))
    return "".join(out)


def corpus(r):
    words = [word(r) for _ in range(300)] + ["the", "and", "word", "ing", "return", "abc", "thinking", "  ", "\n", ".", "一", "汉字", "123", "é", "你好", "世界"]
    weights = [1 / (i + 1) for i in range(len(words))]
    r.shuffle(words)
    return [" ".join(r.choices(words, weights, k=30)) for _ in range(600)] + [text(r) for _ in range(600)]


def trained(r, pre_tokenizer, size, byte_level):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE(byte_fallback=not byte_level, unk_token=None if byte_level else "<unk>"))
    t.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else ["▁"]
    special = [] if byte_level else ["<unk>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(corpus(r), trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=special, show_progress=False, limit_alphabet=500))
    model = json.loads(t.to_str())["model"]
    model["ignore_merges"] = False
    return model


def kimi_encoding(folder, model):
    import tiktoken

    from tokenizers import pre_tokenizers

    chars = {c: bytes([b]) for b, c in enumerate(byte_chars())}
    ranks = {b"".join(chars[c] for c in token): i for token, i in model["vocab"].items()}
    (folder / "tiktoken.model").write_text("".join(f"{base64.b64encode(t).decode()} {i}\n" for t, i in sorted(ranks.items(), key=lambda x: x[1])))
    n = len(ranks)
    names = {n: "[BOS]", n + 1: "[EOS]", n + 2: "<|im_end|>", n + 3: "<|im_user|>", n + 9: "[EOT]"}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {"tokenizer_class": "TikTokenTokenizer", "bos_token": "[BOS]", "eos_token": "[EOS]", "added_tokens_decoder": {str(i): {"content": c, **flags} for i, c in names.items()}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    special = {names.get(i, f"<|reserved_token_{i}|>"): i for i in range(n, n + 256)}
    return tiktoken.Encoding(name="kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)


def byte_chars():
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    n = iter(range(256))
    return [chr(b) if b in keep else chr(0x100 + next(n)) for b in range(256)]


def slices(s):
    """Moonlight's and Kimi's own code cuts texts before they are split: at 400,000 characters and in runs of 25,000."""
    for i in range(0, len(s), 400_000):
        part, start, run, was = s[i : i + 400_000], 0, 0, None
        for j, c in enumerate(part):
            run = run + 1 if c.isspace() == was else 1
            was = c.isspace()
            if run > 25_000:
                yield part[start:j]
                start, run = j, 1
        yield part[start:]


def differing(texts, others):
    """The texts that are not as the others, by index: most are."""
    return {i: a for i, (a, b) in enumerate(zip(texts, others)) if a != b}


def main():
    folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    byte_level, characters = variants()
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GLM), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    models = {"bytes": trained(random.Random(1), pre, 700, True), "characters": trained(random.Random(2), pre_tokenizers.Metaspace(), 1200, False)}
    kimi = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(KIMI), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    encoding = kimi_encoding(folder, trained(random.Random(3), kimi, 900, True))
    for model in models.values():
        model["vocab"] = dict(sorted(model["vocab"].items(), key=lambda x: x[1]))
    (folder / "vocabulary.json").write_text(json.dumps({k: {"model": m, "added_tokens": added_tokens(len(m["vocab"]))} for k, m in models.items()}, ensure_ascii=False, separators=(",", ":")) + "\n")
    listed = {n: ["bytes", v] for n, v in byte_level.items()} | {n: ["characters", v] for n, v in characters.items()}
    (folder / "variants.json").write_text(json.dumps(listed, ensure_ascii=False, indent=1) + "\n")
    r = random.Random(seed)
    texts = [text(r) for _ in range(count)]
    base = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None}
    answers = {}
    for name, (which, own) in listed.items():
        t = Tokenizer.from_str(json.dumps({**base, **own, "model": models[which], "added_tokens": added_tokens(len(models[which]["vocab"]))}))
        ids = [t.encode(s, add_special_tokens=False).ids for s in texts]
        whole = [t.decode(i, skip_special_tokens=False) for i in ids]
        answers[name] = {"ids": ids, "whole": differing(whole, texts), "plain": differing([t.decode(i) for i in ids], whole)}
    samples = [s.replace("<s>", "[BOS]").replace("</s>", "<|im_end|>") for s in texts]
    kimi_ids = [[i for s in slices(t) for i in encoding.encode(s, allowed_special="all")] for t in samples]
    answers["tiktoken"] = {"ids": kimi_ids, "whole": differing([encoding.decode(i) for i in kimi_ids], samples), "plain": None}
    if count >= 1000:
        long = ["ab" * 30_000, " " * 60_000 + "x", "汉字 " * 150_000, "word, " * 70_000 + "[BOS]" + "é" * 26_000]
        answers["tiktoken"]["long"] = [{"text": s, "ids": [i for p in slices(s) for i in encoding.encode(p, allowed_special="all")]} for s in long]
    (folder / "answers.json").write_text(json.dumps({"texts": texts, "samples": samples, "answers": answers}, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
