import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/formats/errors.js';
import { sd1 } from '../../src/models/families/sd.js';
import { environmentSettings, parseAssignment, readConfigFile, resolveConfig } from '../../src/training/config.js';
import { drawPrompts, loadPrompts, roundPrompts } from '../../src/training/prompts.js';
import { chosenMethod } from '../../src/training/session.js';

const folder = await mkdtemp(join(tmpdir(), 'attune-config-'));
const file = async (name: string, text: string): Promise<string> => {
  await writeFile(join(folder, name), text);
  return join(folder, name);
};

describe('configuration', () => {
  test('later layers win, and values are read as YAML', async () => {
    const path = await file('a.yaml', 'steps: 7\nlora:\n  rank: 2\nmethod:\n  name: draft\n  k: all\n');
    const env = environmentSettings({ ATTUNE_SET_LORA__RANK: '3', ATTUNE_SET_SAMPLING_STEPS: '9', OTHER: 'x' });
    const config = resolveConfig(await readConfigFile(path), [...env, parseAssignment('lora.rank=5')]);
    expect(config).toMatchObject({ steps: 7, samplingSteps: 9, lora: { rank: 5 }, method: { name: 'draft', k: 'all' } });
  });

  test.each([
    ['step=3', /no setting "step".*steps/s],
    ['lora.ranks=3', /no setting "lora.ranks".*lora.rank/s],
    ['lora.rank=many', /lora\.rank/],
    ['steps.x=1', /steps/],
    ['batch=0', /batch/],
    ['batch=1e9', /batch.*100000/],
    ['microbatch=1e9', /microbatch.*4096/],
    ['noequals', /dotted\.key=value/],
  ])('%s is refused by name', (assignment, message) => {
    expect(() => resolveConfig({ steps: 4 }, [parseAssignment(assignment)])).toThrow(message);
    expect(() => resolveConfig({ steps: 4 }, [parseAssignment(assignment)])).toThrow(ConfigError);
  });

  test('other models than the bundled one have defaults of their own, and no reward of the emoji', () => {
    expect(resolveConfig({ model: 'emoji' }, [])).toEqual(resolveConfig({}, []));
    const other = resolveConfig({ model: './sd15', rewards: ['symmetry'] }, [['guidance', 7]]);
    expect(other).toMatchObject({ lr: 4e-4, samplingSteps: 20, guidance: 7, prompts: 'animals', batch: 8 });
    expect(other.lora).toMatchObject({ rank: 8, targets: ['to_q', 'to_k', 'to_v', 'to_out.0'] });
    expect(resolveConfig({ model: './sd15', rewards: ['symmetry'], lora: { rank: 4 } }, []).lora).toMatchObject({ rank: 4, targets: other.lora.targets });
    expect(() => resolveConfig({ model: './sd15' }, [])).toThrow(/rewards: give one with --reward.*\.\/sd15/);
  });

  test('a sampler must be one for the process of the model\'s family', () => {
    const flow = { name: 'toy', process: 'rectified-flow', defaults: { guidance: 1, size: [64, 64], training: {} } } as const;
    const chosen = (sampler: string, family: Parameters<typeof resolveConfig>[2]) =>
      resolveConfig({ model: './other', rewards: ['symmetry'], sampler }, [], family).sampler;
    for (const sampler of ['ddim', 'flow-euler', 'flow-sde']) expect(chosen(sampler, flow)).toBe(sampler);
    expect(() => chosen('ddpm', flow)).toThrow('sampler: ddpm does not sample flow models, as toy models are; take ddim, flow-euler, flow-sde');
    expect(() => chosen('flow-sde', sd1)).toThrow(/flow-sde does not sample diffusion models, as sd1 models are; take ddim, ddpm, dpm\+\+2m-sde/);
    expect(() => resolveConfig({ sampler: 'flow-sde' }, [])).toThrow(ConfigError);
  });

  test('a file that is missing or no map is refused', async () => {
    await expect(readConfigFile(join(folder, 'none.yaml'))).rejects.toThrow(/none\.yaml: there is no such file/);
    await expect(readConfigFile(await file('list.yaml', '- 1\n- 2\n'))).rejects.toThrow(/list\.yaml/);
    await expect(readConfigFile(await file('bad.yaml', 'a: [1'))).rejects.toThrow(/bad\.yaml/);
  });

  test('methods and their options are checked, with the nearest name', () => {
    const config = (method: object) => resolveConfig({ method }, []);
    expect(() => chosenMethod(config({ name: 'drft' }))).toThrow(/draft/);
    expect(() => chosenMethod(config({ name: 'draft', q: 1 }))).toThrow(/method\.q/);
    expect(() => chosenMethod(config({ name: 'draft', k: 0 }))).toThrow(/method\.k/);
    expect(chosenMethod(config({ name: 'draft-lv' })).options).toMatchObject({ n: 2 });
  });
});

describe('prompts', () => {
  test('text, CSV and JSONL files with weights', async () => {
    const txt = await loadPrompts(await file('p.txt', '# comment\na cat\n\n  a dog  \n'));
    expect(txt.prompts).toEqual(['a cat', 'a dog']);
    const csv = await loadPrompts(await file('p.csv', 'weight,prompt\n2,"a cat, ""big"""\n0,never\n1,a dog\n'));
    expect(csv).toMatchObject({ prompts: ['a cat, "big"', 'a dog'], weights: [2, 1] });
    const jsonl = await loadPrompts(await file('p.jsonl', '{"prompt":"a cat","weight":3}\n"a dog"\n'));
    expect(jsonl).toMatchObject({ prompts: ['a cat', 'a dog'], weights: [3, 1] });
  });

  test('empty, broken and unknown lists are refused by name', async () => {
    await expect(loadPrompts(await file('empty.txt', '# nothing\n'))).rejects.toThrow(/empty\.txt.*no prompt/);
    await expect(loadPrompts(await file('broken.jsonl', '{"prompt":\n'))).rejects.toThrow(/broken\.jsonl:1/);
    await expect(loadPrompts(await file('w.csv', 'prompt,weight\na,-1\n'))).rejects.toThrow(/w\.csv:2.*-1/);
    await expect(loadPrompts('animal')).rejects.toThrow(/animals/);
  });

  test('draws follow the weights and depend on the round alone', () => {
    const set = { name: 'x', prompts: ['a', 'b'], weights: [3, 1] };
    const many = Array.from({ length: 500 }, (_, r) => drawPrompts(set, 1, r, 4)).flat();
    expect(many.filter((p) => p === 'a').length / many.length).toBeCloseTo(0.75, 1);
    expect(drawPrompts(set, 1, 7, 4)).toEqual(drawPrompts(set, 1, 7, 4));
    const three = Array.from({ length: 3 }, (_, r) => drawPrompts(set, 1, r, 4)).flat();
    expect([...roundPrompts(set, { seed: 1, batch: 4 }, 3)]).toEqual([...new Set(three)]);
    // However many rounds: it ends with the last prompt there is.
    expect([...roundPrompts(set, { seed: 1, batch: 4 }, Infinity)].toSorted()).toEqual([...set.prompts].toSorted());
    expect(drawPrompts(set, 1, 7, 64)).not.toEqual(drawPrompts(set, 2, 7, 64));
  });
});

test.each([[8, 4], [6, 3], [4, 2], [5, 1], [1, 1], [64, 4]])('several workers take parts of a batch of %i by %i, whatever their number; one takes what there is', (batch, part) => {
  for (const workers of [2, 3]) {
    expect(resolveConfig({}, [['batch', batch], ['workers', workers]])).toMatchObject({ microbatch: part, threads: 1 });
  }
  expect(resolveConfig({}, [['batch', batch]]).microbatch).toBeUndefined();
  expect(() => resolveConfig({}, [['workers', 2], ['device', 'webgpu']])).toThrow(/workers: webgpu computes one thing at a time/);
});
