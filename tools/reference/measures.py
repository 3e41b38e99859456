"""measures_*: Inception as pytorch-fid has it, LPIPS and DreamSim as their packages have them, on weights that are not stored.

Every weight is made from its name and place by `counter` here and by tests/evaluation/counter-weights.ts; pytorch-fid,
lpips and dreamsim are asked for their networks, not for their files. measures_io.safetensors holds two pictures, features,
distances and gradients, KID and FID of rows of features by pytorch-fid's own function and by the definition in numpy.
Gradients of Inception and LPIPS are taken in float64: among their many maxima of nearly equal numbers rounding decides, so that
PyTorch's own in float32 is 1.5e-2 (VGG) and 9e-3 (Inception) of the largest away from that.
"""

import sys
import zlib

import lpips
import numpy as np
import torch
import torchvision
from pytorch_fid import inception
from pytorch_fid.fid_score import calculate_frechet_distance

from common import save, tensor
from published_rewards import PICTURE, resize_floats


def counter(name, shape):
    """Uniform numbers in [-1, 1) by a 32-bit hash of index and name."""
    x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    return torch.from_numpy((x.astype(np.float64) / 2**31 - 1).astype(np.float32)).reshape(tuple(shape))


def fill(state):
    """Matrices and kernels scaled by fan-in, gains and variances near 1, all else small."""
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        u = counter(name, value.shape)
        if name.startswith("lin"):
            value.copy_(u.abs())
        elif value.dim() >= 2:
            value.copy_(u * (6 / value[0].numel()) ** 0.5)
        elif name.endswith("weight") or name.endswith("running_var"):
            value.copy_(1 + 0.4 * u)
        else:
            value.copy_(0.2 * u)


def fid_inception():
    inception.load_state_dict_from_url = lambda *a, **k: MADE
    make = torchvision.models.inception_v3
    with torch.device("cpu"):
        blank = inception.fid_inception_v3.__globals__["_inception_v3"](num_classes=1008, aux_logits=False, weights=None)
    MADE = blank.state_dict()
    fill(MADE)
    return inception.InceptionV3([3]).eval()


def pair():
    """The picture enlarged to 67 x 71 with grain (of equal numbers in a window each may be called the largest), and itself blurred."""
    a = 0.9 * torch.nn.functional.interpolate(PICTURE.float() / 255, (67, 71), mode="bilinear") + 0.05
    a += 0.04 * counter("grain", a.shape)
    b = 0.8 * torch.nn.functional.avg_pool2d(a, 3, 1, 1) + 0.05
    return a.contiguous(), b.contiguous()


def lpips_of(net):
    model = lpips.LPIPS(net=net, pnet_rand=True, pretrained=False, verbose=False)
    trunk = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}[net]
    features = getattr(torchvision.models, trunk)(weights=None).features
    state = {f"features.{k}": v for k, v in features.state_dict().items()}
    fill(state)
    # The package cuts the trunk into slices under the same numbers.
    for piece in (p for name, p in model.net.named_children() if name.startswith("slice")):
        for number, layer in piece.named_children():
            layer.load_state_dict({k: state[f"features.{number}.{k}"] for k in layer.state_dict()})
    fill({k: v for k, v in model.state_dict().items() if k.startswith("lin") and not k.startswith("lins")})
    return model.eval()


WIDTH, RANK, ALPHA = 64, 4, 6
LORA = "base_model.model.extractor_list.{}.model.blocks.{}.attn.qkv.lora_{}.weight"


def dreamsim_of(kind):
    """dreamsim.model's own PerceptualModel with its own loaders, on transformers of 64 instead of 768 numbers; LoRA by PEFT."""
    from dreamsim import model as package
    from dreamsim.feature_extraction import extractor, load_clip_as_dino, load_open_clip_as_dino
    from dreamsim.feature_extraction.vision_transformer import VisionTransformer
    from functools import partial
    from peft import LoraConfig, get_peft_model

    def vit(patch_size=16):
        return VisionTransformer(patch_size=patch_size, embed_dim=WIDTH, depth=12, num_heads=1, mlp_ratio=2, qkv_bias=True,
                                 norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))

    def weights(name, with_norm):
        blank = vit(32 if name.endswith("32") else 16)
        if with_norm:
            blank.pos_drop = torch.nn.LayerNorm(WIDTH)
        state = {f"{name}/{k}": v for k, v in blank.state_dict().items()} | ({f"{name}/proj": torch.empty(WIDTH, 32)} if with_norm else {})
        fill(state)
        return {k.split("/")[1]: v for k, v in state.items()}

    def dino(*_, **__):
        made = vit()
        made.load_state_dict(weights("dino_vitb16", False))
        return made

    def load(path, **_):
        name = str(path).split("/")[-1].split("_pretrain")[0]
        head = {f"module.head.{k}": torch.zeros(1) for k in ("mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias", "mlp.4.weight",
                                                             "mlp.4.bias", "last_layer.weight")}
        return {"student": head} if name == "dino_vitb16" else {"state_dict": weights(name, True)}

    loaded, hub = torch.load, torch.hub.load
    torch.load, torch.hub.load = load, dino
    for loader in (load_clip_as_dino, load_open_clip_as_dino):
        loader.vit_base = vit
    try:
        config = package.dreamsim_args["model_config"][kind]
        model = package.PerceptualModel(**config, device="cpu", load_dir="nowhere", normalize_embeds=True)
    finally:
        torch.load, torch.hub.load = loaded, hub
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.3, bias="none", target_modules=["qkv"]))
    for name, value in model.state_dict().items():
        if ".lora_" in name:
            value.copy_(0.3 * counter(name.replace(".default", ""), value.shape))
    return model.eval()


def resized(images):
    return resize_floats(images, [224, 224], None)


def published_names(model):
    """The tensors of transformers 5 under the names of the files on the hub."""
    pairs = {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key",
             "attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense",
             "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    state = {}
    for key, value in model.state_dict().items():
        for new, old in pairs.items():
            key = key.replace(new, old)
        state[key.replace("layers.", "encoder.layer.") if key.startswith("layers.") else key] = value
    return state


def dino_of():
    """facebook/dino-vitb16's layout, by transformers."""
    from transformers import ViTConfig, ViTModel
    config = ViTConfig(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=1, intermediate_size=2 * WIDTH, layer_norm_eps=1e-6, image_size=48)
    model = ViTModel(config, add_pooling_layer=False)
    fill(published_names(model))
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def embed(images):
        h, w = images.shape[2:]
        scale = 55 / min(h, w)
        square = torchvision.transforms.functional.center_crop(resize_floats(images, [int(h * scale), int(w * scale)], None), 48)
        return model(pixel_values=(square - mean) / deviation).last_hidden_state[:, 0]

    return model.eval(), embed


def kid(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    kernel = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3
    within = lambda a: (kernel(a, a).sum() - np.trace(kernel(a, a))) / (len(a) * (len(a) - 1))
    return within(x) + within(y) - 2 * kernel(x, y).mean()


def gradient64(model, value, images):
    """By the images, in float64. The model stays in it."""
    exact, images = model.double(), images.double().requires_grad_()
    return torch.autograd.grad(value(exact, images).sum(), images)[0].float()


def make():
    a, b = pair()
    tensors = {"a": a, "b": b}
    model = fid_inception()
    tensors["inception/features"] = model(a)[0][:, :, 0, 0]
    tensors["inception/gradient"] = gradient64(model, lambda exact, x: exact(x)[0], a)
    for net in ("alex", "vgg", "squeeze"):
        model = lpips_of(net)
        distance = model(a, b, normalize=True).reshape(1)
        tensors[f"lpips_{net}/distance"] = distance
        tensors[f"lpips_{net}/gradient"] = gradient64(model, lambda exact, x: exact(x, b.double(), normalize=True), a)
        print(net, distance.item())
    for kind in ("ensemble", "dino_vitb16", "clip_vitb32"):
        model = dreamsim_of(kind)
        images = a.clone().requires_grad_()
        distance = model(resized(images), resized(b))
        tensors |= {f"dreamsim_{kind}/distance": distance, f"dreamsim_{kind}/gradient": torch.autograd.grad(distance.sum(), images)[0]}
        print(kind, distance.item())
    model, embed = dino_of()
    tensors["dino/features"] = embed(a)
    x, y = tensor(810, 40, 12), 1.2 * tensor(811, 30, 12) + 0.3
    stats = lambda f: (f.double().numpy().mean(0), np.cov(f.double().numpy(), rowvar=False))
    fid = calculate_frechet_distance(*stats(x), *stats(y))
    tensors |= {"rows/x": x, "rows/y": y, "rows/fid": torch.tensor([fid]), "rows/kid": torch.tensor([kid(x, y)])}
    print("fid", fid, "kid", kid(x, y))
    save("measures_io", tensors, {"dino": {k: list(v.shape) for k, v in published_names(model).items()}})


if __name__ == "__main__":
    sys.setrecursionlimit(10000)
    make()
