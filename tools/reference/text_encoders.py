"""clip_*.safetensors: tiny text encoders of SD 1.x, 2.x and SDXL, CLIP's vision tower, the whole CLIP with its loss.

Parameters carry the names of published checkpoints. transformers 5 writes CLIPTextModel without the `text_model.`
prefix (see sd1_text_encoder_transformers5.safetensors, made by pipeline.py); everything on the hub has it.
"""

import torch
from transformers import (CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection,
                          CLIPVisionConfig, CLIPVisionModelWithProjection)

from common import differentiate, prefixed, randomise, save, tensor

# eos_token_id 2 is what the published SD configs say: the pooled state is then taken at the largest token id.
TEXT = dict(vocab_size=60, max_position_embeddings=12, hidden_size=16, intermediate_size=32,
            num_attention_heads=2, num_hidden_layers=3, projection_dim=10, bos_token_id=0, eos_token_id=2,
            pad_token_id=1)
VISION = dict(image_size=24, patch_size=8, hidden_size=16, intermediate_size=32, num_attention_heads=2,
              num_hidden_layers=2, projection_dim=10, hidden_act="quick_gelu")
SHARED_KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "projection_dim",
               "hidden_act", "layer_norm_eps")
TEXT_KEYS = (*SHARED_KEYS, "vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
VISION_KEYS = (*SHARED_KEYS, "image_size", "patch_size", "num_channels")
MODELS = {"sd1": (CLIPTextModel, "quick_gelu"), "sd2": (CLIPTextModel, "gelu"),
          "sdxl2": (CLIPTextModelWithProjection, "gelu")}
IDS = torch.tensor([[58, 5, 17, 8, 33, 59, 59, 59, 59, 59, 59, 59],  # begin, words, end, padded with the end token
                    [58, 41, 9, 22, 7, 12, 50, 3, 28, 30, 11, 59],
                    [58, 59, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])  # the empty prompt, padded with 0 as SD 2 and SDXL do


def published_names(module):
    names = dict(module.named_parameters())
    bare = isinstance(module, CLIPTextModel)
    return {f"param.{'text_model.' if bare else ''}{k}": v for k, v in names.items()}


def text_config(config):
    return {k: getattr(config, k) for k in TEXT_KEYS}


def vision_config(config):
    return {k: getattr(config, k) for k in VISION_KEYS}


def build(name):
    model_class, activation = MODELS[name]
    return randomise(model_class(CLIPTextConfig(**TEXT, hidden_act=activation)), 200 + len(name))


def text(name, notes):
    model = build(name)
    out = model(IDS, output_hidden_states=True)
    inner = model.text_model if hasattr(model, "text_model") else model
    outputs = {"penultimate": out.hidden_states[-2]}
    if isinstance(model, CLIPTextModel):
        outputs["last_hidden_state"] = out.last_hidden_state
        outputs["clip_skip_1"] = inner.final_layer_norm(out.hidden_states[-2])
    else:
        outputs["text_embeds"] = out.text_embeds
    params = published_names(model)
    meta = {"config": text_config(model.config) | {"architectures": [type(model).__name__]}, "notes": notes}
    save(f"clip_text_{name}", {"in.input_ids": IDS} | params | differentiate(outputs, params), meta)


def vision():
    config = CLIPVisionConfig(**VISION)
    model = randomise(CLIPVisionModelWithProjection(config), 210)
    pixels = tensor(211, 2, 3, 24, 24).requires_grad_()
    out = model(pixels, output_hidden_states=True)
    leaves = {"in.pixel_values": pixels} | published_names(model)
    outputs = {"image_embeds": out.image_embeds, "penultimate": out.hidden_states[-2]}
    meta = {"config": vision_config(config) | {"architectures": ["CLIPVisionModelWithProjection"]},
            "notes": "penultimate = hidden_states[-2], no final norm"}
    save("clip_vision", leaves | differentiate(outputs, leaves), meta)


def contrastive():
    """CLIPModel with both towers, its logits and its symmetric cross-entropy over the batch."""
    config = CLIPConfig(text_config=TEXT | dict(hidden_act="quick_gelu", num_hidden_layers=1),
                        vision_config=VISION | dict(num_hidden_layers=1), projection_dim=10)
    model = randomise(CLIPModel(config), 220)
    model.logit_scale.data = torch.tensor(1.2)
    pixels = tensor(221, 3, 3, 24, 24).requires_grad_()
    out = model(input_ids=IDS, pixel_values=pixels, return_loss=True)
    outputs = {k: getattr(out, k) for k in ("logits_per_image", "text_embeds", "image_embeds")}
    leaves = {"in.pixel_values": pixels} | published_names(model)
    loss_gradients = torch.autograd.grad(out.loss, list(leaves.values()), retain_graph=True, allow_unused=True)
    result = differentiate(outputs, leaves) | {"in.input_ids": IDS, "out.loss": out.loss}
    result |= {f"grad_of_loss.{k}": g for k, g in zip(leaves, loss_gradients)}
    towers = {"text_config": text_config(config.text_config), "vision_config": vision_config(config.vision_config)}
    meta = {"config": towers | {"projection_dim": config.projection_dim, "architectures": ["CLIPModel"]},
            "notes": "text_embeds and image_embeds are normalised; grad_of_loss.* are gradients of out.loss"}
    save("clip_contrastive", leaves | result, meta)


def make():
    text("sd1",
         "StableDiffusionPipeline uses last_hidden_state (after final_layer_norm); with clip_skip=1 it uses "
         "final_layer_norm(hidden_states[-2]) = clip_skip_1. penultimate = hidden_states[-2] without the norm is what "
         "SDXL takes from this encoder.")
    text("sd2",
         "OpenCLIP-H as published for SD 2.x: the last of its 24 layers is already dropped (num_hidden_layers 23), "
         "so the pipeline's last_hidden_state is OpenCLIP's penultimate layer after final_layer_norm.")
    text("sdxl2",
         "SDXL's text_encoder_2: prompt embeddings are hidden_states[-2] without final norm = penultimate, joined "
         "after text_encoder's; pooled = text_embeds.")
    vision()
    contrastive()


if __name__ == "__main__":
    make()
