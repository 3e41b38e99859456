"""tokenizer_cases.json: awkward texts, encoded by transformers' CLIPTokenizer with a small vocabulary and CLIP's own;
tokenizer_added.json: with tokens beside the small vocabulary, in the three files that may name them.

The small vocabulary is that of pipeline_sd1/tokenizer; CLIP's own is OpenAI's bpe_simple_vocab_16e6.txt.gz.
"""

import gzip
import json
import tempfile
from pathlib import Path

import open_clip
from transformers import AddedToken, CLIPTokenizer

from common import FIXTURES

WORDS = "a an the of in on and with photo picture cat cats dog red blue apple green bird house 3d flat it".split()
TEXTS = [
    "", "a photo of a cat", "A Photo of a CAT", "  a   photo\tof\na cat ", "it's the dog's house, isn't it?!",
    "3d red apple 42", "café Zürich naïve", "日本語 текст", "a 😀 smile 👩‍👩‍👧", "cat-dog_bird/house",
    "...!!! (((emphasis:1.3)))", "don't we'll I'd they've", "<|startoftext|> a cat <|endoftext|> dog",
    "e\u0301 = \u00e9", "ÀÉÎ ǅ İ", "½ Ⅷ ٣ x²", "a photo of a cat and a dog " * 12, "\u00a0a\u3000cat\u200b"]


ADDED = [
    AddedToken("<cat-toy>"), AddedToken("<Raw>", normalized=False), AddedToken("<l>", lstrip=True, normalized=False),
    AddedToken("<r>", rstrip=True), AddedToken("sw", single_word=True), AddedToken("Multi  Word"), AddedToken("<cat"),
    AddedToken("caf\u00e9"), AddedToken("a*b+(c)?"), AddedToken("<s>", special=True, normalized=False)]
ADDED_TEXTS = [
    "a <cat-toy> here", "a<CAT-TOY>b<cat-toy>s <cat toy", "x <Raw> <raw> y", "one  <l>  two <r>   three", "<l><l> <r> <r>",
    "sw singular sws asw sw! (sw) 1sw _sw SW", "<|STARTOFTEXT|> hi <|endoftext|> <|EndOfText|>", "multi  word token, MULTI WORD",
    "caf\u00e9 CAFE\u0301s", "A*B+(C)? aab", "<s> <S> dog", "", " <cat-toy> ", "<cat-toy> " * 40]


def byte_symbols():
    """GPT-2's printable stand-ins for the 256 bytes, in CLIP's vocabulary order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def vocabulary(merges):
    symbols = byte_symbols()
    words, specials = ["".join(m) for m in merges], ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*symbols, *(s + "</w>" for s in symbols), *words, *specials]
    return {t: i for i, t in enumerate(tokens)}


def small():
    """Byte symbols and the merges that build WORDS from left to right."""
    merges = []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
    merges = list(dict.fromkeys(merges))
    return vocabulary(merges), merges


def openai():
    """CLIP's own vocabulary, from the file that open_clip ships."""
    path = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.open(path).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    return vocabulary(merges), merges


def tokenizer(tokens, merges):
    return CLIPTokenizer(vocab=tokens, merges=merges, model_max_length=77)


def write_folder(folder):
    """vocab.json, merges.txt and the two small configs as published with SD 1.5, and the newer tokenizer.json."""
    tokens, merges = small()
    tokenizer(tokens, merges).save_pretrained(folder)  # tokenizer.json, tokenizer_config.json
    dump = lambda value: json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    special = lambda text: {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    begin, end = special("<|startoftext|>"), special("<|endoftext|>")
    (folder / "vocab.json").write_text(json.dumps(tokens, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "special_tokens_map.json").write_text(
        dump({"bos_token": begin, "eos_token": end, "pad_token": "<|endoftext|>", "unk_token": end}))
    (folder / "tokenizer_config.json").write_text(dump({
        "add_prefix_space": False, "bos_token": begin, "do_lower_case": True, "eos_token": end, "errors": "replace",
        "model_max_length": 77, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer", "unk_token": end}))


def added_cases():
    """The same tokens, as today's and older versions of transformers write them into a tokenizer's folder."""
    flags = lambda t: {k: getattr(t, k) for k in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}
    decoder = {str(566 + i): flags(t) for i, t in enumerate(ADDED)}
    special = lambda text: {**flags(AddedToken(text)), "special": True}
    decoder |= {"564": special("<|startoftext|>"), "565": special("<|endoftext|>")}
    cases = []
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer"
            path.mkdir()
            write_folder(path)
            if name == "tokenizer.json":
                t = CLIPTokenizer.from_pretrained(path)
                t.add_tokens(ADDED)
                t.save_pretrained(path)
                content = {"added_tokens": json.loads((path / name).read_text())["added_tokens"]}
            elif name == "tokenizer_config.json":
                (path / "tokenizer.json").unlink()
                texts = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
                content = {**json.loads((path / name).read_text()), **texts, "added_tokens_decoder": decoder}
            else:
                (path / "tokenizer.json").unlink()
                content = {t.content: 566 + i for i, t in enumerate(ADDED)}
            if name != "tokenizer.json":
                (path / name).write_text(json.dumps(content))
            t = CLIPTokenizer.from_pretrained(path)
            padded = lambda text: t(text, padding="max_length", max_length=77, truncation=True).input_ids
            cases.append({"file": name, "content": content, "cases": [[text, padded(text)] for text in ADDED_TEXTS]})
    return cases


def make():
    result = {}
    for name, source in (("small", small()), ("openai", openai())):
        t = tokenizer(*source)
        padded = lambda text: t(text, padding="max_length", max_length=77, truncation=True).input_ids
        result[name] = [{"text": text, "untruncated": t(text).input_ids, "padded": padded(text)} for text in TEXTS]
    path = FIXTURES / "tokenizer_cases.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")
    added = FIXTURES / "tokenizer_added.json"
    added.write_text(json.dumps(added_cases(), ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{added.name}: {len(ADDED_TEXTS)} texts in each of 3 layouts, {added.stat().st_size / 1024:.0f} KB")
    print(f"{path.name}: {len(TEXTS)} texts with each vocabulary, {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    make()
