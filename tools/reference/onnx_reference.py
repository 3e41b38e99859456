"""onnx_reference.safetensors: operators that ONNX Runtime lacks in part, by ONNX's own reference evaluator.

`<case>/in.N` are the inputs (bool masks as uint8, missing ones absent), `<case>/out.N` the outputs; what the node says
stands in `cases`. -inf is written as the lowest float32. With softcap and mode 0 the evaluator of onnx 1.23 gives the
capped scores against its operator's text, so those scores are made without softcap, which changes none of mode 0.
"""

import numpy as np
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from common import save

LOWEST = np.finfo(np.float32).min
TYPES = {"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
         "int64": TensorProto.INT64}


def evaluate(op, opset, inputs, count, attributes):
    """The node's first `count` outputs; an input that is None is left out."""
    names = ["" if x is None else f"in.{i}" for i, x in enumerate(inputs)]
    outputs = [f"out.{i}" for i in range(count)]
    given = {n: x for n, x in zip(names, inputs) if x is not None}
    infos = [helper.make_tensor_value_info(n, TYPES[str(x.dtype)], x.shape) for n, x in given.items()]
    results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in outputs]
    graph = helper.make_graph([helper.make_node(op, names, outputs, **attributes)], op, infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return dict(zip(outputs, ReferenceEvaluator(model).run(None, given))), given


def main():
    tensors, cases = {}, {}

    def case(name, op, opset, inputs, count=1, **attributes):
        out, given = evaluate(op, opset, inputs, count, attributes)
        if "softcap" in attributes and attributes["qk_matmul_output_mode"] == 0:
            out["out.3"] = evaluate(op, opset, inputs, count, attributes | {"softcap": 0.0})[0]["out.3"]
        values = given | {k: np.maximum(v, LOWEST) if v.dtype == np.float32 else v for k, v in out.items()}
        tensors.update({f"{name}/{k}": torch.from_numpy(np.ascontiguousarray(v.astype(np.uint8) if v.dtype == bool else v))
                        for k, v in values.items()})
        dtypes = [None if x is None else str(x.dtype) for x in inputs]
        cases[name] = {"op": op, "opset": opset, "inputs": dtypes, "outputs": count, "attributes": attributes}

    r = np.random.RandomState(0)
    random = lambda *shape: r.randn(*shape).astype(np.float32)
    q, k, v = random(2, 4, 3, 5), random(2, 2, 4, 5), random(2, 2, 4, 3)
    added = random(3, 4)
    seen = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]], bool)  # the second query sees no key
    past = [random(2, 2, 2, 5), random(2, 2, 2, 3)]
    for mode in range(4):
        how = dict(count=4, qk_matmul_output_mode=mode)
        case(f"Attention added, {mode}", "Attention", 23, [q, k, v, added], **how)
        case(f"Attention hidden, {mode}", "Attention", 23, [q, k, v, seen], **how)
        case(f"Attention causal, past, {mode}", "Attention", 23, [q, k, v, None, *past], is_causal=1, **how)
        case(f"Attention capped, {mode}", "Attention", 24, [q, k, v, seen], softcap=1.5, **how)
        lengths = np.array([4, 2], np.int64)
        case(f"Attention lengths, {mode}", "Attention", 24, [q, k, v, None, None, None, lengths], is_causal=1, **how)

    x = random(3, 5, 4) * 20
    for axis, block, shape in ((0, 2, (2, 5, 4)), (1, 2, (3, 3, 4)), (1, 5, (3, 1, 4)), (-1, 3, (3, 5, 2)), (2, 1, (3, 5, 4))):
        scale = r.uniform(0.05, 0.3, shape).astype(np.float32)
        how = dict(axis=axis, block_size=block)
        dtype, low, high = (np.uint8, 0, 256) if axis == 1 else (np.int8, -128, 128)
        zero = r.randint(low // 4, high // 4, shape).astype(dtype)
        stored = r.randint(low, high, x.shape).astype(dtype)
        name = f"axis {axis} block {block}"
        case(f"QuantizeLinear {name}", "QuantizeLinear", 21, [x, scale, zero], **how)
        case(f"DequantizeLinear {name}", "DequantizeLinear", 21, [stored, scale, zero], **how)
    case("QuantizeLinear without zero", "QuantizeLinear", 21, [x, scale], output_dtype=TensorProto.INT8, **how)
    case("DequantizeLinear without zero", "DequantizeLinear", 21, [stored, scale], **how)
    save("onnx_reference", tensors, {"cases": cases})


if __name__ == "__main__":
    main()
