/** @file Compares a method's gradient with finite differences of a loss, along random directions in parameter space. */
import type { HostTensor } from '../../src/graph/dtype.js';
import type { Method, Update } from '../../src/methods/method.js';
import type { Task } from '../../src/methods/task.js';
import { normal } from '../../src/random/random.js';

/** The first update of a method. */
export async function firstUpdate<O>(method: Method<O>, task: Task, options: unknown, prompts: readonly string[], round = 0): Promise<Update> {
  const rule = await method.create(task, method.options.parse(options));
  for await (const update of rule.round(prompts, round)) {
    await rule.release();
    return update;
  }
  throw new Error('the method made no update');
}

/** θ += h·direction, in place. */
function move(task: Task, direction: ReadonlyMap<string, Float32Array>, h: number): void {
  for (const [name, t] of task.parameters) {
    const [p, d] = [t.data as Float32Array, direction.get(name)!];
    for (let i = 0; i < p.length; i++) p[i]! += h * d[i]!;
  }
}

/**
 * Largest |⟨gradient, d⟩ − (loss(θ + h·d) − loss(θ − h·d)) / 2h| over directions d, relative to the largest slope.
 */
export async function directionalError(
  task: Task, gradients: ReadonlyMap<string, HostTensor>, loss: () => Promise<number>, directions = 4, h = 2e-2,
): Promise<number> {
  let [worst, scale] = [0, 0];
  for (let k = 0; k < directions; k++) {
    const direction = new Map([...task.parameters].map(([name, t]) =>
      [name, normal({ seed: 11, stream: `direction ${name}`, step: k }, 0, t.data.length)]));
    const before = new Map([...task.parameters].map(([name, t]) => [name, (t.data as Float32Array).slice()]));
    const at = async (x: number): Promise<number> => {
      move(task, direction, x);
      const value = await loss();
      for (const [name, t] of task.parameters) (t.data as Float32Array).set(before.get(name)!);
      return value;
    };
    // Richardson: the error of the difference falls from h² to h⁴.
    const coarse = ((await at(h)) - (await at(-h))) / (2 * h);
    const fine = ((await at(h / 2)) - (await at(-h / 2))) / h;
    const slope = (4 * fine - coarse) / 3;
    let claimed = 0;
    for (const [name, g] of gradients) {
      const [x, d] = [g.data as Float32Array, direction.get(name)!];
      for (let i = 0; i < x.length; i++) claimed += x[i]! * d[i]!;
    }
    worst = Math.max(worst, Math.abs(claimed - slope));
    scale = Math.max(scale, Math.abs(slope));
  }
  return worst / scale;
}
