/** @file What the report says makes a picture again makes that picture. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { sampleCommand } from '../../src/cli/sample.js';
import { readImage } from '../../src/formats/image.js';
import { imageAt } from '../../src/rewards/rows.js';
import { normal } from '../../src/random/random.js';
import { remakeCommand, writeWeights } from '../../src/training/artifacts.js';
import { resolveConfig } from '../../src/training/config.js';
import type { Measured } from '../../src/training/evaluate.js';
import { values } from '../../src/training/parameters.js';
import { silent } from '../../src/runs/progress.js';
import { openSession } from '../../src/training/session.js';
import type { Session } from '../../src/training/session.js';
import { run, scratch, tiny } from '../cli/helpers.js';

const PROMPTS = ['a cat', 'a dog'];
const folder = scratch();
const list = join(folder, 'prompts.txt');
await writeFile(list, `${PROMPTS.join('\n')}\n`);

const opened: Session[] = [];
afterAll(async () => {
  for (const session of opened) await session.release();
});

async function open(...settings: (readonly [string, unknown])[]): Promise<Session> {
  const config = resolveConfig({
    model: tiny, prompts: list, rewards: ['symmetry'], batch: 4, samplingSteps: 3, size: 64, threads: 1, negativePrompt: 'a fish\'s tail',
    evaluation: { prompts: 2, images: 3, seed: 5, heldOut: null, features: null },
  }, settings);
  const session = await openSession(config, silent);
  opened.push(session);
  return session;
}

/** Changes all that is trained, enough to be seen. */
function train({ task }: Session): void {
  let item = 0;
  for (const t of task.parameters.values()) {
    const x = values(t);
    const noise = normal({ seed: 1, stream: 'training', step: 0 }, item++, x.length);
    for (let i = 0; i < x.length; i++) x[i]! += 0.05 * noise[i]!;
  }
}

/** Runs a command of the report as a shell would. */
async function pictures(command: string, ...more: string[]): Promise<Float32Array[]> {
  const words = [...command.matchAll(/'((?:[^']|'\\'')*)'|[^\s']+/g)].map(([word, text]) => text?.replaceAll('\'\\\'\'', '\'') ?? word);
  expect(words.slice(0, 2)).toEqual(['attune', 'sample']);
  const { stdout } = await run(sampleCommand(), ...words.slice(2), ...more, '--out', join(folder, 'out'), '--threads', '1', '--json', '--quiet');
  const { images } = JSON.parse(stdout) as { images: { file: string }[] };
  return Promise.all(images.map(async ({ file }) => (await readImage(file)).data as Float32Array));
}

/** Largest difference in steps of 1/255. */
const distance = (a: Float32Array, b: Float32Array): number => a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i]!) * 255), 0);
const picture = ({ images }: Measured, i: number): Float32Array => imageAt(images, i).data as Float32Array;

test.each([
  ['a LoRA', { train: 'lora' }],
  ['all weights', { train: 'full' }],
])('base and tuned pictures of a run, %s', async (name, settings) => {
  const session = await open(...Object.entries(settings));
  const out = join(folder, `run of ${name}`);
  const base = await session.evaluator.measure(0, null);
  train(session);
  await writeWeights(session, out, 'best', 1);
  const tuned = await session.evaluator.measure(1, base);
  const { command, tuned: added } = remakeCommand(session, out)!;

  const listed = ['--prompt', PROMPTS[0]!, '--count', '3', '--seed', '5'];
  for (const [i, image] of (await pictures(command, ...listed)).entries()) expect(distance(image, picture(base, i))).toBeLessThan(1.01);
  for (const [i, image] of (await pictures(`${command} ${added}`, ...listed)).entries()) {
    expect(distance(image, picture(tuned, i))).toBeLessThan(1.01);
    expect(distance(image, picture(base, i))).toBeGreaterThan(5);
  }
  const [last] = await pictures(`${command} ${added}`, '--prompt', PROMPTS[1]!, '--seed', '10');
  expect(distance(last!, picture(tuned, 5))).toBeLessThan(1.01);
  expect(distance(last!, picture(tuned, 4))).toBeGreaterThan(5);
});

test('the report promises nothing where `sample` samples otherwise', async () => {
  expect(remakeCommand(await open(['evaluation.eta', 1]), folder)).toBeNull();
});
