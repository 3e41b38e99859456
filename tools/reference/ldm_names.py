"""The names that original single-file checkpoints (LDM, SGM, OpenCLIP) use for the tensors of diffusers' models.

Each function takes a diffusers/transformers state dict and returns the same tensors under their original names and in
their original shapes. Checked in single_files.py by converting back with diffusers' own readers.
"""

import re

import torch

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET_TOP = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
            "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
            "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP_LAYER = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2",
                   "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}


def unet(state, config):
    """`model.diffusion_model.*`; LCM's time_embedding.cond_proj has no original name."""
    per_block = config["layers_per_block"] + 1
    attends = ["CrossAttn" in name for name in config["up_block_types"]]

    def rename(key):
        for ours, theirs in UNET_TOP.items():
            if key.startswith(f"{ours}."):
                return key.replace(ours, theirs, 1)
        if m := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
            place = f"middle_block.{1 if m[1] == 'attentions' else 2 * int(m[2])}"
            return f"{place}.{inner(m[1], m[3])}"
        side, block, kind, index, rest = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key).groups()
        block, index = int(block), int(index)
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * per_block}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{(block + 1) * per_block - 1}.{2 if attends[block] else 1}.{rest}"
        place = block * per_block + index
        place = f"input_blocks.{place + 1}" if side == "down" else f"output_blocks.{place}"
        return f"{place}.{1 if kind == 'attentions' else 0}.{inner(kind, rest)}"

    def inner(kind, rest):
        name, dot, leaf = rest.rpartition(".")
        return f"{RESNET[name]}.{leaf}" if kind == "resnets" else rest

    return {f"model.diffusion_model.{rename(k)}": v for k, v in state.items()}


def vae(state, config):
    """`first_stage_model.*`; the mid block's attention is made of 1x1 convolutions there."""
    last = len(config["block_out_channels"]) - 1

    def rename(key):
        key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{last - int(m[1])}.block.{m[2]}", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", key)
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        if "mid_block.attentions.0." in key:
            head, tail = key.split("mid_block.attentions.0.")
            name, _, leaf = tail.rpartition(".")
            return f"{head}mid.attn_1.{VAE_ATTENTION[name]}.{leaf}"
        return key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")

    def reshape(key, value):
        is_projection = ".attentions." in key and value.dim() == 2
        return value[:, :, None, None] if is_projection else value

    return {f"first_stage_model.{rename(k)}": reshape(k, v) for k, v in state.items()}


def clip(state, prefix="cond_stage_model.transformer."):
    """SD 1.x (and SDXL's first encoder, prefix conditioner.embedders.0.transformer.): transformers' names, prefixed."""
    return {f"{prefix}{k}": v for k, v in state.items()}


def open_clip(state, prefix):
    """SD 2.x `cond_stage_model.model.` and SDXL `conditioner.embedders.1.model.`: OpenCLIP's names, q, k, v fused."""
    out = {}
    for key, value in state.items():
        name = key.removeprefix("text_model.")
        if m := re.match(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name):
            layer, leaf = f"transformer.resblocks.{m[1]}", m[3]
            if m[2] == "self_attn.q_proj":
                qkv = [state[key.replace("q_proj", f"{x}_proj")] for x in "qkv"]
                out[f"{layer}.attn.in_proj_{leaf}"] = torch.cat(qkv)
            elif m[2] in OPEN_CLIP_LAYER:
                out[f"{layer}.{OPEN_CLIP_LAYER[m[2]]}.{leaf}"] = value
        elif name == "text_projection.weight":
            out["text_projection"] = value.T.contiguous()
        elif name == "embeddings.position_embedding.weight":
            out["positional_embedding"] = value
        elif name == "embeddings.token_embedding.weight":
            out["token_embedding.weight"] = value
        else:
            out[name.replace("final_layer_norm", "ln_final")] = value
    return {f"{prefix}{k}": v for k, v in out.items()}
