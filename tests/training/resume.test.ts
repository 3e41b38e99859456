import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { attune, killAll } from '../cli-process.js';

const FIXTURE = join(import.meta.dirname, '..', 'fixtures', 'pipeline_sd1');
const root = await mkdtemp(join(tmpdir(), 'attune-resume-'));
afterAll(() => rm(root, { recursive: true, force: true }));

const SETTINGS = [
  '--model', FIXTURE, '--method', 'draft', '--reward', 'symmetry', '--prompts', join(root, 'prompts.txt'),
  '--steps', '4', '--batch', '2', '--sampling-steps', '2', '--threads', '1', '--guidance', '2',
  ...['size=64', 'checkpointEvery=1', 'evaluation.every=2', 'evaluation.prompts=1', 'evaluation.images=2', 'evaluation.sweep=[1]']
    .flatMap((s) => ['--set', s]),
];
await writeFile(join(root, 'prompts.txt'), 'a cat\na dog\n');

/** What must not depend on interruptions: metrics without seconds, pictures, weights. */
async function essence(folder: string): Promise<Record<string, string>> {
  const hash = async (path: string): Promise<string> => createHash('sha256').update(await readFile(path)).digest('hex');
  const rows = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0 }));
  const samples = (await readdir(join(folder, 'samples'), { recursive: true })).filter((name) => name.endsWith('.png'));
  const state = join(folder, 'checkpoints', (await readdir(join(folder, 'checkpoints'))).toSorted().at(-1)!, 'state.safetensors');
  return {
    metrics: JSON.stringify(rows),
    state: await hash(state),
    lora: await hash(join(folder, 'lora', 'pytorch_lora_weights.safetensors')),
    ...Object.fromEntries(await Promise.all(samples.map(async (s) => [s, await hash(join(folder, 'samples', s))] as const))),
  };
}

// Seven runs of the command, each with its own start: minutes on a busy machine.
describe('resuming', { timeout: 600_000 }, () => {
  const whole = join(root, 'whole');

  test('kill -9 at two points, then resuming, gives the same bits as one uninterrupted run', async () => {
    const plain = await attune(['train', ...SETTINGS, '--out', whole]).finished;
    expect(plain.stderr).not.toMatch(/attune:/);
    expect(plain.code).toBe(0);

    const killed = join(root, 'killed');
    const first = attune(['train', ...SETTINGS, '--out', killed]);
    await first.until('evaluating at step 2');
    killAll(first);
    await first.finished;
    const second = attune(['train', '--resume', killed]);
    await second.until('evaluating at step 4');
    killAll(second);
    await second.finished;
    const third = await attune(['train', '--resume', killed]).finished;
    expect(third.stderr).not.toMatch(/attune:/);
    expect(third.code).toBe(0);
    expect(await essence(killed)).toEqual(await essence(whole));
  });

  test.each([
    ['a flow network and trajectories of the round before', ['method.name=nabla-db', 'method.lag=true']],
    ['rewards remembered by prompt', ['method.name=ddpo', 'method.perPrompt={minCount: 2}', 'method.timestepFraction=0.5']],
  ])('what a method keeps beside the weights is resumed too: %s', async (_, settings) => {
    const own = [...SETTINGS.filter((s, i) => s !== '--method' && SETTINGS[i - 1] !== '--method'), ...settings.flatMap((s) => ['--set', s])];
    const [plain, stopped] = [join(root, `plain ${settings[0]}`), join(root, `stopped ${settings[0]}`)];
    expect(await attune(['train', ...own, '--out', plain]).finished).toMatchObject({ code: 0 });
    const first = attune(['train', ...own, '--out', stopped]);
    await first.until('evaluating at step 2');
    killAll(first);
    await first.finished;
    expect(await attune(['train', '--resume', stopped]).finished).toMatchObject({ code: 0 });
    expect(await essence(stopped)).toEqual(await essence(plain));
  });

  test('SIGINT writes a checkpoint and says how to go on; exit code 130', async () => {
    const folder = join(root, 'interrupted');
    const running = attune(['train', ...SETTINGS, '--out', folder]);
    await running.until('training with draft');
    running.child.kill('SIGINT');
    const { code, stderr } = await running.finished;
    expect(code).toBe(130);
    if (stderr.includes('--resume')) {
      expect((await attune(['train', '--resume', folder]).finished).code).toBe(0);
      expect((await essence(folder))['state']).toBe((await essence(whole))['state']);
    }
  });

  test('a folder that holds a run, one in use, and a changed configuration are refused and left alone', async () => {
    const before = await essence(whole);
    const again = await attune(['train', ...SETTINGS, '--out', whole]).finished;
    expect(again).toMatchObject({ code: 2 });
    expect(again.stderr).toMatch(/already holds a run/);
    const changed = await attune(['train', '--resume', whole, '--lr', '0.1']).finished;
    expect(changed).toMatchObject({ code: 2 });
    expect(changed.stderr).toMatch(/goes on with the configuration/);
    await writeFile(join(whole, '.lock'), String(process.pid));
    const used = await attune(['train', '--resume', whole]).finished;
    expect(used).toMatchObject({ code: 2 });
    expect(used.stderr).toMatch(/in use by process/);
    await rm(join(whole, '.lock'));
    expect(await essence(whole)).toEqual(before);
  });
});
