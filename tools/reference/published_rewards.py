"""published_*: what `--reward NAME` finds on the hub, tiny, and the scores of a real picture of odd size.

published_clip/ is a CLIPModel folder whose weights are a legacy pickle (pytorch_model.bin), published_aesthetic.pth the
head of christophschuhmann/improved-aesthetic-predictor in its own layout. published_io.safetensors holds picture.png
(45 x 61, a drawing of the bundled model's data) as `picture` [1, 3, 61, 45] and for each reward its score and gradient.
The three preference models are those of preference_rewards.py.

The published code resizes pictures of 8 bits with Pillow: columns, then rows, each cut to [0, 1] and rounded to whole
levels. Here the same without the rounding, which has no gradient; the gradient passes where the cut takes off less than
half a level. `<reward>/pillow` is the score with Pillow's own resizing.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import CLIPConfig, CLIPModel

from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

import preference_rewards as preference
from common import FIXTURES, save
from tokenizer import small as small_vocabulary

PICTURE = torch.from_numpy(np.array(Image.open(Path(__file__).parent / "picture.png"))).permute(2, 0, 1)[None]
PROMPT = "a photo of a cat, 3d"


def resize_floats(images, size, interpolation, antialias=True):
    """Stands for F.resize on floats in preference_rewards.py."""
    height, width = images.shape[2:]
    h, w = size if isinstance(size, list) else [int(size * d / min(height, width)) for d in (height, width)]
    for shape in ([height, w], [h, w]):
        if list(images.shape[2:]) != shape:
            raw = nn.functional.interpolate(images, shape, mode="bicubic", antialias=True)
            inside = raw.clamp(-0.5 / 255, 1 + 0.5 / 255)
            images = inside + (raw.clamp(0, 1) - inside).detach()
    return images


def resize_pillow(images, size, interpolation, antialias=True):
    picture = Image.fromarray((images[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    return F.to_tensor(TORCHVISION_RESIZE(picture, size, InterpolationMode.BICUBIC))[None]


TORCHVISION_RESIZE = F.resize


def clip():
    words = len(small_vocabulary()[0])
    shared = dict(num_hidden_layers=2, num_attention_heads=2, hidden_size=16, intermediate_size=32)
    text = shared | dict(vocab_size=words, eos_token_id=2, bos_token_id=0, pad_token_id=1)
    config = CLIPConfig(text_config=text, vision_config=shared | dict(image_size=12, patch_size=4), projection_dim=12)
    model = preference.halved(CLIPModel(config), 740)
    folder = FIXTURES / "published_clip"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": ["CLIPModel"]}, sort_keys=True, default=str))
    torch.save(preference.stored(model), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    return model


def unit(out):
    return nn.functional.normalize(getattr(out, "pooler_output", out), dim=-1)


class Head(nn.Module):
    """MLP of improved-aesthetic-predictor/simple_inference.py."""

    def __init__(self, width):
        super().__init__()
        a, b, c, d, e = (nn.Linear(i, o) for i, o in zip([width, 20, 16, 12, 8], [20, 16, 12, 8, 1]))
        self.layers = nn.Sequential(a, nn.Dropout(0.2), b, nn.Dropout(0.2), c, nn.Dropout(0.1), d, e)

    def forward(self, x):
        return self.layers(x)[:, 0]


def make():
    preference.PROMPTS[:] = [PROMPT]
    model = clip()
    head = preference.halved(Head(12), 750)
    torch.save(preference.stored(head), FIXTURES / "published_aesthetic.pth")
    ids = preference.clip_ids()
    embed = lambda images: unit(model.get_image_features(pixel_values=preference.crop_to_square(images)))
    cosine = lambda images: (embed(images) * unit(model.get_text_features(input_ids=ids))).sum(1)
    # In this order: the models of preference_rewards.py are made anew by its own generator.
    scores = {"clip-score": cosine, "aesthetic": lambda images: head(embed(images)),
              "pickscore": preference.pickscore(), "hpsv2": preference.hpsv2(), "image-reward": preference.image_reward()}
    tensors = {"picture": PICTURE.float() / 255}
    for name, score in scores.items():
        images = tensors["picture"].clone().requires_grad_()
        F.resize = resize_floats
        value = score(images)
        F.resize = resize_pillow
        with torch.no_grad():
            pillow = score(tensors["picture"])
        tensors |= {f"{name}/scores": value, f"{name}/gradient": torch.autograd.grad(value.sum(), images)[0], f"{name}/pillow": pillow}
        print(name, value.tolist(), pillow.tolist())
    save("published_io", tensors, {"prompts": [PROMPT]})


if __name__ == "__main__":
    make()
