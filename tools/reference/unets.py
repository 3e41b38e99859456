"""unet_*.safetensors: one tiny UNet2DConditionModel per architecture variant, with and without a LoRA.

The widths are ours; every other key follows the published config named beside it.
"""

import torch
from diffusers import LatentConsistencyModelPipeline, UNet2DConditionModel
from peft import LoraConfig

from common import differentiate, prefixed, randomise, save, tensor

RANK, ALPHA = 4, 8
TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
CROSS, DOWN, UP = "CrossAttnDownBlock2D", "DownBlock2D", "UpBlock2D"
CROSS_UP = "CrossAttnUpBlock2D"
COMMON = dict(sample_size=16, in_channels=4, out_channels=4, norm_num_groups=4, cross_attention_dim=16)
SD1 = COMMON | dict(block_out_channels=[8, 8, 8, 12], layers_per_block=2, attention_head_dim=2,
                    down_block_types=[CROSS, CROSS, CROSS, DOWN], up_block_types=[UP, CROSS_UP, CROSS_UP, CROSS_UP])
SD2 = SD1 | dict(attention_head_dim=[1, 2, 4, 4], use_linear_projection=True)
SDXL = COMMON | dict(
    block_out_channels=[8, 8, 12], layers_per_block=2, attention_head_dim=[1, 2, 4], use_linear_projection=True,
    down_block_types=[DOWN, CROSS, CROSS], up_block_types=[CROSS_UP, CROSS_UP, UP],
    transformer_layers_per_block=[1, 1, 2],
    addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 10)
VARIANTS = {
    "sd1": SD1,  # stable-diffusion-v1-5
    "sd2": SD2,  # stable-diffusion-2-1 and SD-Turbo (768-v's upcast_attention changes nothing in float32)
    "sdxl": SDXL,  # stable-diffusion-xl-base-1.0 and SDXL-Turbo; published transformer layers are [1, 2, 10]
    "bk_sdm_base": SD1 | dict(layers_per_block=1),  # nota-ai/bk-sdm-base, segmind/small-sd
    "bk_sdm_small": SD1 | dict(layers_per_block=1, mid_block_type=None),  # nota-ai/bk-sdm-small
    "bk_sdm_tiny": SD1 | dict(  # nota-ai/bk-sdm-tiny, segmind/tiny-sd: no downsampler after the last down block
        layers_per_block=1, mid_block_type=None, block_out_channels=[8, 8, 12],
        down_block_types=[CROSS] * 3, up_block_types=[CROSS_UP] * 3),
    "lcm": SD1 | dict(layers_per_block=1, time_cond_proj_dim=16),  # SimianLuo/LCM_Dreamshaper_v7 (2 layers and 256)
}
# Seeds with which float32 gradients are within 1e-4 of float64's: tiny norms can amplify rounding a thousandfold.
SEEDS = {"sd1": 100, "sd2": 101, "sdxl": 132, "bk_sdm_base": 103, "bk_sdm_small": 124, "bk_sdm_tiny": 105, "lcm": 106}


def build(variant):
    return randomise(UNet2DConditionModel(**VARIANTS[variant]), SEEDS[variant]).requires_grad_(False)


def add_lora(unet, seed=50):
    """PEFT's gaussian initialisation with a B that is not zero; returns {path.lora_A.weight: parameter}."""
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=TARGETS))
    lora = {k: p for k, p in unet.named_parameters() if "lora_" in k}
    for i, (name, p) in enumerate(sorted(lora.items())):
        p.data = tensor(seed + i, *p.shape, scale=1 / RANK)
    return {k.replace(".default", ""): p for k, p in lora.items()}


def inputs_of(config):
    """Model inputs as a diffusers pipeline passes them; the two samples are at different times."""
    inputs = {"sample": tensor(1, 2, 4, 16, 16), "timestep": torch.tensor([981, 21]),
              "encoder_hidden_states": tensor(2, 2, 7, 16)}
    if config.get("addition_embed_type"):
        sizes = torch.tensor([[512, 512, 0, 0, 512, 512], [640, 384, 16, 8, 512, 768]], dtype=torch.float32)
        inputs |= {"text_embeds": tensor(3, 2, 10), "time_ids": sizes}
    if config.get("time_cond_proj_dim"):
        embed = LatentConsistencyModelPipeline.get_guidance_scale_embedding
        inputs["guidance_scale"] = torch.tensor([8.5, 3.0])
        inputs["timestep_cond"] = embed(None, inputs["guidance_scale"] - 1, config["time_cond_proj_dim"])
    return inputs


def call(unet, inputs):
    extra = {}
    if "time_ids" in inputs:
        extra["added_cond_kwargs"] = {"text_embeds": inputs["text_embeds"], "time_ids": inputs["time_ids"]}
    sample, t, context = inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"]
    return unet(sample, t, context, timestep_cond=inputs.get("timestep_cond"), **extra).sample


def variant_fixture(name):
    unet, inputs = build(name), inputs_of(VARIANTS[name])
    params = prefixed("param.", dict(unet.named_parameters()))
    base = call(unet, inputs)
    lora = prefixed("lora.", add_lora(unet))
    by = {f"in.{k}": inputs[k].requires_grad_() for k in ("sample", "encoder_hidden_states")}
    result = differentiate({"sample": call(unet, inputs)}, by | lora)
    config = {k: v for k, v in unet.config.items() if not k.startswith("_")} | {"_class_name": "UNet2DConditionModel"}
    tensors = prefixed("in.", inputs) | params | lora | result | {"out.base": base}
    save(f"unet_{name}", tensors, {"config": config, "lora": {"rank": RANK, "alpha": ALPHA, "targets": TARGETS}})


def make():
    for name in VARIANTS:
        variant_fixture(name)


if __name__ == "__main__":
    make()
