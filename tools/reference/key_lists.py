"""keys_{sd15,sd21,sdxl}.json.gz: names and shapes of the full-size published models, without their weights.

{component: {diffusers name: shape}, "single_file": {original name: shape}}, made on the meta device from the published
configs. single_file lacks only buffers (betas and the like, position_ids, logit_scale).
"""

import gzip
import json

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

import ldm_names
from common import FIXTURES

CROSS, DOWN, UP, CROSS_UP = "CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
SD15 = dict(sample_size=64, in_channels=4, out_channels=4, cross_attention_dim=768, attention_head_dim=8,
            layers_per_block=2, block_out_channels=(320, 640, 1280, 1280), down_block_types=(CROSS, CROSS, CROSS, DOWN),
            up_block_types=(UP, CROSS_UP, CROSS_UP, CROSS_UP))
SD21 = SD15 | dict(sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
                   use_linear_projection=True, upcast_attention=True)
SDXL = SD15 | dict(
    sample_size=128, cross_attention_dim=2048, attention_head_dim=(5, 10, 20), use_linear_projection=True,
    block_out_channels=(320, 640, 1280), down_block_types=(DOWN, CROSS, CROSS), up_block_types=(CROSS_UP, CROSS_UP, UP),
    transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816)
VAE = dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4, sample_size=512,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)


def clip(width, heads, layers):
    return dict(hidden_size=width, intermediate_size=4 * width, num_attention_heads=heads, num_hidden_layers=layers,
                projection_dim=width)


CLIP_L, CLIP_H, CLIP_G = clip(768, 12, 12), clip(1024, 16, 23), clip(1280, 20, 32)
# Published parameter counts, as a check of the configs above.
COUNTS = {"sd15": 859_520_964, "sd21": 865_910_724, "sdxl": 2_567_463_684, "vae": 83_653_863, "clip_l": 123_060_480,
          "clip_g": 694_659_840}


def state(model, count=None):
    result = model.state_dict()
    total = sum(v.numel() for v in result.values())
    if count is not None and total != COUNTS[count]:
        raise ValueError(f"{count}: {total} parameters, published {COUNTS[count]}")
    return result


def text(config, projection=False, count=None):
    """The text tower with the published names (`text_model.` first); with its projection where the model has one."""
    model = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    if not projection:
        model.text_projection = torch.nn.Identity()
    return state(model, count)


def write(name, components, single_file):
    shapes = lambda tensors: {k: list(v.shape) for k, v in sorted(tensors.items())}
    content = {k: shapes(v) for k, v in components.items()} | {"single_file": shapes(single_file)}
    data = gzip.compress(json.dumps(content, separators=(",", ":")).encode(), 9, mtime=0)
    path = FIXTURES / f"keys_{name}.json.gz"
    path.write_bytes(data)
    print(f"{path.name}: {', '.join(f'{k} {len(v)}' for k, v in content.items())}, {len(data) / 1024:.0f} KB")


def make():
    with torch.device("meta"):
        vae = state(AutoencoderKL(**VAE), "vae")
        first_stage = ldm_names.vae(vae, VAE)
        clip_l = text(CLIP_L, count="clip_l")
        unet = state(UNet2DConditionModel(**SD15), "sd15")
        write("sd15", {"unet": unet, "vae": vae, "text_encoder": clip_l},
              ldm_names.unet(unet, SD15) | first_stage | ldm_names.clip(clip_l))

        unet, clip_h = state(UNet2DConditionModel(**SD21), "sd21"), text(CLIP_H)
        # The single file has OpenCLIP's 24th layer and projection too; diffusers drops them.
        whole_h = text(CLIP_H | dict(num_hidden_layers=24), projection=True)
        write("sd21", {"unet": unet, "vae": vae, "text_encoder": clip_h},
              ldm_names.unet(unet, SD21) | first_stage | ldm_names.open_clip(whole_h, "cond_stage_model.model."))

        unet, clip_g = state(UNet2DConditionModel(**SDXL), "sdxl"), text(CLIP_G, projection=True, count="clip_g")
        texts = (ldm_names.clip(clip_l, "conditioner.embedders.0.transformer.")
                 | ldm_names.open_clip(clip_g, "conditioner.embedders.1.model."))
        write("sdxl", {"unet": unet, "vae": vae, "text_encoder": clip_l, "text_encoder_2": clip_g},
              ldm_names.unet(unet, SDXL) | first_stage | texts)


if __name__ == "__main__":
    make()
