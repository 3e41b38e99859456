/** @file `attune runs`: what it lists, shows, compares and removes, and what it refuses to touch. */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runsCommand } from '../../src/cli/runs.js';
import type { NewEvent } from '../../src/runs/events.js';
import { openRunFolder } from '../../src/runs/folder.js';
import type { RunFolder } from '../../src/runs/folder.js';
import { attune } from '../cli-process.js';
import { run, scratch } from './helpers.js';

const root = scratch();
const settings = {
  method: { name: 'draft', k: 1 }, model: 'emoji', rewards: ['quality', 'emoji-clip:4'], steps: 40, seed: 3, lr: 5e-4,
  evaluation: { heldOut: null, sweep: [0, 1] },
};
const silently = { resume: false, warn: (): void => {} };

const measured = (step: number, evalReward: number, more: object = {}): NewEvent =>
  ({ type: 'evaluation', row: { step, evalReward, diversity: 0.5, rewardQueries: 8 * step, denoiserCalls: step, seconds: step }, best: step, ...more });

/** A run with what happened; it is held until closed. */
async function begun(name: string, events: readonly NewEvent[], more: object = {}): Promise<RunFolder> {
  const folder = await openRunFolder(join(root, name), { ...settings, ...more }, silently);
  await folder.begin({ inputs: { 'model unet': name.padEnd(64, '0'), node: 'v20' } });
  await folder.rewind(-1);
  for (const event of events) await folder.emit(event);
  return folder;
}
const ended = async (...given: Parameters<typeof begun>): Promise<void> => (await begun(...given)).close();

await ended('finished', [measured(0, 1), measured(40, 2.5), { type: 'ended', how: 'finished' }]);
await ended('guarded', [measured(0, 1), measured(10, 2), measured(20, 3, { best: 10, stop: 'diversity is 3%' }), { type: 'ended', how: 'guard', reason: 'diversity is 3%' }], { lr: 1, seed: 4 });
await ended('compared/runs/a/seed-0', [measured(0, 1), { type: 'checkpoint', step: 7, path: 'checkpoints/step-000007' }, { type: 'step', row: { step: 9, reward: 1 } }, { type: 'ended', how: 'interrupted' }]);
await ended('failed', [measured(0, 1), { type: 'warning', text: 'odd' }, { type: 'ended', how: 'error', reason: 'no \u001b[31mmemory\u0007 at https://me:secret@host/' }]);
await ended('killed', [measured(0, 1), { type: 'step', row: { step: 1, reward: 1 } }]);
mkdirSync(join(root, 'old'));
writeFileSync(join(root, 'old', 'config.yaml'), JSON.stringify(settings));
writeFileSync(join(root, 'old', 'metrics.jsonl'), '{"step":0,"evalReward":1}\n{"step":5,"reward":1,"evalReward":1.5}\n');
writeFileSync(join(root, 'old', 'summary.json'), '{"best":5,"ended":{"guard":"held-out"}}');
mkdirSync(join(root, 'unreadable'));
writeFileSync(join(root, 'unreadable', 'config.yaml'), 'method: [1\n');
writeFileSync(join(root, 'unreadable', 'manifest.json'), '{}');
mkdirSync(join(root, 'no run'));
writeFileSync(join(root, 'no run', 'config.yaml'), 'title: of something else\n');

const at = (name: string): string => join(root, name);
interface Fact {
  folder: string;
  state: string;
  guard: string | null;
  guarded: boolean;
  step: number;
  checkpoint: number | null;
  best: { step: number; reward: number } | null;
}
const json = async <T>(...args: string[]): Promise<T> => JSON.parse((await run(runsCommand(), ...args, '--json')).stdout) as T;
const facts = async (name: string): Promise<Fact> => (await json<Fact[]>(root)).find((r) => r.folder === at(name))!;

describe('the list', () => {
  test('has every run with state, steps, best reward and the guard\'s verdict; one that cannot be read does not hide the others', async () => {
    const { stdout } = await run(runsCommand(), root);
    const line = (name: string): string => stdout.split('\n').find((l) => l.startsWith(`${at(name)} `))!.slice(at(name).length).replaceAll(/ {2,}/g, ' | ').trim();
    expect(line('finished')).toMatch(/^(\| )?finished \| draft \| quality \+ emoji-clip:4 \| 40\/40 \| 1 \| 2\.5 at 40 \| ok$/);
    expect(line('guarded')).toMatch(/finished \| draft .* 20\/40 \| 1 \| 2 at 10 \| stopped$/);
    expect(line('compared/runs/a/seed-0')).toMatch(/stopped \| draft .* 9\/40 \| 1 \| the base model \| –$/);
    expect(line('failed')).toMatch(/crashed/);
    expect(line('killed')).toMatch(/crashed \| draft .* 1\/40/);
    expect(line('old')).toMatch(/finished \| draft .* 5\/40 \| 1 \| 1\.5 at 5 \| stopped$/);
    expect(line('unreadable')).toMatch(/^(\| )?unreadable$/);
    expect(stdout).toMatch(/\n\n[^\n]*unreadable\/config\.yaml: [^\n]+\n$/);
    expect(stdout).not.toContain('no run ');
  });

  test('is empty in words, and refuses what is no folder', async () => {
    mkdirSync(at('empty'));
    expect((await run(runsCommand(), at('empty'))).stderr).toMatch(/no runs in .*attune train makes one/);
    rmSync(at('empty'), { recursive: true });
    await expect(run(runsCommand(), at('nowhere'))).rejects.toThrow(/there is no folder/);
  });

  test('a run that is held by a living process is running; afterwards it crashed, since it said nothing', async () => {
    const folder = await begun('held', [measured(0, 1), { type: 'checkpoint', step: 1, path: 'x' }]);
    expect(await facts('held')).toMatchObject({ state: 'running', checkpoint: 1 });
    await folder.close();
    expect(await facts('held')).toMatchObject({ state: 'crashed' });
    rmSync(at('held'), { recursive: true });
  });
});

describe('a run', () => {
  test('is shown with its reason, its evaluations, and what to do next', async () => {
    const { stdout } = await run(runsCommand(), 'show', at('guarded'));
    expect(stdout).toMatch(/State +finished at step 20: stopped by the guard: diversity is 3%/);
    expect(stdout).toMatch(/best +10 +2 +0\.5/);
    expect((await run(runsCommand(), 'show', at('compared/runs/a/seed-0'))).stdout)
      .toMatch(/State +stopped at step 9 of 40, last checkpoint 7[^]*Go on +attune train --resume /);
    const failed = (await run(runsCommand(), 'show', at('failed'))).stdout;
    expect(failed).toMatch(/1 warning\(s\):\n {2}odd/);
    expect(failed).not.toContain('secret');
    expect(await json('show', at('guarded'))).toMatchObject({ settings: { lr: 1 }, evaluations: [{ row: { step: 0 } }, {}, { stop: 'diversity is 3%' }] });
    await expect(run(runsCommand(), 'show', at('no run'))).rejects.toThrow(/there is no run .*attune runs \[FOLDER\] lists/);
  });

  test('beside another: what differs of settings and inputs, and all results', async () => {
    const { settings: changed, inputs, results } = await json<{ settings: unknown[][]; inputs: unknown[][]; results: unknown[][] }>('diff', at('finished'), at('guarded'));
    expect(changed).toEqual([['seed', 3, 4], ['lr', 5e-4, 1]]);
    expect(inputs.map(([name]) => name)).toEqual(['model unet']);
    expect(results).toContainEqual(['best reward', 2.5, 2]);
    expect((await run(runsCommand(), 'diff', at('finished'), at('finished'))).stdout).toMatch(/^Settings: the same\./);
  });

  test('with a hostile name and text reaches the terminal without what it would obey', async () => {
    await ended('evil\u001b]0;title\u0007\nname', [measured(0, 1), { type: 'ended', how: 'error', reason: 'x' }]);
    const { stdout, code } = await attune(['runs', root]).finished;
    expect(code).toBe(0);
    expect(stdout).toContain('evil\\u001b]0;title\\u0007\\nname');
    const shown = await attune(['runs', 'show', at('failed')]).finished;
    for (const text of [stdout, shown.stdout]) for (const obeyed of ['\u001b', '\u0007']) expect(text).not.toContain(obeyed);
  }, 60_000);
});

describe('removing', () => {
  const remove = (...args: string[]) => run(runsCommand(), 'rm', ...args);

  test('asks, or wants --yes; takes the run and nothing else', async () => {
    await ended('away', [measured(0, 1), { type: 'ended', how: 'finished' }]);
    await expect(remove(at('away'))).rejects.toThrow(/give --yes/);
    expect(existsSync(at('away'))).toBe(true);
    await remove(at('away'), '--yes');
    expect(existsSync(at('away'))).toBe(false);
    expect(existsSync(at('finished'))).toBe(true);
  });

  test('keeps and tells what no run writes, wherever it lies', async () => {
    await ended('mixed', [measured(0, 1), { type: 'ended', how: 'finished' }]);
    const put = (file: string): void => {
      mkdirSync(dirname(join(at('mixed'), file)), { recursive: true });
      writeFileSync(join(at('mixed'), file), 'x');
    };
    const theirs = ['checkpoints/best.txt', 'lora/mine.safetensors', 'model/unet/notes.md', 'samples/favourite.png', 'samples/step-000000/000-cut.png', 'thesis.tex'];
    const own = [
      'samples/step-000000.png', 'samples/step-000000/000.png', 'samples/step-000040/strength-0.5/003.png', 'samples/.000.png.0123456789ab.tmp',
      'checkpoints/step-000040/state.json', 'checkpoints/step-000040/state.safetensors', 'checkpoints/step-000020.damaged/state.json',
      'lora/kohya.safetensors', 'lora/peft/adapter_config.json', 'lora-last/pytorch_lora_weights.safetensors',
      'model/model_index.json', 'model/unet/diffusion_pytorch_model.safetensors', 'model/text_encoder_2/model-00001-of-00002.safetensors', 'model/tokenizer/merges.txt',
    ];
    for (const file of [...theirs, ...own]) put(file);
    symlinkSync(at('finished'), join(at('mixed'), 'model-last'));
    const { stderr } = await remove(at('mixed'), '--yes');
    const left = (readdirSync(at('mixed'), { recursive: true, withFileTypes: true }))
      .filter((e) => !e.isDirectory()).map((e) => relative(at('mixed'), join(e.parentPath, e.name))).toSorted();
    expect(left).toEqual([...theirs, 'model-last'].toSorted());
    expect(stderr).toContain('because no run writes it: ');
    expect(stderr).toMatch(/ and 2 more\n$/);
    expect(existsSync(join(at('finished'), 'events.jsonl'))).toBe(true);
  });

  test('refuses a running one, a folder that is none, a link, and where it is called', async () => {
    const folder = await begun('busy', [measured(0, 1)]);
    await expect(remove(at('busy'), '--yes')).rejects.toThrow(/is running; stop it first/);
    await folder.close();
    await expect(remove(root, '--yes')).rejects.toThrow(/there is no run/);
    await expect(remove(at('no run'), '--yes')).rejects.toThrow(/there is no run/);
    symlinkSync(at('finished'), at('link'));
    for (const link of [at('link'), `${at('link')}/`, `${at('link')}/.`]) await expect(remove(link, '--yes')).rejects.toThrow(/is a link/);
    expect(existsSync(join(at('finished'), 'events.jsonl'))).toBe(true);
    const cwd = process.cwd;
    process.cwd = () => at('finished');
    await expect(remove(at('finished'), '--yes')).rejects.toThrow(/where this command was called/).finally(() => (process.cwd = cwd));
    expect(existsSync(at('finished'))).toBe(true);
  });

  test('refuses a run that a process of another machine holds', async () => {
    await ended('afar', [measured(0, 1)]);
    writeFileSync(join(at('afar'), '.lock'), JSON.stringify({ host: 'elsewhere', space: '', pid: 7, born: '', since: '', nonce: 'n' }));
    await expect(remove(at('afar'), '--yes')).rejects.toThrow(/is running|in use by process 7 on elsewhere/);
    expect(existsSync(join(at('afar'), 'config.yaml'))).toBe(true);
  });
});
