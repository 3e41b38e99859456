"""single_file_*.safetensors: checkpoints in their original layout, checked by reading them back with diffusers.

single_file_sd1 has the weights of pipeline_sd1/. single_file_open_clip has clip_text_sd2 (with the fourth layer that
readers must drop) and clip_text_sdxl2 under OpenCLIP's names.
"""

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint,
                                                 convert_open_clip_checkpoint)
from open_clip.transformer import TextTransformer
from safetensors.torch import load_file, save_file

import ldm_names
from autoencoders import KL
from common import FIXTURES, randomise, tensor
from text_encoders import IDS, TEXT
from text_encoders import build as build_text
from unets import VARIANTS, build

SD2, SDXL = "cond_stage_model.model.", "conditioner.embedders.1.model."


def same(what, expected, found):
    wrong = [k for k in expected if k not in found or not torch.equal(expected[k], found[k])]
    if wrong or len(found) != len(expected):
        raise ValueError(f"{what}: diffusers reads other tensors back: {wrong[:5]}, {set(found) - set(expected)}")


def check_unets():
    """Every variant's U-Net in original names must become itself again."""
    for name in ("sd1", "sd2", "sdxl"):
        unet = build(name)
        config = dict(UNet2DConditionModel(**VARIANTS[name]).config)
        original = ldm_names.unet(unet.state_dict(), VARIANTS[name])
        same(f"unet {name}", unet.state_dict(), convert_ldm_unet_checkpoint(dict(original), config))


def write(name, tensors):
    tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    path = FIXTURES / f"{name}.safetensors"
    save_file(tensors, path)
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size / 1024:.0f} KB")


def sd1():
    """The pipeline's weights, and the buffers that published checkpoints carry and readers must ignore."""
    folder = FIXTURES / "pipeline_sd1"
    unet = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    vae = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    text = load_file(folder / "text_encoder/model.safetensors")
    tensors = ldm_names.unet(unet, VARIANTS["sd1"]) | ldm_names.vae(vae, KL) | ldm_names.clip(text)
    config = dict(AutoencoderKL(**KL).config)
    same("vae", vae, convert_ldm_vae_checkpoint(dict(tensors), config))
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    tensors |= {"betas": schedule.betas, "alphas_cumprod": schedule.alphas_cumprod,
                "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}
    write("single_file_sd1", tensors)


def run_open_clip(tensors, prefix, layers):
    """OpenCLIP's own text tower on the renamed weights: pooled and projected."""
    tower = TextTransformer(context_length=12, vocab_size=TEXT["vocab_size"], width=TEXT["hidden_size"], heads=2,
                            layers=layers, mlp_ratio=2.0, output_dim=TEXT["projection_dim"])
    tower.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}, strict=False)
    return tower.eval()(IDS)


def open_clip():
    sd2, sdxl = build_text("sd2"), build_text("sdxl2")
    published = {f"text_model.{k}": v for k, v in sd2.state_dict().items()}
    fourth = {k.replace("layers.2.", "layers.3."): tensor(450 + i, *v.shape, scale=0.2)
              for i, (k, v) in enumerate(published.items()) if "layers.2." in k}
    extra = {"text_projection.weight": tensor(449, TEXT["projection_dim"], TEXT["hidden_size"]),
             "logit_scale": torch.tensor(4.6)}
    tensors = (ldm_names.open_clip(published | fourth | extra, SD2) | ldm_names.open_clip(sdxl.state_dict(), SDXL)
               | {f"{SDXL}logit_scale": torch.tensor(4.6)})
    found = convert_open_clip_checkpoint(sdxl, dict(tensors), prefix=SDXL)
    same("sdxl text", sdxl.state_dict(), found)
    with torch.no_grad():
        torch.testing.assert_close(run_open_clip(tensors, SDXL, 3), sdxl(IDS).text_embeds)
    write("single_file_open_clip", tensors)


def make():
    check_unets()
    sd1()
    open_clip()


if __name__ == "__main__":
    make()
