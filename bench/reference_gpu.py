"""Stable Diffusion 1.5's U-Net with diffusers on PyTorch and a GPU: `reference_gpu.py BATCHES SECONDS` prints milliseconds by "work batch mode" as JSON."""
import json
import os
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error"}

import torch

BATCHES, UNTIL = [int(b) for b in sys.argv[1].split(",")], time.monotonic() + float(sys.argv[2]) - 10
if not torch.cuda.is_available():
    sys.exit("error: PyTorch sees no CUDA device")

from diffusers import UNet2DConditionModel
from peft import LoraConfig

torch.nn.init.kaiming_uniform_ = lambda tensor, *_, **__: tensor  # the weights are filled once, below


def unet(dtype):
    model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.uniform_(-1, 1).mul_((3 / p[0].numel()) ** 0.5)
    return model.to("cuda", dtype).eval().requires_grad_(False)


def inputs(batch, dtype):
    made = torch.randn(batch, 4, 64, 64), torch.full((batch,), 500.0), torch.randn(batch, 77, 768)
    return [t.to("cuda", dtype) for t in made]


def milliseconds(run):
    for _ in range(2):
        run()
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[2]


def forward(model, batch, dtype):
    x, t, context = inputs(batch, dtype)

    def run():
        with torch.no_grad():
            return model(x, t, context).sample
    return run


def lora(model, batch, dtype):
    model.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    model.train()  # checkpointing is on in training only; there is no dropout
    model.enable_gradient_checkpointing()
    parameters = [p for p in model.parameters() if p.requires_grad]
    x, t, context = inputs(batch, dtype)
    return lambda: torch.autograd.grad(model(x, t, context).sample.sum(), parameters)


found = {"version": torch.__version__, "card": torch.cuda.get_device_name()}
for work, make in (("unet", forward), ("lora", lora)):
    for mode, dtype, tf32 in (("fp16", torch.float16, True), ("tf32", torch.float32, True), ("fp32", torch.float32, False)):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        for batch in BATCHES:
            for compiled in (False, True):
                if time.monotonic() > UNTIL or (compiled and (batch != BATCHES[0] or work == "lora")):
                    continue  # compiling takes minutes: the forward pass of one batch shows what it brings
                key = f"{work} {batch} {mode} {'compiled' if compiled else 'eager'}"
                try:
                    model = unet(dtype)
                    found[key] = milliseconds(make(torch.compile(model) if compiled else model, batch, dtype))
                except Exception as error:  # this cell alone
                    found[key] = str(error).split("\n")[0]
                finally:
                    model = None
                    torch.cuda.empty_cache()
                    torch._dynamo.reset()
print(json.dumps(found))
