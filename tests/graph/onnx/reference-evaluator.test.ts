/** What ONNX Runtime has in part or otherwise, against ONNX's own reference evaluator (tools/reference/onnx_reference.py). */
import { describe, expect, test } from 'vitest';
import type { DType, HostTensor } from '../../../src/graph/dtype.js';
import { host } from '../../../src/graph/dtype.js';
import { readFixture, under } from '../fixture.js';
import { difference, modelFile, runImported } from './model-file.js';
import type { AttributeSpec, NodeSpec } from './model-file.js';

interface Meta {
  cases: Record<string, { op: string; opset: number; inputs: (DType | null)[]; outputs: number; attributes: Record<string, number> }>;
}

const LOWEST = -3.4028234663852886e38;
const { meta, tensors } = await readFixture<Meta>('onnx_reference');

describe.each(['Attention', 'QuantizeLinear', 'DequantizeLinear'])('%s is that of the reference evaluator', (op) => {
  const cases = Object.entries(meta.cases).filter(([, c]) => c.op === op);
  test.each([...new Set(cases.map(([, c]) => c.opset))])('operator set %i', async (opset) => {
    const feeds: Record<string, HostTensor> = {};
    const nodes: NodeSpec[] = [];
    const expected = new Map<string, HostTensor>();
    for (const [name, c] of cases.filter(([, { opset: own }]) => own === opset)) {
      const own = under(tensors, `${name}/`);
      const inputs = c.inputs.map((dtype, i) => {
        if (!dtype) return '';
        const { data, shape } = own.get(`in.${i}`)!;
        feeds[`${name} in ${i}`] = host(data, shape, dtype);
        return `${name} in ${i}`;
      });
      const outputs = Array.from({ length: c.outputs }, (_, i) => `${name} out ${i}`);
      outputs.forEach((o, i) => expected.set(o, own.get(`out.${i}`)!));
      const attributes: Record<string, AttributeSpec> = Object.fromEntries(Object.entries(c.attributes)
        .map(([k, v]) => [k, k === 'softcap' ? { f: v } : v]));
      nodes.push({ op, name, in: inputs, out: outputs, attributes });
    }
    const inputs = Object.fromEntries(Object.entries(feeds).map(([k, v]) => [k, { shape: [...v.shape], dtype: v.dtype }]));
    const found = await runImported(modelFile({ opset, nodes, inputs, outputs: [...expected.keys()] }), feeds);
    const wrong = [...expected].flatMap(([name, { data, shape }]) => {
      expect(found[name]!.shape, name).toEqual(shape);
      const error = difference(Float32Array.from(found[name]!.data as Float32Array, (v) => Math.max(v, LOWEST)), Float32Array.from(data as Float32Array));
      return error < 1e-6 ? [] : [`${name}: ${error}`];
    });
    expect(wrong).toEqual([]);
    expect(expected.size).toBeGreaterThan(0);
  });
});
