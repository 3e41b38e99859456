"""One encoder of `bench rewards` with transformers on PyTorch:
`reference_rewards.py LAYERS WIDTH HEADS PATCH clip|dino IMAGES THREADS RUNS` prints its figures as JSON."""
import json
import os
import resource
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, ViTConfig, ViTModel

LAYERS, WIDTH, HEADS, PATCH = map(int, sys.argv[1:5])
KIND, (IMAGES, THREADS, RUNS) = sys.argv[5], map(int, sys.argv[6:9])
torch.set_num_threads(THREADS)
SIZES = dict(image_size=224, patch_size=PATCH, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS)
if KIND == "dino":
    model = ViTModel(ViTConfig(**SIZES), add_pooling_layer=False)
    score = lambda x: model(pixel_values=x).last_hidden_state.mean((1, 2))
else:
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**SIZES, hidden_act="gelu", projection_dim=1))
    score = lambda x: model(pixel_values=x).image_embeds[:, 0]
model.eval().requires_grad_(False)
pixels = torch.rand(IMAGES, 3, 224, 224)


def forward():
    with torch.no_grad():
        score(pixels)


def gradient():
    x = pixels.clone().requires_grad_(True)
    torch.autograd.grad(score(x).sum(), x)


def best(run):
    run()
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * min(times) / IMAGES


figures = {"forward": best(forward), "gradient": best(gradient)}
print(json.dumps({**figures, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
