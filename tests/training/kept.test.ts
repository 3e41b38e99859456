/** @file What is asked of a run while it goes on, and its weights looked at again: pictures at other strengths, LoRAs of any checkpoint. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { runsCommand } from '../../src/cli/runs.js';
import { readLora } from '../../src/formats/lora-file.js';
import { toFloat32 } from '../../src/graph/dtype.js';
import { askRun } from '../../src/runs/asked.js';
import { silent } from '../../src/runs/progress.js';
import { readView } from '../../src/runs/view.js';
import { readCheckpoint } from '../../src/training/checkpoint.js';
import { resolveConfig } from '../../src/training/config.js';
import { keptSteps, keptWeights } from '../../src/training/kept-weights.js';
import { runTraining } from '../../src/training/run.js';
import { storedConfig } from '../../src/training/stored-config.js';
import { pngText, run, scratch, tiny } from '../cli/helpers.js';

const root = scratch();
const [asked, quiet] = [join(root, 'asked'), join(root, 'quiet')];

async function trained(path: string, onStep: (step: number) => void): Promise<void> {
  const prompts = join(root, 'prompts.txt');
  writeFileSync(prompts, 'a cat\na dog\n');
  const config = resolveConfig({
    model: tiny, prompts, rewards: ['symmetry'], method: { name: 'draft' }, steps: 6, batch: 1, samplingSteps: 1, size: 32, threads: 1, guidance: 1, checkpointEvery: 2,
    ema: 0.5, lora: { rank: 1, targets: ['to_q'] },
    evaluation: { every: 0, prompts: 2, images: 2, heldOut: null, features: null, sweep: [1], final: { prompts: 0 } },
  } as never, []);
  await runTraining(config, path, { progress: { ...silent, step: (step, _total, detail) => void (detail?.startsWith('reward') && onStep(step)) } });
}

beforeAll(async () => {
  await trained(quiet, () => {});
  const wishes: Promise<void>[] = [];
  await trained(asked, (step) => void (step === 1 && wishes.push(askRun(asked, 'sample').then(() => askRun(asked, 'save')))));
  await Promise.all(wishes);
}, 120_000);

test('a run answers within an update or so with pictures and weights that stay, and trains on as if nobody had asked', async () => {
  const view = (await readView(asked))!;
  const [saved] = readFileSync(join(asked, 'events.jsonl'), 'utf8').split('\n').filter((l) => l.includes('"saved"')).map((l) => JSON.parse(l) as { step: number; path: string });
  expect(saved!.step).toBeGreaterThanOrEqual(1);
  expect(saved!.step).toBeLessThanOrEqual(5);
  expect(saved!.path).toBe(`saved/step-00000${saved!.step}`);
  const taken = view.images.filter((i) => i.step > 0 && i.step < 6);
  expect(taken).toHaveLength(4);
  expect(existsSync(join(asked, taken[3]!.file))).toBe(true);
  expect(view.evaluations.map((e) => e.row.step)).toEqual((await readView(quiet))!.evaluations.map((e) => e.row.step));
  expect(existsSync(join(asked, '.ask-sample')) || existsSync(join(asked, '.ask-save'))).toBe(false);
  const [a, b] = await Promise.all([asked, quiet].map((f) => readCheckpoint(join(f, 'checkpoints', 'step-000006'))));
  expect(a!.tensors).toEqual(b!.tensors);
  await expect(askRun(asked, 'save')).rejects.toThrow('not running');
});

test('a sweep makes what is not there yet, strength 0 being the base model; a new column costs that column alone', async () => {
  expect(await keptSteps(asked)).toEqual(expect.arrayContaining([4, 6]));
  const made = async (strengths: string): Promise<string> => (await run(runsCommand(), 'sweep', asked, '--step', '4', `--strengths=${strengths}`, '--quiet')).stdout;
  expect(await made('-0.5,0,1.5')).toMatch(/^4 pictures/);
  expect(await made('-0.5,0,1.5,0.5')).toMatch(/^2 pictures/);
  expect(await made('-0.5,0,1.5,0.5')).toMatch(/^0 pictures/);
  const view = (await readView(asked))!;
  const at = view.images.filter((i) => i.step === 4 && i.strength !== 1);
  expect(at.map((i) => [i.strength, i.index])).toEqual([[-0.5, 0], [-0.5, 2], [1.5, 0], [1.5, 2], [0.5, 0], [0.5, 2]]);
  // The same noise as the evaluation's.
  for (const { index, seed, prompt } of at) expect(view.images.find((i) => i.step === 0 && i.index === index)).toMatchObject({ seed, prompt });
  expect(pngText(readFileSync(join(asked, at[0]!.file)), 'strength')).toBe('-0.5');
  expect(readFileSync(join(asked, at[0]!.file)).equals(readFileSync(join(asked, at[2]!.file)))).toBe(false);
  await expect(run(runsCommand(), 'sweep', asked, '--step', '99', '--strengths=1', '--quiet')).rejects.toThrow('no weights of step 99 any more; there are those of');
});

test('the LoRA of a checkpoint is written at a strength in a dialect, and is those weights', async () => {
  const { stdout } = await run(runsCommand(), 'export', asked, '--step', '4', '--strength', '0.5', '--to', 'kohya', '--json', '--quiet');
  const { out } = JSON.parse(stdout) as { out: string };
  expect(out).toBe(join(asked, 'promoted', 'step-000004-x0.5-kohya.safetensors'));
  const { lora } = await readLora(out);
  const weights = await keptWeights(asked, await storedConfig(asked), 4);
  const [path, layer] = [...lora.layers][0]!;
  const up = [...weights].find(([name]) => name.includes(path) && /up|B/.test(name.slice(name.indexOf(path) + path.length)))![1];
  const scale = Math.max(...toFloat32(up).map(Math.abs));
  expect(Math.max(...toFloat32(layer.up).map(Math.abs))).toBeCloseTo(0.5 * scale, 6);
});
