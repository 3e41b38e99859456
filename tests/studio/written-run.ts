/** @file A run's folder as a run would have left it, written in no time; it can grow. */
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';

export const SETTINGS = ['model: emoji', 'method:', '  name: drtune', 'rewards:', '  - quality', '  - emoji-clip:4', 'prompts: people', 'steps: 40', 'seed: 0', ''].join('\n');

type Event = Readonly<Record<string, unknown>>;

export const opened = (session = 'abc', resumed = false): Event => ({ type: 'opened', version: 1, session, resumed, attune: '0.1.0', host: 'here', pid: 1 });
export const step = (n: number, more: Readonly<Record<string, number>> = {}): Event => ({ type: 'step', row: { step: n, reward: n / 10, loss: -n, gradNorm: 1, lr: 1e-3, rewardQueries: 8 * n, denoiserCalls: 64 * n, seconds: n, ...more } });
export const evaluation = (n: number, reward: number): Event => ({ type: 'evaluation', best: n, row: { step: n, evalReward: reward, diversity: 0.3, rewardQueries: 8 * n, denoiserCalls: 64 * n, seconds: n } });
export const image = (n: number, index: number, strength = 1): Event => ({ type: 'image', step: n, strength, index, prompt: 'a <b>cook</b>', seed: index, file: fileOf(n, index, strength) });

const fileOf = (n: number, index: number, strength: number): string =>
  `samples/step-${String(n).padStart(6, '0')}${strength === 1 ? '' : `/strength-${strength}`}/${String(index).padStart(3, '0')}.png`;

let clock = 1_796_000_000_000;

export function append(folder: string, ...events: readonly Event[]): void {
  appendFileSync(join(folder, 'events.jsonl'), events.map(({ type, ...rest }) => `${JSON.stringify({ type, time: (clock += 1000), ...rest })}\n`).join(''));
}

/** Two steps, evaluations before and after, a picture of each; ended. */
export async function writeRun(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.yaml'), SETTINGS);
  append(folder, opened(), evaluation(0, 1), image(0, 0), step(1), step(2), evaluation(2, 1.5), image(2, 0), { type: 'ended', how: 'finished' });
  for (const n of [0, 2]) await writePicture(folder, n, 0, 64);
}

/** Noise of `n`, which no format makes small. */
export async function writePicture(folder: string, n: number, index: number, side: number, at = n): Promise<void> {
  const file = join(folder, fileOf(at, index, 1));
  mkdirSync(join(file, '..'), { recursive: true });
  const pixels = Buffer.from(Array.from({ length: 3 * side * side }, (_, i) => (i * i * 2654435761 + n) % 251));
  writeFileSync(file, await sharp(pixels, { raw: { width: side, height: side, channels: 3 } }).png().toBuffer());
}
