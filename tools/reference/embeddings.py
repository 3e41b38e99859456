"""embedding_*: Textual Inversion for pipeline_sd1 in the files that people share, and what diffusers makes of prompts
with them and with clip_skip: embedding_expected.safetensors."""

import json

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from common import FIXTURES

WORD = "<two>"  # two vectors, learned_embeds.bin as diffusers writes them
STYLE = "small-style"  # A1111's, which goes by the file's name
# In the case of the words: of others diffusers takes the first vector alone.
PROMPTS = ["a photo of a <two> cat", "small-style, a <two>", "small-style small-style dog", "a red apple"]


def encode(pipe, clip_skip=None):
    negative = ["a dog"] * len(PROMPTS)
    return pipe.encode_prompt(PROMPTS, "cpu", 1, True, negative, clip_skip=clip_skip)


@torch.no_grad()
def make():
    generator = torch.Generator().manual_seed(0)
    two, style = torch.randn(2, 16, generator=generator), torch.randn(3, 16, generator=generator)
    torch.save({WORD: two}, FIXTURES / "embedding_diffusers.bin")
    a1111 = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(style)}, "name": STYLE, "step": 9,
             "sd_checkpoint": None, "sd_checkpoint_name": None}
    torch.save(a1111, FIXTURES / "embedding_a1111.pt")
    save_file({"emb_params": style}, FIXTURES / "embedding_comfy.safetensors")
    pipe = StableDiffusionPipeline.from_pretrained(FIXTURES / "pipeline_sd1", safety_checker=None)
    # diffusers 0.42 looks for the final norm where transformers had it before version 5.
    object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    pipe.load_textual_inversion({WORD: two})
    pipe.load_textual_inversion(a1111)
    out = {}
    for skip in (None, 0, 1):
        context, negative = encode(pipe, skip)
        out |= {f"out.context_{skip}": context.contiguous(), f"out.negative_{skip}": negative[:1].contiguous()}
    meta = json.dumps({"prompts": PROMPTS, "negative": "a dog"})
    save_file(out, FIXTURES / "embedding_expected.safetensors", {"fixture": meta})
    print("embedding_*: 3 files,", {k: tuple(v.shape) for k, v in out.items()})


if __name__ == "__main__":
    make()
