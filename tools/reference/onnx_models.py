"""onnx_*.onnx: small vision and vision-language networks as PyTorch's two exporters write them, with dynamic batch.

ts09 to ts17 come from the TorchScript exporter, dynamo18 to dynamo24 from torch.export; the dynamo files lose only
their source-line notes. onnx_external/ is the MobileNet with its weights in a second file. onnx_io.safetensors holds
`<model>/in.*`, `out.*`, `cotangent.*` and the gradients by the pixels, at batch 3 (exported at batch 2); every file was
run with ONNX Runtime and agrees with PyTorch.
"""

import contextlib
import io
import os
import shutil
import warnings

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library loads

import onnx
import onnxruntime
import torch
from torch import nn
from transformers import (BlipConfig, BlipForImageTextRetrieval, CLIPConfig, CLIPModel, ConvNextConfig, ConvNextModel,
                          ViTConfig, ViTModel)

from common import FIXTURES, differentiate, prefixed, randomise, save, tensor

TEXT = dict(vocab_size=40, hidden_size=12, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=8)
VISION = dict(hidden_size=12, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=16,
              patch_size=4)
IDS = torch.tensor([[1, 7, 22, 39, 0, 0], [1, 30, 5, 14, 8, 39], [1, 3, 39, 0, 0, 0]])


class SqueezeExcite(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1),
                                    nn.Hardsigmoid())

    def forward(self, x):
        return x * self.layers(x)


class InvertedResidual(nn.Module):
    """MobileNetV3's block: expand, depthwise, squeeze-excite, project."""

    def __init__(self, width, expanded, stride):
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv2d(width, expanded, 1, bias=False), nn.BatchNorm2d(expanded), nn.Hardswish(),
            nn.Conv2d(expanded, expanded, 5, stride, 2, groups=expanded, bias=False), nn.BatchNorm2d(expanded),
            SqueezeExcite(expanded), nn.Hardswish(), nn.Conv2d(expanded, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        return x + self.layers(x) if self.stride == 1 else self.layers(x)


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), InvertedResidual(8, 16, 1),
                                      InvertedResidual(8, 24, 2))
        self.head = nn.Linear(8, 5)

    def forward(self, pixel_values):
        return torch.softmax(self.head(self.features(pixel_values).mean((2, 3))), -1)


class ResNet(nn.Module):
    """A pre-activation residual block, so that a batch norm survives export, and Inception's pooled concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                                  nn.MaxPool2d(3, 2, 1))
        self.block = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, (1, 3), padding=(0, 1)))
        self.head = nn.Linear(16, 5)

    def forward(self, pixel_values):
        x = self.stem(pixel_values)
        x = torch.cat([x + self.block(x), nn.functional.avg_pool2d(x, 3, 1, 1)], 1)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class PatchAttention(nn.Module):
    """Self-attention over patches, which exporters write as one operator from operator set 23 on."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, pixel_values):
        x = self.patches(pixel_values).flatten(2).transpose(1, 2)
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    """Both kinds of recurrence over patches, one of them in both directions."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.lstm = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, pixel_values):
        x = self.patches(pixel_values).flatten(2).transpose(1, 2)
        return self.head(self.gru(self.lstm(x)[0])[0].mean(1))


class Transformer(nn.Module):
    """A spatial transformer that turns and moves its picture, then convolutions over a volume with a gap between taps."""

    def __init__(self):
        super().__init__()
        self.place = nn.Linear(12, 6)
        self.norm = nn.LocalResponseNorm(3)
        self.volume = nn.Conv3d(1, 4, (2, 3, 3), padding=(0, 2, 2), dilation=(1, 2, 2))
        self.head = nn.Linear(4, 1)

    def forward(self, pixel_values):
        theta = self.place(nn.functional.adaptive_avg_pool2d(pixel_values, 2).flatten(1)).view(-1, 2, 3) * 0.3
        grid = nn.functional.affine_grid(theta, [pixel_values.shape[0], 3, 12, 12], align_corners=False)
        x = self.norm(nn.functional.grid_sample(pixel_values, torch.asin(torch.tanh(grid)), align_corners=False))
        return self.head(nn.functional.max_pool3d(self.volume(x[:, None]), (1, 2, 2)).mean((2, 3, 4)))


class Outputs(nn.Module):
    """A transformers model reduced to its named tensors, called with positional inputs."""

    def __init__(self, model, inputs, outputs, **fixed):
        super().__init__()
        self.model, self.inputs, self.outputs, self.fixed = model, inputs, outputs, fixed

    def forward(self, *values):
        result = self.model(**dict(zip(self.inputs, values)), **self.fixed)
        return tuple(result[k] for k in self.outputs)


def models():
    """name: (module, inputs in order, output names, exporters)."""
    pixels = {"pixel_values": (3, 3, 16, 16)}
    text = {"input_ids": IDS, "attention_mask": (IDS > 0).long()}
    two = ["input_ids", "attention_mask", "pixel_values"]
    vit = ViTModel(ViTConfig(**VISION, attn_implementation="eager"))
    clip = CLIPModel(CLIPConfig(text_config=TEXT | dict(eos_token_id=39), vision_config=VISION, projection_dim=10))
    convnext = ConvNextModel(ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1], patch_size=4))
    blip = BlipForImageTextRetrieval(BlipConfig(
        text_config=TEXT | dict(encoder_hidden_size=12, bos_token_id=1, sep_token_id=39),
        vision_config=VISION, image_text_hidden_size=8))
    vit_outputs = ["last_hidden_state", "pooler_output"]
    clip_outputs = ["logits_per_image", "image_embeds"]
    return {
        "vit": (Outputs(vit, ["pixel_values"], vit_outputs), pixels, vit_outputs, ["ts14", "dynamo18"]),
        "clip": (Outputs(clip, two, clip_outputs), text | pixels, clip_outputs, ["ts17", "dynamo20"]),
        "mobilenet": (MobileNet(), pixels, ["probabilities"], ["ts11", "dynamo18"]),
        "resnet": (ResNet(), {"pixel_values": (3, 3, 24, 24)}, ["logits"], ["ts09", "dynamo18"]),
        "convnext": (Outputs(convnext, ["pixel_values"], ["pooler_output"]), pixels, ["pooler_output"],
                     ["ts17", "dynamo18"]),
        "blip": (Outputs(blip, two, ["itm_score"], use_itm_head=True), text | pixels, ["itm_score"],
                 ["ts17", "dynamo18"]),
        "attention": (PatchAttention(), pixels, ["score"], ["dynamo23", "dynamo24"]),
        "recurrent": (Recurrent(), pixels, ["score"], ["ts17", "dynamo18"]),
        "transformer": (Transformer(), pixels, ["score"], ["dynamo20"]),
    }


def export(path, module, inputs, outputs, exporter):
    dynamo, opset = exporter.startswith("dynamo"), int(exporter[-2:])
    batch_of_two = tuple(v[:2] for v in inputs.values())
    common = dict(input_names=list(inputs), output_names=outputs, opset_version=opset, dynamo=dynamo)
    if dynamo:
        dimension = torch.export.Dim("batch", min=1, max=64)
        shapes = ({0: dimension},) * len(inputs)
        takes_star = isinstance(module, Outputs)  # forward(*values) is one argument to torch.export
        common |= dict(dynamic_shapes=(shapes,) if takes_star else shapes, external_data=False)
    else:
        common["dynamic_axes"] = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, batch_of_two, path, **common)
    model = onnx.load(path)
    for node in (*model.graph.node, *(n for f in model.functions for n in f.node)):
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.save(model, path)


def external():
    """The MobileNet again, every initializer above 64 bytes in mobilenet.bin."""
    folder = FIXTURES / "onnx_external"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = onnx.load(FIXTURES / "onnx_mobilenet_dynamo18.onnx")
    onnx.save(model, folder / "mobilenet.onnx", save_as_external_data=True, location="mobilenet.bin", size_threshold=64)
    onnxruntime.InferenceSession(folder / "mobilenet.onnx")


def make():
    tensors, cases = {}, {}
    for i, (name, (module, shapes, outputs, exporters)) in enumerate(models().items()):
        randomise(module, 600 + i)
        inputs = {k: tensor(650 + i, *v) if isinstance(v, tuple) else v for k, v in shapes.items()}
        pixels = inputs["pixel_values"].requires_grad_()
        result = module(*inputs.values())
        named = dict(zip(outputs, result if isinstance(result, tuple) else (result,)))
        tensors |= prefixed(f"{name}/", prefixed("in.", inputs) | differentiate(named, {"in.pixel_values": pixels}))
        arrays = {k: v.detach().numpy() for k, v in inputs.items()}
        for exporter in exporters:
            path = FIXTURES / f"onnx_{name}_{exporter}.onnx"
            export(path, module, {k: v.detach() for k, v in inputs.items()}, outputs, exporter)
            found = onnxruntime.InferenceSession(path).run(outputs, arrays)
            for key, value in zip(outputs, found):
                torch.testing.assert_close(torch.from_numpy(value), named[key].detach(), rtol=1e-4, atol=1e-5)
            print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")
        files = [f"onnx_{name}_{e}.onnx" for e in exporters]
        cases[name] = {"files": files, "inputs": list(inputs), "outputs": outputs}
    external()
    save("onnx_io", tensors, {"cases": cases})


if __name__ == "__main__":
    make()
