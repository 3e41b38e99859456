"""preference_*: tiny PickScore, HPSv2 and ImageReward models in the layout of the published files, with their scores.

preference_pixels.safetensors holds pictures of odd sizes with hard edges (8 bits) as the published code of each reward
resizes and cuts them, and clip_text_cases.json prompts as OpenCLIP's tokenizer cleans them.

preference_pickscore/ is a folder as transformers writes it, preference_hpsv2.pt and preference_image_reward.pt are
files of torch.save; all are stored as float16. preference_io.safetensors holds two images, the scores of each with its
own prompt and their gradients by the images, in float32. keys_preference.json.gz has names and shapes of the full-size
checkpoints.
"""

import gzip
import json

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import get_clean_fn
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from transformers import BlipTextConfig, CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.blip.modeling_blip_text import BlipTextModel

import wordpiece
from common import FIXTURES, randomise, save, tensor
from tokenizer import small as small_vocabulary
from tokenizer import tokenizer as clip_tokenizer

SIDE, PATCH = 12, 4
IMAGES = torch.sigmoid(tensor(700, 2, 3, 15, 20))
PROMPTS = ["a red apple", "A photo of a cat on the green house, 3d; it's flat!"]
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def halved(module, seed):
    """Random weights that float16 holds exactly."""
    randomise(module, seed)
    return module.half().float()


def stored(module):
    """The state dict as it is published, an OrderedDict with `_metadata`, in float16."""
    state = module.state_dict()
    state.update({k: v.half() for k, v in state.items() if v.is_floating_point()})
    return state


def normalise(images):
    return F.normalize(images, MEAN, DEVIATION)


def crop_to_square(images):
    """CLIP's preprocessing, which PickScore and ImageReward share: the shortest side resized, the middle taken."""
    resized = F.resize(images, SIDE, InterpolationMode.BICUBIC, antialias=True)
    return normalise(F.center_crop(resized, SIDE))


def pad_to_square(images):
    """HPSv2's ResizeMaxSize (hpsv2/src/open_clip/transform.py): the longest side resized, black around."""
    height, width = images.shape[2:]
    scale = SIDE / max(height, width)
    size = [round(height * scale), round(width * scale)]
    pad_h, pad_w = SIDE - size[0], SIDE - size[1]
    resized = F.resize(images, size, InterpolationMode.BICUBIC, antialias=True)
    return normalise(F.pad(resized, [pad_w // 2, pad_h // 2, pad_w - pad_w // 2, pad_h - pad_h // 2], fill=0))


def clip_ids():
    return torch.tensor(clip_tokenizer(*small_vocabulary())(PROMPTS, padding="max_length").input_ids)


def pickscore():
    """The README of yuvalkirstain/PickScore_v1, each image with its own prompt."""
    words = len(small_vocabulary()[0])
    shared = dict(hidden_act="gelu", num_hidden_layers=1, num_attention_heads=2, hidden_size=16, intermediate_size=32)
    text = shared | dict(vocab_size=words, eos_token_id=2, bos_token_id=0, pad_token_id=1)
    config = CLIPConfig(text_config=text, vision_config=shared | dict(image_size=SIDE, patch_size=PATCH),
                        projection_dim=12)
    model = halved(CLIPModel(config), 710)
    model.logit_scale.data.fill_(4.605)
    model.half().save_pretrained(FIXTURES / "preference_pickscore")
    model.float()

    def score(images):
        unit = lambda out: nn.functional.normalize(getattr(out, "pooler_output", out), dim=-1)
        image = unit(model.get_image_features(pixel_values=crop_to_square(images)))
        text = unit(model.get_text_features(input_ids=clip_ids()))
        return model.logit_scale.exp() * (image @ text.T).diagonal()

    return score


def hpsv2():
    """hpsv2/img_score.py: cosines without the scale, by OpenCLIP's own model."""
    words = len(small_vocabulary()[0])
    model = halved(open_clip.CLIP(
        embed_dim=12, output_dict=True,
        vision_cfg=dict(image_size=SIDE, patch_size=PATCH, layers=1, width=32, head_width=2, mlp_ratio=2),
        text_cfg=dict(context_length=77, vocab_size=words, width=32, heads=16, layers=1, mlp_ratio=2)), 720)
    torch.save({"epoch": 1, "name": "hpsv2", "state_dict": stored(model)}, FIXTURES / "preference_hpsv2.pt")

    def score(images):
        out = model(pad_to_square(images), clip_ids())
        return (out["image_features"] @ out["text_features"].T).diagonal()

    return score


class ImageReward(nn.Module):
    """ImageReward/ImageReward.py; BLIP's image encoder is timm's vision transformer, its text encoder transformers'."""

    def __init__(self, image, text, head):
        super().__init__()
        self.blip = nn.Module()
        self.blip.visual_encoder = VisionTransformer(num_classes=0, global_pool="", **image)
        self.blip.text_encoder = BlipTextModel(BlipTextConfig(encoder_hidden_size=image["embed_dim"], **text),
                                               add_pooling_layer=False)
        self.blip.vision_proj = nn.Linear(image["embed_dim"], 8)  # in the published file, and not used
        positions = torch.arange(text["max_position_embeddings"])[None]
        self.blip.text_encoder.embeddings.register_buffer("position_ids", positions)  # published as well
        self.mlp = nn.Module()
        linear = [nn.Linear(a, b) for a, b in zip([text["hidden_size"], *head], [*head, 1])]
        a, b, c, d, e = linear
        self.mlp.layers = nn.Sequential(a, nn.Dropout(0.2), b, nn.Dropout(0.2), c, nn.Dropout(0.1), d, e)

    def forward(self, pixels, ids, mask):
        out = self.blip.text_encoder(ids, attention_mask=mask, encoder_hidden_states=self.blip.visual_encoder(pixels))
        return (self.mlp.layers(out.last_hidden_state[:, 0])[:, 0] - 0.16717362830052426) / 1.0333394966054072


def image_reward():
    words = wordpiece.tokenizer()
    model = halved(ImageReward(
        dict(img_size=SIDE, patch_size=PATCH, embed_dim=32, depth=1, num_heads=16, mlp_ratio=2),
        dict(vocab_size=len(words), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=12,
             max_position_embeddings=40),
        [20, 16, 12, 8]), 730)
    torch.save(stored(model), FIXTURES / "preference_image_reward.pt")
    text = words(PROMPTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    return lambda images: model(crop_to_square(images), text.input_ids, text.attention_mask)


# Up and down, portrait and landscape; what is cut off is 3, 5, 7, ... columns or rows. Sizes for which Pillow 13 resizes
# columns first are left out: the versions that the published code was used with always began with rows.
PICTURES = {"wide": ((31, 45), 20), "tall": ((47, 33), 16), "small": ((13, 17), 24), "thin": ((27, 64), 10),
            "third": ((40, 55), 9), "half": ((35, 56), 24)}


def line_art(rng, height, width):
    """Black and white shapes, thin lines and pure colours: everything that a bicubic filter overshoots at."""
    image = np.full((height, width, 3), 255, np.uint8)
    for _ in range(12):
        y, x = rng.randint(0, height), rng.randint(0, width)
        h, w = rng.choice([1, 2, 7]), rng.choice([1, 3, 11])
        image[y:y + h, x:x + w] = rng.choice([0, 255], 3)
    image[height // 2:, :width // 3] = rng.randint(0, 256, (height - height // 2, width // 3, 3))
    return image


def padded_picture(image, side):
    """ResizeMaxSize of hpsv2/src/open_clip/transform.py on a PIL picture."""
    scale = side / float(max(image.height, image.width))
    height, width = (round(d * scale) for d in (image.height, image.width))
    pad_h, pad_w = side - height, side - width
    resized = F.resize(image, [height, width], InterpolationMode.BICUBIC)
    return F.pad(resized, [pad_w // 2, pad_h // 2, pad_w - pad_w // 2, pad_h - pad_h // 2], fill=0)


def pixels():
    """<picture>/in as bytes [H, W, 3]; /torchvision, /transformers, /padded as bytes [side, side, 3]."""
    rng, tensors = np.random.RandomState(6), {}
    for name, (size, side) in PICTURES.items():
        image = Image.fromarray(line_art(rng, *size))
        processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side},
                                          do_normalize=False, do_rescale=False)
        square = transforms.Compose([transforms.Resize(side, InterpolationMode.BICUBIC), transforms.CenterCrop(side)])
        put = lambda key, value: tensors.update({f"{name}/{key}": torch.from_numpy(np.array(value))})
        put("in", np.asarray(image))
        put("torchvision", np.asarray(square(image)))
        put("transformers", processor(image, return_tensors="np").pixel_values[0].transpose(1, 2, 0).astype(np.uint8))
        put("padded", np.asarray(padded_picture(image, side)))
    save("preference_pixels", tensors, {"sides": {name: side for name, (_, side) in PICTURES.items()}})


TEXTS = [
    "a cat", "  A  Photo\tof\n a CAT ", "it\u2019s \u201cflat\u201d \u2018x\u2019 \u201eno\u201c \u00abe\u00bb \u02bc\u201b\u201f",
    "cats &amp; dogs", "cats &amp;amp; dogs", "fish &lt;b&gt; chips", "<b>fish &amp; chips &rdquo;</b>", "&rdquo;fish&rdquo;",
    "caf&eacute; CAF&EACUTE; &nTILDE; &SZLIG;", "&notit; &notit &copy 2 &AMP &#8217; &#x2019; &#59; &#150; &#xd800; &#0;",
    "this&not that &foo; &; & ;", "\uff21\uff22\uff23\u3000\uff11\uff12\uff13 \uff8a\uff9f\uff76 \uff03\uffe5", "\ufb01ne \ufb04uff \ufb05 \ufb06 \u0133 \u01c4 \u01f2 \u0149 \u00e6",
    "a\r\nb\rc\u2028d\u2029e\x85f", "a\x07b\x0bc\x1cd\ufeffe\ufff9f\x7f\u206ag\x00", "\x1b[31mred\x1b[0m \x1b[1;4mtwo",
    "\x93quoted\x94 \x96 \x80 \x81", "e\u0301 \u00e9 \u1e9b\u0323 \u2126", "\u00a0a\u2003b\u200bc\u200dd", "\ud83d\ude00 \ud83d x \ude00",
    "\u039f\u0394\u039f\u03a3 \u03a3 \u0130 \u1e9e", "a 3d render, 4k!! (masterpiece:1.2)", "don't, we'll \u2014 wait\u2026", "", " \n ", "line <one\n&quot;two&quot;",
    "&hellip;&nbsp;x&ensp;y&zwj;", "&lsquo;a&rsquo; &ldquo;b&rdquo; &apos;c&apos;", "&Amp; &ampersand; &lt &gt", "100% &#x1F600; &frac12; x&sup2;",
]


def texts():
    cases = [{"text": text, "clean": get_clean_fn("lower")(text)} for text in TEXTS]
    (FIXTURES / "clip_text_cases.json").write_text(json.dumps(cases, ensure_ascii=True, indent=1) + "\n")


def full_size_keys():
    """Names and shapes only, made without memory."""
    with torch.device("meta"):
        clip = open_clip.CLIP(**open_clip.get_model_config("ViT-H-14"))
        blip = ImageReward(dict(img_size=224, patch_size=16, embed_dim=1024, depth=24, num_heads=16),
                           dict(vocab_size=30524, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                                num_attention_heads=12, max_position_embeddings=512), [1024, 128, 64, 16])
    shapes = lambda state: {k: list(v.shape) for k, v in state.items()}
    keys = {"hpsv2": shapes(clip.state_dict()), "image_reward": shapes(blip.state_dict())}
    path = FIXTURES / "keys_preference.json.gz"
    path.write_bytes(gzip.compress(json.dumps(keys).encode(), mtime=0))


def make():
    tensors = {"images": IMAGES}
    for name, load in (("pickscore", pickscore), ("hpsv2", hpsv2), ("image_reward", image_reward)):
        score = load()
        images = IMAGES.clone().requires_grad_()
        scores = score(images)
        tensors |= {f"{name}/scores": scores, f"{name}/gradient": torch.autograd.grad(scores.sum(), images)[0]}
        print(name, scores.tolist())
    save("preference_io", tensors, {"prompts": PROMPTS})
    pixels()
    texts()
    full_size_keys()


if __name__ == "__main__":
    make()
