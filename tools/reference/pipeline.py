"""pipeline_sd1/: a complete tiny SD 1.x pipeline in diffusers layout, and what diffusers makes of it with DDIM.

The U-Net is unet_sd1's and the VAE vae_kl's. pipeline_sd1_expected.safetensors has the encodings, every latent and the
images of a run with 4 DDIM steps (SD 1.5's scheduler config) at guidance 5 from stored latents.
"""

import json
import shutil

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import tokenizer
from autoencoders import KL
from common import FIXTURES, randomise, save, tensor
from unets import build

FOLDER = FIXTURES / "pipeline_sd1"
PROMPTS = ["a photo of a cat", "A red apple, 3d"]
NEGATIVE = "blue house"
SCHEDULER = {  # the scheduler_config.json published with SD 1.5
    "_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "beta_start": 0.00085, "clip_sample": False, "num_train_timesteps": 1000, "set_alpha_to_one": False,
    "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None}


def text_encoder(vocabulary_size):
    config = CLIPTextConfig(
        vocab_size=vocabulary_size, hidden_size=16, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2,
        projection_dim=16, hidden_act="quick_gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1)
    return randomise(CLIPTextModel(config), 401)


def components():
    vocabulary, merges = tokenizer.small()
    return dict(
        unet=build("sd1"), vae=randomise(AutoencoderKL(**KL), 301), text_encoder=text_encoder(len(vocabulary)),
        tokenizer=tokenizer.tokenizer(vocabulary, merges), scheduler=PNDMScheduler())


def write_folder():
    """Saves with diffusers, then gives the text encoder the names of published files (transformers 5 shortens them)."""
    pipe = StableDiffusionPipeline(**components(), safety_checker=None, feature_extractor=None,
                                   requires_safety_checker=False)
    shutil.rmtree(FOLDER, ignore_errors=True)
    pipe.save_pretrained(FOLDER)
    tokenizer.write_folder(FOLDER / "tokenizer")
    (FOLDER / "scheduler/scheduler_config.json").write_text(json.dumps(SCHEDULER, indent=2) + "\n")
    weights = FOLDER / "text_encoder/model.safetensors"
    short = load_file(weights)
    shutil.copy(weights, FIXTURES / "sd1_text_encoder_transformers5.safetensors")
    save_file({f"text_model.{k}": v for k, v in short.items()}, weights, metadata={"format": "pt"})


def load():
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True)
    pipe.scheduler = DDIMScheduler.from_config(SCHEDULER)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run():
    pipe, start = load(), tensor(402, 2, 4, 16, 8)
    # The published vocab.json and merges.txt must give what tokenizer.json gives.
    folder = FOLDER / "tokenizer"
    rebuilt = CLIPTokenizer(vocab=json.loads((folder / "vocab.json").read_text()),
                            merges=[tuple(m.split()) for m in (folder / "merges.txt").read_text().split("\n")[1:-1]])
    padding = dict(padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    encode = lambda t, texts: t(texts, **padding).input_ids
    ids = encode(pipe.tokenizer, [*PROMPTS, NEGATIVE])
    if not torch.equal(ids, encode(rebuilt, [*PROMPTS, NEGATIVE])):
        raise ValueError("pipeline_sd1: vocab.json and tokenizer.json disagree")

    latents, latents_after = start.clone(), []
    keep = lambda pipe, step, t, values: latents_after.append(values["latents"].clone()) or {}
    images = pipe(PROMPTS, negative_prompt=[NEGATIVE] * 2, num_inference_steps=4, guidance_scale=5.0, latents=latents,
                  height=128, width=64, output_type="np", callback_on_step_end=keep).images
    positive, negative = pipe.encode_prompt(PROMPTS, "cpu", 1, True, [NEGATIVE] * 2)
    tensors = {
        "in.latents": start, "out.input_ids": ids, "out.prompt_embeds": positive, "out.negative_embeds": negative[:1],
        "out.timesteps": pipe.scheduler.timesteps, "out.latents": torch.stack(latents_after),
        "out.image_0": torch.from_numpy(images[0]).permute(2, 0, 1),
        "out.images_uint8": torch.from_numpy((images * 255).round().astype(np.uint8)),
    }
    meta = {"prompts": PROMPTS, "negative": NEGATIVE, "steps": 4, "guidance": 5.0, "scheduler": "DDIM, eta 0",
            "notes": "out.input_ids: the prompts, then the negative; out.latents[i]: after step i; out.image_0: float "
                     "[3, H, W] in [0, 1]; out.images_uint8: [2, H, W, 3]"}
    save("pipeline_sd1_expected", tensors, meta)


def make():
    write_folder()
    with torch.no_grad():
        run()


if __name__ == "__main__":
    make()
