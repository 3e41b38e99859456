"""wordpiece_cases.json: awkward texts, encoded by transformers' BertTokenizer with the small wordpiece.txt."""

import json

from transformers import BertTokenizer

from common import FIXTURES

WORDS = ("a an the of in on and with photo picture cat cats dog red blue apple green bird house 3d flat it play ##ing "
         "##s ##ed ##ful un ##able happy re ##re ##run cafe zurich naive i istanbul 2 ##0 ##23 strasse ss ß don t "
         "##dog ##ς").split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SYMBOLS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["—", "…", "。", "、", "「", "«", "€", "→", "😀", "👩", "½"]
OTHERS = [*"猫日本語", "か", "ひ", "##ら", "##か", "##な", "ᄒ", "##ᅡ", "##ᆫ", "ο", "##δ", "##ο", "σ", "##σ", "##м", "д", "##о"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = [
    "", "   ", "a photo of a cat", "A Photo of a CAT", "  a   photo\tof\na\r\ncat ",
    "playing unhappyful replayed rerun", "it's the dog's house, isn't it?!", "3d red apple 2023",
    "café Zürich naïve Café ÀÉÎ", "İstanbul I ı", "Straße ß ẞ", "日本語猫", "ひらがな か\u3099", "한 한국", "Дом дом", "ΟΔΟΣ σ ς",
    "a😀cat 👩‍👩‍👧 ☺️", "½ x² ① ﬁ",
    "(((emphasis:1.3))) [red|blue] {x} <lora:a:1> a_b `c` ~d^e", "wait—what… “quoted” «x» 。、「」 € → ©",
    "[CLS] a [SEP] cat [MASK] [PAD] [UNK] [cls]", "[ENC] a cat [DEC] dog[ENC]dog",
    "a\u00a0b\u3000c\u2028d\u200be\u00adf", "a\u0000b\ufffdc\u0007d\u0085e", "x" * 100 + " cat", "x" * 101 + " cat",
    "a " * 40, "dogdog catdog 😀😀",
    "u\u0308n\u0301 e\u0301", "\ue000a \U000e0001b \u0378c", "𝐜𝐚𝐭 ｃａｔ", "don't—can't",
]
LENGTH = 35


def vocabulary():
    tokens = SPECIAL + WORDS + list(LETTERS) + [f"##{c}" for c in LETTERS] + SYMBOLS + OTHERS
    return list(dict.fromkeys(tokens))


def tokenizer():
    """As BLIP's init_tokenizer makes it of bert-base-uncased (ImageReward/models/BLIP/blip.py)."""
    t = BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary())})
    t.add_special_tokens({"bos_token": "[DEC]"})
    t.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return t


def make():
    (FIXTURES / "wordpiece.txt").write_text("".join(f"{token}\n" for token in vocabulary()), encoding="utf-8")
    encoded = tokenizer()(TEXTS, padding="max_length", truncation=True, max_length=LENGTH)
    cases = [{"text": text, "ids": ids[:sum(mask)]}
             for text, ids, mask in zip(TEXTS, encoded.input_ids, encoded.attention_mask)]
    result = {"length": LENGTH, "words": len(tokenizer()), "cases": cases}
    (FIXTURES / "wordpiece_cases.json").write_text(json.dumps(result, ensure_ascii=True, indent=1) + "\n")
    print(f"wordpiece_cases.json: {len(cases)} texts")


if __name__ == "__main__":
    make()
