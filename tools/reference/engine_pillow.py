"""engine_ops_pillow: images as Pillow and CLIP's preprocessing resize them (uint8 [H, W, 3] in, uint8 or float out)."""

import numpy as np
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from common import save

FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "lanczos": Image.LANCZOS, "box": Image.BOX}
SIZES = {"up": ((30, 24), (64, 48)), "down": ((90, 61), (28, 20)), "to_224": ((40, 32), (224, 224))}
NOTE = "out.<filter> is uint8 RGB; out.<filter>_float_red resizes channel 0 in Pillow's mode F, without rounding"


def picture(rng, height, width):
    """Smooth colours plus noise, so that both low and high frequencies matter."""
    coarse = Image.fromarray(rng.randint(0, 256, (9, 7, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC)).astype(int)
    return np.clip(smooth + rng.randint(-20, 21, smooth.shape), 0, 255).astype(np.uint8)


def make():
    rng, tensors, cases = np.random.RandomState(5), {}, {}
    put = lambda key, array: tensors.update({key: torch.from_numpy(np.array(array))})
    for name, (source, (height, width)) in SIZES.items():
        image = picture(rng, *source)
        red = Image.fromarray(image[..., 0].astype(np.float32))
        put(f"{name}/in.image", image)
        for method, code in FILTERS.items() if name != "to_224" else (("bicubic", Image.BICUBIC),):
            put(f"{name}/out.{method}", Image.fromarray(image).resize((width, height), code))
            if name != "to_224":
                put(f"{name}/out.{method}_float_red", red.resize((width, height), code))
        cases[name] = {"size": [height, width], "note": NOTE}
    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    image = Image.fromarray(tensors["down/in.image"].numpy())
    tensors["clip/out.pixel_values"] = processor(image, return_tensors="pt").pixel_values
    cases["clip"] = {"input": "down/in.image", "shortest_edge": 32, "crop": 32, "note": "CLIPImageProcessor (Pillow)"}
    save("engine_ops_pillow", tensors, {"cases": cases})


if __name__ == "__main__":
    make()
