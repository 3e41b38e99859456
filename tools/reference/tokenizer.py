"""tokenizer_cases.json: awkward texts, encoded by transformers' CLIPTokenizer with a small vocabulary and CLIP's own.

The small vocabulary is that of pipeline_sd1/tokenizer; CLIP's own is OpenAI's bpe_simple_vocab_16e6.txt.gz.
"""

import gzip
import json
from pathlib import Path

import open_clip
from transformers import CLIPTokenizer

from common import FIXTURES

WORDS = "a an the of in on and with photo picture cat cats dog red blue apple green bird house 3d flat it".split()
TEXTS = [
    "", "a photo of a cat", "A Photo of a CAT", "  a   photo\tof\na cat ", "it's the dog's house, isn't it?!",
    "3d red apple 42", "café Zürich naïve", "日本語 текст", "a 😀 smile 👩‍👩‍👧", "cat-dog_bird/house",
    "...!!! (((emphasis:1.3)))", "don't we'll I'd they've", "<|startoftext|> a cat <|endoftext|> dog",
    "e\u0301 = \u00e9", "ÀÉÎ ǅ İ", "½ Ⅷ ٣ x²", "a photo of a cat and a dog " * 12, "\u00a0a\u3000cat\u200b"]


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


def make():
    result = {}
    for name, source in (("small", small()), ("openai", openai())):
        t = tokenizer(*source)
        padded = lambda text: t(text, padding="max_length", max_length=77, truncation=True).input_ids
        result[name] = [{"text": text, "untruncated": t(text).input_ids, "padded": padded(text)} for text in TEXTS]
    path = FIXTURES / "tokenizer_cases.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")
    print(f"{path.name}: {len(TEXTS)} texts with each vocabulary, {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    make()
