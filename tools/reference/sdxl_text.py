"""sdxl_text*: SDXL's two text encoders (the first is pipeline_sd1's) with Textual Inversion, clip_skip and LoRAs of both.

sdxl_text.safetensors has the second encoder (`param.*`, its config in the metadata) and what diffusers makes of PROMPTS:
`out.<case>.context` and `out.<case>.pooled` for the cases skip_None, skip_0, skip_1, words and one for each LoRA file.
"""

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from common import FIXTURES, prefixed, randomise, save, tensor
from lora_files import TEXT_TARGETS, adapt, to_kohya, write
from pipeline import load as load_pipeline
from text_encoders import published_names, text_config
from unets import build

WORD = "<two>"
PROMPTS = ["a photo of a <two> cat", "a red apple"]
HIDDEN = 8


def second():
    vocabulary = load_pipeline().text_encoder.config.vocab_size
    config = CLIPTextConfig(vocab_size=vocabulary, hidden_size=HIDDEN, intermediate_size=16, num_attention_heads=2,
                            num_hidden_layers=3, projection_dim=10, bos_token_id=0, eos_token_id=2, pad_token_id=1,
                            hidden_act="gelu")
    return randomise(CLIPTextModelWithProjection(config), 77)


def pipeline(unet=None):
    """The texts' half, with tokenizers of their own, since words are added to each; reading LoRAs wants a U-Net too."""
    one, other = load_pipeline(), load_pipeline()
    return StableDiffusionXLPipeline(vae=None, unet=unet, scheduler=None, text_encoder=one.text_encoder,
                                     text_encoder_2=second(), tokenizer=one.tokenizer, tokenizer_2=other.tokenizer)


def encoded(case, pipe, clip_skip=None):
    context, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False, clip_skip=clip_skip)
    return {f"out.{case}.context": context.contiguous(), f"out.{case}.pooled": pooled.contiguous()}


def words():
    """Vectors for both encoders in one file, as people share them for SDXL."""
    vectors = {"clip_l": tensor(701, 2, 16), "clip_g": tensor(702, 2, HIDDEN)}
    save_file(vectors, FIXTURES / "sdxl_text_embedding.safetensors")
    pipe = pipeline()
    pipe.load_textual_inversion(vectors["clip_l"], token=WORD, text_encoder=pipe.text_encoder, tokenizer=pipe.tokenizer)
    pipe.load_textual_inversion(vectors["clip_g"], token=WORD, text_encoder=pipe.text_encoder_2, tokenizer=pipe.tokenizer_2)
    return encoded("words", pipe)


def loras():
    (first, one), (other, two) = (adapt(load_pipeline().text_encoder, TEXT_TARGETS), adapt(second(), TEXT_TARGETS))
    for i, name in enumerate(sorted(two)):
        two[name].data = tensor(800 + i, *two[name].shape, scale=0.2)
    files = ["sdxl_text_lora_diffusers.safetensors"]
    StableDiffusionXLPipeline.save_lora_weights(
        FIXTURES, text_encoder_lora_layers=one, text_encoder_2_lora_layers=two, weight_name=files[0],
        text_encoder_lora_adapter_metadata=first.peft_config["default"].to_dict(),
        text_encoder_2_lora_adapter_metadata=other.peft_config["default"].to_dict())
    inner = {k if k.startswith("text_model.") else f"text_model.{k}": v for k, v in two.items()}
    kohya = to_kohya(prefixed("text_encoder.text_model.", one) | prefixed("text_encoder_2.", inner))
    files.append(write("sdxl_text_lora_kohya.safetensors", kohya))
    result = {}
    for file in files:
        pipe = pipeline(build("sdxl"))
        pipe.load_lora_weights(str(FIXTURES), weight_name=file, local_files_only=True)
        result |= encoded(file.split("_")[-1].removesuffix(".safetensors"), pipe)
    return result


@torch.no_grad()
def make():
    outputs = {}
    for skip in (None, 0, 1):
        outputs |= encoded(f"skip_{skip}", pipeline(), skip)
    outputs |= words() | loras()
    model = second()
    meta = {"config": text_config(model.config) | {"architectures": [type(model).__name__]}, "prompts": PROMPTS, "word": WORD}
    save("sdxl_text", published_names(model) | outputs, meta)


if __name__ == "__main__":
    make()
