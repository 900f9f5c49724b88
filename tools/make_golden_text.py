#!/usr/bin/env python3
"""Writes tests/golden/text/: small tokenizers of every family's make, and what they must compute.

    python3 tools/make_golden_text.py [PART ...]        parts: tokenizers, components, templates

Needs tokenizers, transformers, sentencepiece and jinja2; the versions used are in every golden file.

tokenizers/<name>/  a tokenizer as a Hugging Face folder holds it (tokenizer.json, tokenizer.model, or vocab.json with
    merges.txt), with the pipeline that the family publishes and a vocabulary of a few hundred entries trained here, and
    golden.json: for every text of texts.json [ids with special tokens, ids without (null when they are the same),
    decoded, decoded without special tokens (null when it is the text itself)].
components.json  normalizers, pre-tokenizers and decoders alone, on the same texts: the rarer settings.
templates/  chat templates in the forms the families publish, conversations, and what transformers makes of them.
"""

import argparse
import datetime
import io
import json
import pathlib
import shutil

import jinja2
import sentencepiece
import tokenizers
import transformers
from transformers.utils import chat_template_utils
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "text"
VERSIONS = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__,
            "sentencepiece": sentencepiece.__version__, "jinja2": jinja2.__version__}

# ---- Texts -----------------------------------------------------------------------------------------------------------

PROSE = """It was a bright cold day in April, and the clocks were striking thirteen. Don't you think that we'll've gone
by then? She said: "I'd rather not," and they're all waiting; he's 1984 years old, isn't he. The quick brown fox jumps
over the lazy dog. All that glitters is not gold. To be, or not to be, that is the question: whether 'tis nobler in the
mind to suffer the slings and arrows of outrageous fortune, or to take arms against a sea of troubles.
The tokenizer reads text and gives numbers. The model reads numbers and gives numbers. The reader reads text.
def main(argument):
    for index in range(100):
        if index % 2 == 0:
            print(index, argument)
\treturn {"a": 1, "b": [2, 3], "c": None}  # comment
Ein schöner Tag für Größe und Übermut. Où est la bibliothèque, s'il vous plaît? El niño comió piñas mañana.
Привет, мир! Как дела? Все хорошо. 你好，世界！今天天气很好。こんにちは世界。 안녕하세요 세계. שלום עולם. مرحبا بالعالم
\U0001F600\U0001F600 \U0001F44D\U0001F3FD \u2764\uFE0F 12345 67890 3.14159 1,000,000 2024-01-01 ALL CAPS Words CamelCase snake_case
"""

TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "  a  b   c    d ", "Hello, world!", "Hello world", " Hello world", "Hello  world",
    "\n", "\n\n", "a\nb", "a\n\nb\n\n\n", " \n \n ", "\t", "\ta\t\tb", "a\r\nb\r\n", "a \n", "x\n  y", "\u000b\u000c\u001c\u0085\u2028\u2029x",
    "don't I'll we've they're he's I'd I'm DON'T I'LL WE'VE", "'s't're've'm'll'd", "it\u2019s \u2018quoted\u2019", "can't've o'clock 'tis",
    "0", "12", "123", "1234", "12345678901234567890", "3.14159", "1,000,000", "2024-01-01T00:00:00Z", "a1b22c333", "\u0661\u0662\u0663\u0664", "\u00bd\u00b2\u2167\u2460", " 1 22 333",
    "caf\u00e9", "cafe\u0301", "\u00c5ngstr\u00f6m A\u030angstro\u0308m \u212b", "\ufb01\ufb02 \u1e9b\u0323 \uff21\uff22\uff11 \u2126", "e\u0323\u0301 e\u0301\u0323 \u1ec7\u0301", "\u0301 \u0301a \u20dd", "\u0930\u093e\u092e \u0928\u092e\u0938\u094d\u0924\u0947",
    "\uac00\u1100\u1161 \u1112\u1161\u11ab\u1100\u1173\u11af", "\u0130stanbul I\u0307 \u0131 \u03a3\u03c3\u03c2 \u039f\u0394\u039f\u03a3 STRASSE stra\u00dfe \u1e9e \u01c5",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002abc\u4f60\u597d def", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\ud55c\uad6d\uc5b4 \u9f98\u9f98\u9f98 \U00020000\U0002f800",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! HelloWorld \u041f\u0440\u0438\u0432\u0435\u0442World", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0664\u0662", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u1019\u103c\u1014\u103a\u1019\u102c",
    "\U0001F600", "a\U0001F600b \U0001F600\U0001F600\U0001F600", "\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466 family", "\U0001F44D\U0001F3FD \u2764\uFE0F \U0001F1E9\U0001F1EA", "\u2764 \u2603\ufe0e", "\ufe0f", "\u200b\u200c\u200d\u2060\ufeffx", "\u180e \u00a0\u00a0\u2003\u3000x \u202f.",
    "\u0000", "a\u0000b", "\u0001\u0002\u001f\u007f\u0080\u009f", "\ufffd\ufffd", "\ufdd0\uffff\U0010ffff", "\ue000\uf8ff", "\x1b[31mred\x1b[0m",
    "<0x41>", "<0xE4><0xBD><0xA0>", "<unk>", "<s>", "</s>", "<s>Hello</s>", " <s> Hello </s> ", "a<s>b</s>c", "<s><s></s></s>", "<S> </S>", "\u2581", "\u2581\u2581a", "a\u2581b", " \u2581 ", "\u0120a \u010a", "##a </w>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|im_start|>user\nHello there<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "a<|endoftext|> b <|endoftext|>\n c", "<|user|>\nHello <|end|>\n<|assistant|>   \n  x", "[INST] Hi [/INST] there</s>", "[INST]Hi[/INST]", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
    "<mask>", "a <mask> b", "a<mask>b", "  <mask>  ", "xyzzy", "xyzzy plugh", "xxyzzyx xyzzy", "xyzzy,xyzzy. xyzzy\u00e9", "Plugh plugh PLUGH", "caf\u00e9ol\u00e9 cafe\u0301ole\u0301", "<|end", "<|end|", "<|endoftext|<|endoftext|>", "<mask><mask> <mask>",
    "    indented\n        more\n\t\ttabs  \n", "def f(x):\n    return x**2  # square\n\n\nprint(f(3))", "{\"a\": [1, 2, {\"b\": null}], \"c\": \"d\\n\"}", "https://example.org/a/b?c=d&e=f#g", "user@example.org", "C:\\Users\\name", "!!!???...", "---===***", "a.b,c;d:e", "(a) [b] {c} <d>", "$100 50% #tag @me ~/x `code` ^ _under_ a_b__c", "\u00abquoted\u00bb \u201cdouble\u201d \u2014 dash \u2026 \u00bfqu\u00e9?", "+-*/=<>|\\", "\u20ac5 \u00a310 \u00a99",
    "camelCase PascalCase SCREAMING_CASE kebab-case HTTPServer iPhone15Pro", "McDonald's O'Neil's ROCK'N'ROLL", "unreachable words unreachable", "the the the", "The tokenizer reads text.", "of outrageous fortune,   or to", "supercalifragilisticexpialidocious", "a" * 100, "ab" * 60, "the" * 40, " " * 40 + "x", "\n" * 17, "\t" * 9 + " " * 9, "-" * 33, "7" * 31, "\u4f60" * 20, "\U0001F600" * 5, "e\u0301" * 12, "no\u00a0break", "\u00ad soft", "a\u0338b \u1d11e \U0001d11e", "\u01f0\u0390 \u1fb7", "x" + "\u0302" * 10,
]


def write_json(path, value, indent=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent, separators=separators) + "\n", encoding="utf-8")


def lines_json(rows):
    """A JSON list with one row a line, so that a change shows where it is."""
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=True, separators=(",", ":")) for row in rows) + "\n]"


# ---- Tokenizers ------------------------------------------------------------------------------------------------------

GPT2_REGEX = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_REGEX = LLAMA3_REGEX.replace(r"\p{N}{1,3}", r"\p{N}")
TEKKEN_REGEX = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

SP_NORMALIZER = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
SP_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY = {**BYTE_LEVEL, "use_regex": False}


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def template(prefix, suffix=()):
    """TemplateProcessing of (token, id) pairs around the text; every kind of token once."""
    def tokens(pairs):
        return [{"SpecialToken": {"id": token, "type_id": 0}} for token, _ in pairs]
    a, b = ([{"Sequence": {"id": name, "type_id": 0}}] for name in "AB")
    return {"type": "TemplateProcessing", "single": tokens(prefix) + a + tokens(suffix),
            "pair": tokens(prefix) + a + tokens(suffix) + tokens(prefix) + b + tokens(suffix),
            "special_tokens": {token: {"id": token, "ids": [number], "tokens": [token]}
                               for token, number in (*prefix, *suffix)}}


def byte_level_bpe(size, regex=None):
    tokenizer = Tokenizer(models.BPE())
    if regex is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(tokenizers.Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, min_frequency=1,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([PROSE], trainer)
    return json.loads(tokenizer.to_str())["model"]


def sentencepiece_bpe(size):
    """The vocabulary and merges of a SentencePiece BPE with bytes to fall back on, as converters write them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    alphabet = sorted(c for c in set(PROSE) if c < "\u0500" and c not in " \n\t")
    trainer = trainers.BpeTrainer(vocab_size=size - 259, show_progress=False, min_frequency=1, limit_alphabet=100,
                                  initial_alphabet=["\u2581"])
    tokenizer.train_from_iterator(PROSE.split("\n"), trainer)
    trained = json.loads(tokenizer.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [tuple(merge) for merge in trained["merges"]]
    merges += [("\u2581", "\u2581"), ("\u2581\u2581", "\u2581\u2581"), ("\u2581\u2581\u2581\u2581", "\u2581\u2581\u2581\u2581")]
    single = [piece for piece in trained["vocab"] if len(piece) == 1 and piece in alphabet or piece == "\u2581"]
    known = set(single)
    kept = []
    for left, right in merges:
        if left in known and right in known:
            known.add(left + right)
            kept.append((left, right))
    vocabulary = pieces + [left + right for left, right in kept] + sorted(single)
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "vocab": {piece: number for number, piece in enumerate(vocabulary)},
            "merges": [f"{left} {right}" for left, right in kept]}


def added(number, content, special=True, normalized=False, lstrip=False, rstrip=False, single_word=False):
    return {"id": number, "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
            "normalized": normalized, "special": special}


def whole(model, added_tokens, normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model}


def in_config(tokens):
    return {str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in tokens}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def tokenizer_files():
    """name -> {file name: contents (JSON)}"""
    out = {}
    sp = sentencepiece_bpe(620)
    sp_size = len(sp["vocab"])
    core = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")]
    core_config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True,
                   "add_eos_token": False, "tokenizer_class": "LlamaTokenizer", "clean_up_tokenization_spaces": False}
    bos = template([("<s>", 1)])
    out["llama2"] = {
        "tokenizer.json": whole(sp, core, SP_NORMALIZER, None, bos, SP_DECODER),
        "tokenizer_config.json": {**core_config, "legacy": False, "added_tokens_decoder": in_config(core)},
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}}
    legacy = [{**token, "normalized": True} for token in core]
    odd = [added(sp_size, "xyzzy", special=False, normalized=True, single_word=True),
           added(sp_size + 1, "plugh", special=False, normalized=False),
           added(sp_size + 2, "<mask>", lstrip=True, normalized=True),
           added(sp_size + 3, "caf\u00e9ol\u00e9", special=False, normalized=True)]
    # As first converted: special tokens match the normalized text, so that they need the space before them.
    out["llama2_legacy"] = {
        "tokenizer.json": whole(sp, legacy + odd, SP_NORMALIZER, None,
                                {"type": "Sequence", "processors": [template([("<s>", 1)], [("</s>", 2)])]}, SP_DECODER),
        "tokenizer_config.json": {"bos_token": {"__type": "AddedToken", **{k: v for k, v in legacy[1].items() if k != "id"}},
                                  "eos_token": "</s>"}}
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    out["llama2_metaspace"] = {
        "tokenizer.json": whole({**sp, "merges": [merge.split(" ") for merge in sp["merges"]], "ignore_merges": False},
                                core, None, metaspace, bos, SP_DECODER),
        "tokenizer_config.json": {**core_config, "legacy": False, "added_tokens_decoder": in_config(core)}}
    controls = [added(sp_size + i, content) for i, content in enumerate(
        ["[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"])]
    out["mistral"] = {
        "tokenizer.json": whole(sp, core + controls, SP_NORMALIZER, None, bos, SP_DECODER),
        "tokenizer_config.json": {**core_config, "added_tokens_decoder": in_config(core + controls)}}
    phi = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>", special=False, rstrip=True)] + [
        added(sp_size + i, f"<|{name}|>", rstrip=name != "endoftext") for i, name in enumerate(
            ["endoftext", "assistant", "placeholder1", "system", "end", "user"])]
    out["phi3"] = {
        "tokenizer.json": whole(sp, phi, SP_NORMALIZER, None, template([]), SP_DECODER),
        "tokenizer_config.json": {**core_config, "add_bos_token": False, "eos_token": "<|endoftext|>",
                                  "pad_token": "<|endoftext|>", "added_tokens_decoder": in_config(phi)},
        "generation_config.json": {"eos_token_id": [phi[3]["id"], phi[7]["id"], phi[4]["id"]]}}

    model = byte_level_bpe(520, LLAMA3_REGEX)
    model["ignore_merges"] = True
    model["vocab"]["\u0120unreachable"] = size = len(model["vocab"])
    size += 1
    # The published files keep merges as text.
    model["merges"] = [" ".join(merge) for merge in model["merges"]]
    names = ["begin_of_text", "end_of_text", "reserved_special_token_0", "start_header_id", "end_header_id", "eom_id", "eot_id"]
    specials = [added(size + i, f"<|{name}|>") for i, name in enumerate(names)]
    out["llama3"] = {
        "tokenizer.json": whole(
            model, specials, None, sequence(split(LLAMA3_REGEX), BYTES_ONLY),
            {"type": "Sequence", "processors": [BYTE_LEVEL, template([("<|begin_of_text|>", size)])]}, BYTE_LEVEL),
        "tokenizer_config.json": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
                                  "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True,
                                  "added_tokens_decoder": in_config(specials)},
        "generation_config.json": {"eos_token_id": [size + 1, size + 5, size + 6], "bos_token_id": size}}

    model = byte_level_bpe(520, QWEN2_REGEX)
    size = len(model["vocab"])
    specials = [added(size, "<|endoftext|>"), added(size + 1, "<|im_start|>"), added(size + 2, "<|im_end|>"),
                added(size + 3, "<tool_call>", special=False), added(size + 4, "</tool_call>", special=False)]
    out["qwen2"] = {
        "tokenizer.json": whole(model, specials, {"type": "NFC"}, sequence(split(QWEN2_REGEX), BYTES_ONLY),
                                BYTES_ONLY, BYTES_ONLY),
        "tokenizer_config.json": {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
                                  "add_bos_token": False, "add_prefix_space": False, "tokenizer_class": "Qwen2Tokenizer",
                                  "added_tokens_decoder": in_config(specials)},
        "generation_config.json": {"eos_token_id": [size + 2, size], "pad_token_id": size}}

    model = byte_level_bpe(520)
    size = len(model["vocab"])
    end = added(size, "<|endoftext|>", normalized=True)
    out["gpt2"] = {
        "tokenizer.json": whole({**model, "merges": [" ".join(merge) for merge in model["merges"]]}, [end], None,
                                BYTE_LEVEL, {**BYTE_LEVEL, "trim_offsets": False}, BYTE_LEVEL),
        "tokenizer_config.json": {"model_max_length": 1024}}
    merges_text = "#version: 0.2\n" + "".join(" ".join(merge) + "\n" for merge in model["merges"])
    vocabulary = {**model["vocab"], "<|endoftext|>": size}
    out["gpt2_files"] = {"vocab.json": vocabulary, "merges.txt": merges_text,
                         "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>",
                                                   "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}}
    opt_core = ["<s>", "<pad>", "</s>", "<unk>"]
    opt_vocabulary = {token: i for i, token in enumerate(opt_core + sorted(model["vocab"], key=model["vocab"].get))}
    opt_model = {**model, "vocab": opt_vocabulary, "merges": [" ".join(merge) for merge in model["merges"]]}
    opt_added = [added(1, "<pad>", normalized=True), added(2, "</s>", normalized=True)]
    opt_config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "errors": "replace", "add_prefix_space": False,
                  "bos_token": {"__type": "AddedToken", **{k: v for k, v in opt_added[1].items() if k != "id"}},
                  "eos_token": {"__type": "AddedToken", **{k: v for k, v in opt_added[1].items() if k != "id"}},
                  "unk_token": {"__type": "AddedToken", **{k: v for k, v in opt_added[1].items() if k != "id"}},
                  "pad_token": {"__type": "AddedToken", **{k: v for k, v in opt_added[0].items() if k != "id"}}}
    out["opt"] = {"tokenizer.json": whole(opt_model, opt_added, None, BYTE_LEVEL, template([("</s>", 2)]), BYTE_LEVEL),
                  "tokenizer_config.json": opt_config}
    # As OPT's repositories are: without tokenizer.json.
    out["opt_files"] = {"vocab.json": opt_vocabulary, "merges.txt": merges_text, "tokenizer_config.json": opt_config,
                        "special_tokens_map.json": {key: opt_config[key] for key in
                                                    ("bos_token", "eos_token", "unk_token", "pad_token")}}
    roberta_added = [added(0, "<s>", normalized=True), added(2, "</s>", normalized=True),
                     added(4 + size, "<mask>", lstrip=True), added(5 + size, "xyzzy", special=False, single_word=True)]
    prefixed = {**BYTE_LEVEL, "add_prefix_space": True}
    out["roberta"] = {
        "tokenizer.json": whole(opt_model, roberta_added, None, prefixed,
                                {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0],
                                 "trim_offsets": True, "add_prefix_space": True}, BYTE_LEVEL),
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>"}}
    runs = [added(size + 1 + i, " " * count, special=False, normalized=True) for i, count in enumerate(range(24, 1, -1))]
    marks = [added(size, "<|endoftext|>"), *runs, added(size + 30, "plugh", special=False, normalized=True, lstrip=True, rstrip=True),
             added(size + 31, "caf\u00e9ol\u00e9", special=False, normalized=True),
             added(size + 32, "<|end|>", rstrip=True)]
    for i, token in enumerate(marks):
        token["id"] = size + i
    out["neox"] = {"tokenizer.json": whole(model, marks, {"type": "NFC"}, {**BYTE_LEVEL},
                                           {**BYTE_LEVEL, "trim_offsets": True}, BYTE_LEVEL),
                   "tokenizer_config.json": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                                             "tokenizer_class": "GPTNeoXTokenizer"}}
    out["falcon"] = {"tokenizer.json": whole(
        model, [added(size, "<|endoftext|>")], None,
        sequence({"type": "Punctuation", "behavior": "Contiguous"}, BYTE_LEVEL, {"type": "Digits", "individual_digits": False},
                 split("[0-9][0-9][0-9]")),
        {**BYTE_LEVEL, "trim_offsets": False}, BYTE_LEVEL)}

    model = byte_level_bpe(520, TEKKEN_REGEX)
    model["ignore_merges"] = True
    shift = 10
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
             "[/TOOL_RESULTS]", "[TOOL_CALLS]"]
    model["vocab"] = {**{name: i for i, name in enumerate(names)},
                      **{token: i + shift for token, i in model["vocab"].items()}}
    out["tekken"] = {"tokenizer.json": whole(
        model, [added(i, name) for i, name in enumerate(names)], None, sequence(split(TEKKEN_REGEX), BYTES_ONLY),
        template([("<s>", 1)]), BYTE_LEVEL), "tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>"}}
    out["rare"] = {"tokenizer.json": rare_tokenizer()}
    return out


def rare_tokenizer():
    """Suffixes, prefixes, unfused unknowns, and a post-processor of BERT's make: the settings no family above has."""
    words = ["l", "o", "w", "e", "r", "s", "t", "##o", "##w", "##e", "##r", "##s", "##t", "##w</w>", "##r</w>", "##t</w>",
             "##e</w>", "l</w>", "o</w>", "w</w>", "e</w>", "lo", "low</w>", "##er</w>", "##es", "##est</w>", "lowe",
             "[UNK]", "[CLS]", "[SEP]"]
    merges = [("l", "##o"), ("lo", "##w</w>"), ("##e", "##r</w>"), ("##e", "##s"), ("##es", "##t</w>")]
    words = [word for word in words if word != "lowe"]
    model = {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "end_of_word_suffix": "</w>", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": {word: i for i, word in enumerate(words)}, "merges": [list(merge) for merge in merges]}
    specials = [added(words.index("[CLS]"), "[CLS]"), added(words.index("[SEP]"), "[SEP]")]
    normalizer = {"type": "Sequence", "normalizers": [
        {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"},
        {"type": "Strip", "strip_left": True, "strip_right": True}]}
    return whole(model, specials, normalizer, {"type": "Whitespace"},
                 {"type": "BertProcessing", "sep": ["[SEP]", words.index("[SEP]")], "cls": ["[CLS]", words.index("[CLS]")]},
                 {"type": "BPEDecoder", "suffix": "</w>"})


def golden_rows(encode, decode, decodes):
    rows = []
    for text in TEXTS:
        with_special, plain = encode(text, True), encode(text, False)
        if not decodes:
            rows.append([with_special, None if plain == with_special else plain])
            continue
        decoded, skipped = decode(with_special, False), decode(with_special, True)
        rows.append([with_special, None if plain == with_special else plain, decoded, None if skipped == text else skipped])
    return rows


def write_golden(path, rows, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = json.dumps({**VERSIONS, "command": "tools/make_golden_text.py tokenizers", **more})
    path.write_text(head[:-1] + ', "rows": ' + lines_json(rows) + "}\n")


def reference(folder):
    """encode and decode of the folder's tokenizer: by the tokenizers library, put together by transformers if needed."""
    if (folder / "tokenizer.json").exists():
        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        # Where there is a tokenizer.json, the library alone: transformers 5 replaces the pipeline of some classes.
        fast = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer
    return (lambda text, special: fast.encode(text, add_special_tokens=special).ids,
            lambda ids, skip: fast.decode(ids, skip_special_tokens=skip), fast)


def write_sentencepiece(folder):
    """tokenizer.model with Llama 2's settings; the reference is the sentencepiece library itself."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE.split("\n") * 3), model_writer=written, model_type="bpe", vocab_size=560,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, split_digits=True, allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True,
                                                  "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>",
                                                  "unk_token": "<unk>", "legacy": True}, 1)
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    # Texts that hold special tokens are cut at them by transformers, not by the library: see the unit tests. NUL ends a
    # text for the library's Python binding in some versions, so it is left out too.
    plain = [text for text in TEXTS if not any(mark in text for mark in ("<s>", "</s>", "<unk>", "\0"))]
    rows = []
    for text in plain:
        ids, decoded = processor.encode(text), processor.decode(processor.encode(text))
        rows.append([[1, *ids], ids, "<s>" + (" " if ids else "") + decoded, decoded])
    write_golden(folder / "golden.json", rows, texts=plain)


def make_tokenizers():
    write_json(GOLDEN / "texts.json", TEXTS, 0)
    for name, files in tokenizer_files().items():
        folder = GOLDEN / "tokenizers" / name
        shutil.rmtree(folder, ignore_errors=True)
        for file, contents in files.items():
            if isinstance(contents, str):
                (folder / file).write_text(contents, encoding="utf-8")
            else:
                write_json(folder / file, contents, 1 if file.endswith("config.json") else None)
        encode, decode, fast = reference(folder)
        # The library decodes special tokens that are normalized as the normalizer left them, and then takes none of
        # them for special; what earlier versions and transformers mean is in the unit tests.
        write_golden(folder / "golden.json", golden_rows(encode, decode, name != "llama2_legacy"))
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{name}: {size} bytes, {fast.get_vocab_size()} tokens")
    write_sentencepiece(GOLDEN / "tokenizers" / "sentencepiece")


# ---- Components ------------------------------------------------------------------------------------------------------

def component_cases():
    regex = lambda pattern: {"Regex": pattern}
    string = lambda pattern: {"String": pattern}
    normalizer = [{"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "ByteLevel")]
    normalizer += [
        {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": string("ab"), "content": "$0"},
        {"type": "Replace", "pattern": regex(r"\s+"), "content": " "}, {"type": "Replace", "pattern": regex(r"\w+"), "content": "W"},
        {"type": "Replace", "pattern": regex(r"^.|.$"), "content": "|"}, {"type": "Replace", "pattern": regex(" {2,}"), "content": "\u2581"},
        {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}]
    pre = [{"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}
           for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
           for pattern, invert in ((string(" "), False), (regex(r"\p{L}+"), False), (regex(r"\s"), True))]
    pre += [split(GPT2_REGEX, "Removed", True), split(LLAMA3_REGEX), split(TEKKEN_REGEX), split(r"\d{1,2}|[^\s\w]|\b"),
            split(r"(?<=a)b|x*"), split(r"\S+\s?")]
    pre += [{"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": splits}
            for scheme in ("always", "never", "first") for splits in (True, False)]
    pre += [{"type": "Metaspace", "replacement": "_", "add_prefix_space": True, "prepend_scheme": "always"},
            {"type": "Metaspace", "replacement": "\u2581", "add_prefix_space": True}]
    pre += [{"type": "Digits", "individual_digits": value} for value in (True, False)]
    pre += [{"type": "Punctuation", "behavior": behavior} for behavior in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext")]
    pre += [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"}, {"type": "CharDelimiterSplit", "delimiter": "e"}]
    pre += [{**BYTE_LEVEL, "add_prefix_space": prefix, "use_regex": use} for prefix in (True, False) for use in (True, False)]
    pre += [{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}]},
            {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}]}]
    decoder = [BYTE_LEVEL, {"type": "ByteFallback"}, {"type": "Fuse"}, SP_DECODER,
               {"type": "Replace", "pattern": string("\u2581"), "content": " "}, {"type": "Replace", "pattern": regex("a+"), "content": "b"},
               {"type": "Strip", "content": " ", "start": 1, "stop": 1}, {"type": "Strip", "content": "a", "start": 2, "stop": 0},
               {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
               {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True},
               {"type": "BPEDecoder", "suffix": "</w>"},
               {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 2}]},
               {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": string("ab"), "content": "c"}]},
               {"type": "Sequence", "decoders": [BYTE_LEVEL, {"type": "Replace", "pattern": string("x"), "content": "yy"}]}]
    return normalizer, pre, decoder


TOKEN_LISTS = [
    ["\u2581Hello", ",", "\u2581world"], ["\u2581", "\u2581a", "b\u2581"], ["\u2581\u2581\u2581a"], ["<0xE4>", "<0xBD>", "<0xA0>"],
    ["\u2581a", "<0xE4>", "<0xBD>", "b"], ["<0xE4>", "<0xBD>", "<0xA0>", "<0xE4>"], ["<0x41>", "x", "<0x0A>", "<0x00>"],
    ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xFF>", "\u2581"], ["<0xZZ>", "<0x4>", "<0x414>"], ["\u0120Hello", "\u010a", "\u00e4\u00bd\u0142"],
    ["\u00e4\u00bd", "\u0142x"], ["\u00e4\u00bd", "x", "\u0142"], ["\u00f0\u0141", "\u013a\u0122", "\u00ff"], ["\u4f60", "\u0120a", "<|x|>"],
    ["low", "er</w>", "new</w>", "est</w>"], ["a</w>"], ["  a  ", " b ", "  "], ["aab", "aaab", "ba"], ["a", "b", "ab", "x"],
    ["a", "b", "x", " ", " "], [" ", " ", " ", "a"], ["\u00ed\u0142\u0122", "\u00ed\u0142\u0122"], ["\u00e2\u0124", "\u00e2\u0124\u00ac", "\u00c3"], []]


def decoded(built, tokens):
    """None where the library itself stops with a panic (a Strip longer than a token)."""
    try:
        return built.decode(tokens) if tokens else ""
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return None


def make_components():
    normalizer, pre, decoder = component_cases()
    # Every text would be a megabyte; these have something for every setting.
    wanted = [text for i, text in enumerate(TEXTS) if 0 < len(text) <= 40 and i % 3 == 0]
    wanted += ["a b  c", "  a1b22 c.,d!\n e", "ab abab", "aXbb x xx", "e\u0301\u0301 \u00c9", "\u0930\u093e\u20dd\u0301a", "\u0130I\u03a3 \u1e9e"]
    rows = []
    for config in normalizer:
        built = Tokenizer.from_str(json.dumps(whole({"type": "BPE", "vocab": {}, "merges": []}, [], config))).normalizer
        rows.append(["normalizer", config, [built.normalize_str(text) for text in wanted]])
    for config in pre:
        built = Tokenizer.from_str(json.dumps(whole({"type": "BPE", "vocab": {}, "merges": []}, [], None, config))).pre_tokenizer
        rows.append(["pre_tokenizer", config, [[piece for piece, _ in built.pre_tokenize_str(text)] for text in wanted]])
    for config in decoder:
        built = Tokenizer.from_str(json.dumps(whole({"type": "BPE", "vocab": {}, "merges": []}, [], None, None, None, config))).decoder
        rows.append(["decoder", config, [decoded(built, tokens) for tokens in TOKEN_LISTS]])
    head = json.dumps({**VERSIONS, "command": "tools/make_golden_text.py components", "texts": wanted, "tokens": TOKEN_LISTS})
    path = GOLDEN / "components.json"
    path.write_text(head[:-1] + ', "rows": ' + lines_json(rows) + "}\n")
    print(f"components: {path.stat().st_size} bytes")


# ---- Chat templates --------------------------------------------------------------------------------------------------

def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, number="abcdef123"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "Weather of a place",
        "parameters": {"type": "object", "required": ["place"], "properties": {
            "place": {"type": "string", "description": "Stra\u00dfe, <city> & 'more'"},
            "days": {"type": ["integer", "null"], "minimum": 1}, "hours": {"type": "array", "items": {"type": "number"}}}},
        "return": {"type": "object", "additionalProperties": {"type": "string"}}}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}]

CONVERSATIONS = {
    "one": [message("user", "Hello")],
    "spaces": [message("user", "  Hello \n"), message("assistant", "\n Hi there. \n"), message("user", " And?  ")],
    "system": [message("system", " Be brief. "), message("user", "Hello"), message("assistant", "Hi"), message("user", "Bye")],
    "unicode": [message("system", "\u7b80\u77ed\u3002"), message("user", "\U0001F600 caf\u00e9 \u0645\u0631\u062d\u0628\u0627 {{ x }} {% y %} <|im_end|>")],
    "thinking": [message("user", "1+1?"), message("assistant", "<think>\nEasy.\n</think>\n\n2"), message("user", "2+2?"),
                 message("assistant", "4", reasoning_content="Easy too.\n")],
    "tools": [message("user", "Weather in K\u00f6ln?"), message("assistant", "", tool_calls=[call("get_weather", {"place": "K\u00f6ln", "days": 2})]),
              message("tool", "{\"sky\": \"clear\"}", tool_call_id="abcdef123", name="get_weather"),
              message("assistant", "Clear."), message("user", "Thanks")],
    "two_calls": [message("system", "Use tools."), message("user", "Both?"),
                  message("assistant", None, tool_calls=[call("get_weather", {"place": "A"}), call("now", {}, "abcdef124")]),
                  message("tool", "rain", tool_call_id="abcdef123"), message("tool", "noon", tool_call_id="abcdef124")],
    "parts": [message("system", [{"type": "text", "text": "Look."}]),
              message("user", [{"type": "image"}, {"type": "text", "text": " What is it? "}])],
    "wrong_order": [message("user", "a"), message("user", "b")],
    "wrong_role": [message("user", "a"), message("critic", "b")],
    "no_content": [{"role": "user"}],
    "empty": [],
}
# template, variables, with tools, conversations that do not fail (the others are asked once, without tools)
VARIABLES = {"llama31": [{}, {"date_string": "1 Jan 2025", "tools_in_user_message": False, "builtin_tools": ["code_interpreter", "web"]}],
             "qwen3": [{}, {"enable_thinking": False}]}
FIXED_NOW = (2024, 7, 26, 12, 34, 56)


def rendered(source, conversation, tools, prompt, variables):
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            [json.loads(json.dumps(conversation))], tools=tools, chat_template=source, add_generation_prompt=prompt,
            bos_token="<s>", eos_token="</s>", **variables)
        return {"text": texts[0]}
    except jinja2.exceptions.TemplateError as error:
        # Faults of Jinja's own are subclasses; raise_exception() raises this very class.
        return {"refused" if type(error) is jinja2.exceptions.TemplateError else "fails": str(error)}
    except Exception as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def make_templates():
    class FixedTime(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(*FIXED_NOW)

    chat_template_utils.datetime = FixedTime
    rows = []
    for path in sorted((GOLDEN / "templates").glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        with_tools = "tools" in source
        for variables in VARIABLES.get(path.stem, [{}]):
            for name, conversation in CONVERSATIONS.items():
                if path.stem == "features" and name != "one":
                    continue
                for tools, prompt in ((False, True), (False, False), (True, True)):
                    if (tools and (not with_tools or name in ("spaces", "unicode", "thinking"))) or (
                            not tools and not prompt and name not in ("system", "thinking")):
                        continue
                    out = rendered(source, conversation, TOOLS if tools else None, prompt, variables)
                    rows.append({"template": path.stem, "conversation": name, "tools": tools, "prompt": prompt,
                                 "variables": variables, **out})
    head = json.dumps({**VERSIONS, "command": "tools/make_golden_text.py templates", "now": FIXED_NOW, "tools": TOOLS,
                       "conversations": CONVERSATIONS})
    path = GOLDEN / "templates" / "golden.json"
    path.write_text(head[:-1] + ', "rows": ' + lines_json(rows) + "}\n")
    print(f"templates: {path.stat().st_size} bytes, {len(rows)} rows, "
          f"{sum('text' in row for row in rows)} texts, {sum('refused' in row for row in rows)} refused")


PARTS = {"tokenizers": make_tokenizers, "components": make_components, "templates": make_templates}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, make in PARTS.items():
        if not arguments.parts or name in arguments.parts:
            make()


if __name__ == "__main__":
    main()
