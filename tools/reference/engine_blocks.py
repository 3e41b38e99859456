"""engine_*.safetensors: composite blocks of the models, forward and every gradient, from plain PyTorch autograd."""

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2D
from peft import LoraConfig, inject_adapter_in_model
from transformers import CLIPTextConfig, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from common import differentiate, prefixed, randomise, save, tensor

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]


def write(name, module, inputs, run, meta):
    """Saves inputs, parameters, output and the gradients by all of both."""
    leaves = {f"in.{k}": v.requires_grad_() for k, v in inputs.items()}
    params = prefixed("param.", dict(module.named_parameters()))
    for p in params.values():
        p.requires_grad_()
    result = differentiate({"y": run(*inputs.values())}, leaves | params)
    save(f"engine_{name}", leaves | params | result, meta)


def resnet_block():
    config = dict(in_channels=16, out_channels=24, temb_channels=32, groups=8, eps=1e-5, non_linearity="swish")
    block = randomise(ResnetBlock2D(**config), 1)
    inputs = {"x": tensor(2, 2, 16, 8, 8), "temb": tensor(3, 2, 32)}
    write("resnet_block", block, inputs, block, {"module": "ResnetBlock2D", "config": config})


def transformer_block_lora():
    config = dict(dim=24, num_attention_heads=4, attention_head_dim=6, cross_attention_dim=20, activation_fn="geglu")
    rank, alpha = 4, 8
    block = BasicTransformerBlock(**config)
    block = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=LORA_TARGETS), block)
    randomise(block, 11)
    inputs = {"x": tensor(12, 2, 16, 24), "context": tensor(13, 2, 7, 20)}
    run = lambda x, context: block(x, encoder_hidden_states=context)
    note = "adapted Linear layers: <path>.base_layer.weight plus lora_{A,B}.default.weight, scale alpha / rank"
    meta = {"module": "BasicTransformerBlock", "config": config, "rank": rank, "alpha": alpha, "note": note}
    write("transformer_block_lora", block, inputs, run, meta)


def clip_text_layer():
    config = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_attention_heads=4, hidden_act="quick_gelu")
    config._attn_implementation = "eager"
    layer = randomise(CLIPEncoderLayer(config), 21)
    length = 9
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    run = lambda x: layer(x, mask)
    meta = {"module": "CLIPEncoderLayer", "causal": True, "heads": 4, "activation": "quick_gelu", "eps": 1e-5}
    write("clip_text_layer", layer, {"x": tensor(22, 2, length, 32)}, run, meta)


def clip_vision_layer():
    config = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_attention_heads=4, hidden_act="gelu")
    config._attn_implementation = "eager"
    layer = randomise(CLIPEncoderLayer(config), 31)
    run = lambda x: layer(x, None)
    meta = {"module": "CLIPEncoderLayer", "causal": False, "heads": 4, "activation": "gelu", "eps": 1e-5}
    write("clip_vision_layer", layer, {"x": tensor(32, 2, 10, 32)}, run, meta)


def vae_mid_block():
    config = dict(in_channels=16, temb_channels=None, resnet_eps=1e-6, resnet_groups=4, attention_head_dim=16)
    block = randomise(UNetMidBlock2D(**config), 41)
    meta = {"module": "UNetMidBlock2D", "config": config}
    write("vae_mid_block", block, {"x": tensor(42, 2, 16, 6, 6)}, block, meta)


def make():
    resnet_block()
    transformer_block_lora()
    clip_text_layer()
    clip_vision_layer()
    vae_mid_block()


if __name__ == "__main__":
    make()
