"""One part of `bench sd15` with diffusers on PyTorch: `reference_sd15.py PART THREADS` prints its figures as JSON."""
import json
import os
import resource
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from peft import LoraConfig
from transformers import CLIPTextConfig, CLIPTextModel

PART, THREADS, RUNS, RANK = sys.argv[1], int(sys.argv[2]), 2, 4
torch.set_num_threads(THREADS)
torch.nn.init.kaiming_uniform_ = lambda tensor, *_, **__: tensor  # the weights are filled once, below


def filled(module):
    """The model with random weights of the size that keeps activations finite; norms' weights stay 1."""
    with torch.no_grad():
        for p in module.parameters():
            if p.dim() > 1:
                p.uniform_(-1, 1).mul_((3 / p[0].numel()) ** 0.5)
    return module.eval().requires_grad_(False)


def unet():
    return filled(UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8))


def vae():
    return filled(AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4))


def inputs(batch):
    return torch.randn(batch, 4, 64, 64), torch.full((batch,), 500), torch.randn(batch, 77, 768)


def lora_step(through_vae):
    model, decoder = unet(), vae() if through_vae else None
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    parameters = [p for p in model.parameters() if p.requires_grad]
    for m in (model, decoder) if through_vae else (model,):
        m.train()  # checkpointing is on in training only; there is no dropout
        m.enable_gradient_checkpointing()
    x, t, context = inputs(1)

    def run():
        out = model(x, t, context).sample
        loss = decoder.decode((x - out) / 0.18215).sample.mean() if through_vae else (out * out).mean()
        return torch.autograd.grad(loss, parameters)
    return run


def forward(f, *arguments):
    def run():
        with torch.no_grad():
            return f(*arguments)
    return run


def text():
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    return forward(filled(CLIPTextModel(config)), torch.full((2, 77), 320))


PARTS = {
    "text": text,
    "unet": lambda: forward(unet(), *inputs(2)),
    "vae": lambda: forward(vae().decode, torch.randn(1, 4, 64, 64)),
    "lora": lambda: lora_step(False),
    "step": lambda: lora_step(True),
}

run = PARTS[PART]()
seconds, cpu = [], []
for _ in range(RUNS):
    start, before = time.perf_counter(), time.process_time()
    run()
    seconds.append(time.perf_counter() - start)
    cpu.append(time.process_time() - before)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": min(seconds), "cpu": min(cpu), "peak": peak, "version": torch.__version__}))
