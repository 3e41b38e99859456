import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { compareCommand } from '../../src/cli/compare.js';
import { evalCommand } from '../../src/cli/eval.js';
import { planCommand } from '../../src/cli/plan.js';
import { sampleCommand } from '../../src/cli/sample.js';
import { searchCommand } from '../../src/cli/search.js';
import { run, scratch, smallRun, tiny } from './helpers.js';

const { refused } = vi.hoisted(() => ({
  refused: (what: string) => () => {
    throw new Error(`${what}, where nothing is trained`);
  },
}));
vi.mock('../../src/training/session.js', async (original) => ({ ...await original<object>(), openSession: refused('a training session') }));
vi.mock('../../src/training/pipeline-task.js', async (original) => ({ ...await original<object>(), openPipelineTask: refused('a task') }));
vi.mock('../../src/nn/lora-values.js', async (original) => ({ ...await original<object>(), initialLora: refused('a LoRA') }));
vi.mock('../../src/nn/lora.js', async (original) => ({ ...await original<object>(), loraAdapter: refused('an adapter') }));

const folder = scratch();
const small = await smallRun(folder);

test('eval, search, sample and the baselines of compare open neither a LoRA nor a training session', async () => {
  const [one] = JSON.parse((await run(evalCommand(), ...small, '--json', '--quiet')).stdout) as [{ reward: number }];
  const image = ['--model', tiny, '--prompt', 'a cat', '--size', '64', '--sampling-steps', '2', '--threads', '1', '--quiet', '--out'];
  await run(sampleCommand(), ...image, join(folder, 'sampled'));
  await run(searchCommand(), ...image, join(folder, 'searched'), '--reward', 'symmetry', '--set', 'search.n=2');
  const config = join(folder, 'config.yaml');
  await writeFile(config, JSON.stringify({
    model: tiny, rewards: ['symmetry'], prompts: join(folder, 'prompts.txt'), samplingSteps: 2, threads: 1, size: 64,
    evaluation: { prompts: 1, images: 2 },
  }));
  const out = join(folder, 'baseline');
  await run(compareCommand(), 'baseline', '--config', config, '--out', out);
  const row = JSON.parse(await readFile(join(out, 'metrics.jsonl'), 'utf8')) as { evalReward: number };
  expect(Object.values(row)).toContain(one.reward);
  // What does train is refused here.
  await expect(run(planCommand(), ...small)).rejects.toThrow('a training session, where nothing is trained');
});
