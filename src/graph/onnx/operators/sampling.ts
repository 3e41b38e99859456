/** @file ONNX GridSample: pictures read at places that another tensor gives, differentiable in both. */
import { abs, add, and, cast, clip, floor, greaterEqual, lessEqual, minimum, mod, mul, roundHalfEven, sub, where } from '../../ops/arithmetic.js';
import { takeAlong } from '../../ops/gather.js';
import { expand, narrow, reshape } from '../../ops/layout.js';
import { full } from '../../tensor.js';
import type { Tensor } from '../../tensor.js';
import type { Call, Operator } from '../call.js';

type Padding = 'zeros' | 'border' | 'reflection';

/** Folds places beyond the edges back, as often as needed; the edges are pixel centres or pixel borders. */
function reflected(at: Tensor, length: number, alignCorners: boolean): Tensor {
  const [low, high] = alignCorners ? [0, length - 1] : [-0.5, length - 0.5];
  const span = high - low;
  if (span === 0) return mul(at, 0);
  const along = mod(abs(sub(at, low)), 2 * span); // within there and back
  return add(minimum(along, sub(2 * span, along)), low);
}

/** [B, C, H·W] at whole places [B, P] → [B, C, P]; what lies outside is 0, the edge's or the mirror image's. */
function pixelsAt(flat: Tensor, [h, w]: readonly [number, number], y: Tensor, x: Tensor, padding: Padding, align: boolean): Tensor {
  const [b, c] = flat.shape as [number, number];
  const inside = (at: Tensor, n: number): Tensor => clip(padding === 'reflection' ? reflected(at, n, align) : at, 0, n - 1);
  const index = cast(add(mul(inside(y, h), w), inside(x, w)), 'int64');
  const places = [b, c, index.shape[1]!];
  const read = takeAlong(flat, expand(reshape(index, [b, 1, places[2]!]), places), 2);
  if (padding !== 'zeros') return read;
  const within = and(and(greaterEqual(y, 0), lessEqual(y, h - 1)), and(greaterEqual(x, 0), lessEqual(x, w - 1)));
  return where(reshape(within, [b, 1, places[2]!]), read, full([], 0));
}

/** Weights of the neighbours base + k of a place that lies `t` beyond base, by Keys' kernel with a = −0.75. */
function cubicWeights(t: Tensor): Tensor[] {
  const a = -0.75;
  const near = (d: Tensor): Tensor => add(mul(mul(sub(mul(d, a + 2), a + 3), d), d), 1);
  const far = (d: Tensor): Tensor => mul(sub(mul(add(mul(sub(d, 5), d), 8), d), 4), a);
  return [far(add(t, 1)), near(t), near(sub(1, t)), far(sub(2, t))];
}

/** x [B, C, H, W] at grid [B, H', W', 2] (x, then y, from −1 to 1) → [B, C, H', W']. */
const gridSample: Operator = (c: Call) => {
  const [x, grid] = [c.x(0), c.x(1)];
  if (x.rank !== 4 || grid.rank !== 4) c.fail(`only pictures [B, C, H, W] are supported, not ${x} at ${grid}`);
  const mode = c.string('mode', 'linear').replace(/^bi/, '');
  const padding = c.string('padding_mode', 'zeros') as Padding;
  if (!['zeros', 'border', 'reflection'].includes(padding)) c.fail(`padding mode ${padding} is not known`);
  const align = c.int('align_corners', 0) === 1;
  const [b, ch, h, w] = x.shape as [number, number, number, number];
  const [, outH, outW] = grid.shape as [number, number, number];
  const points = reshape(grid, [b, outH * outW, 2]);
  const place = (i: number, n: number): Tensor => {
    const unit = reshape(narrow(points, 2, i, i + 1), [b, outH * outW]);
    return align ? mul(add(unit, 1), (n - 1) / 2) : sub(mul(add(unit, 1), n / 2), 0.5);
  };
  // Except for the cubic filter, whose reach is padded, the places themselves are.
  const kept = (at: Tensor, n: number): Tensor => {
    if (padding === 'zeros' || mode === 'cubic') return at;
    return clip(padding === 'border' ? at : reflected(at, n, align), 0, n - 1);
  };
  const [px, py] = [kept(place(0, w), w), kept(place(1, h), h)];
  const flat = reshape(x, [b, ch, h * w]);
  const read = (ys: Tensor, xs: Tensor): Tensor => pixelsAt(flat, [h, w], ys, xs, padding, align);
  const back = (y: Tensor): Tensor => reshape(y, [b, ch, outH, outW]);
  if (mode === 'nearest') return back(read(roundHalfEven(py), roundHalfEven(px)));
  if (mode !== 'linear' && mode !== 'cubic') return c.fail(`mode ${mode} is not supported`);
  const [x0, y0] = [floor(px), floor(py)];
  const weights = (t: Tensor): Tensor[] => (mode === 'linear' ? [sub(1, t), t] : cubicWeights(t));
  const first = mode === 'linear' ? 0 : -1;
  const [wx, wy] = [weights(sub(px, x0)), weights(sub(py, y0))];
  const terms = wy.flatMap((v, i) => wx.map((u, j) =>
    mul(read(add(y0, first + i), add(x0, first + j)), reshape(mul(u, v), [b, 1, outH * outW]))));
  return back(terms.reduce((s, t) => add(s, t)));
};

export const sampling: Readonly<Record<string, Operator>> = { GridSample: gridSample };
