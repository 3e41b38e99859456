"""The main job's DRaFT-LV update in PyTorch: diffusers, transformers and peft on the same model, for timing in turn.

reference_train.py MODEL_FOLDER THREADS STEPS. Prints what it is; then, for each line read, makes one update and prints its
seconds: STEPS DDIM steps with guidance 2 on 8 prompts, the gradient of the last step for the sample and two re-noised
copies of it through the decoder and the image encoder of emoji-clip, clipping and AdamW on a LoRA of rank 8.
"""
import sys
import time
from pathlib import Path

import diffusers
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from peft import LoraConfig
from transformers import CLIPModel, CLIPTextModel

root, threads, STEPS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(0)
BATCH, GUIDANCE, COPIES = 8, 2.0, 2

unet = UNet2DConditionModel.from_pretrained(root / "unet", torch_dtype=torch.float32)
unet.requires_grad_(False)
unet.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights="gaussian",
                            target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
parameters = [p for p in unet.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-4)
vae = AutoencoderKL.from_pretrained(root / "vae", torch_dtype=torch.float32).requires_grad_(False)
text = CLIPTextModel.from_pretrained(root / "text_encoder", torch_dtype=torch.float32).requires_grad_(False)
clip = CLIPModel.from_pretrained(root / "emoji-clip", torch_dtype=torch.float32).requires_grad_(False)
scheduler = DDIMScheduler.from_pretrained(root / "scheduler")
scheduler.set_timesteps(STEPS)
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
with torch.no_grad():
    # The words do not matter for the time.
    length = text.config.max_position_embeddings
    context = text(torch.randint(0, 3000, (2 * BATCH, length))).last_hidden_state
    target = F.normalize(torch.randn(BATCH, clip.config.projection_dim), dim=-1)


def denoise(x, t):
    uncond, cond = unet(torch.cat([x, x]), t, context).sample.chunk(2)
    return uncond + GUIDANCE * (cond - uncond)


def reward(latents):
    image = (vae.decode(latents / vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)
    pooled = clip.vision_model((image - mean) / deviation).pooler_output
    return (F.normalize(clip.visual_projection(pooled), dim=-1) * target).sum(dim=-1)


def update():
    with torch.no_grad():
        x = torch.randn(BATCH, 4, 16, 16)
        for t in scheduler.timesteps[:-1]:
            x = scheduler.step(denoise(x, t), t, x).prev_sample
    last = scheduler.timesteps[-1]
    bar = scheduler.alphas_cumprod[last]
    sample = scheduler.step(denoise(x, last), last, x).prev_sample
    (-reward(sample).mean() / (COPIES + 1)).backward()
    for _ in range(COPIES):
        noisy = bar.sqrt() * sample.detach() + (1 - bar).sqrt() * torch.randn_like(sample)
        clean = (noisy - (1 - bar).sqrt() * denoise(noisy, last)) / bar.sqrt()
        (-reward(clean).mean() / (COPIES + 1)).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()


print(f"PyTorch {torch.__version__}, diffusers {diffusers.__version__}", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    update()
    print(time.perf_counter() - start, flush=True)
