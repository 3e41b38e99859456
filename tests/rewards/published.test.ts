/** @file Rewards by name alone: their files come from a hub (here on this machine, tiny), and score as the published code does. */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PublishedFiles } from '../../src/rewards/published-files.js';
import { openRewards, parseReward } from '../../src/rewards/registry.js';
import { openScorer } from '../../src/rewards/scorer.js';
import type { DifferentiableReward } from '../../src/rewards/reward.js';
import { loadFixture, maxError } from '../models/fixture.js';
import { openFakeHub } from '../models/fake-hub.js';
import type { FakeHub } from '../models/fake-hub.js';
import { openGradient } from '../../src/rewards/gradient.js';
import type { Images } from './helpers.js';
import { publishedRepositories } from './published-hub.js';

/** The table as it is, but for the digests of files that are not those of this hub. */
const pins = vi.hoisted(() => ({ kept: false }));
vi.mock('../../src/rewards/published-files.js', async (original) => {
  const { PUBLISHED } = await original<{ PUBLISHED: Record<string, PublishedFiles> }>();
  const without = (files: PublishedFiles): PublishedFiles => ({
    ...files,
    get sha256() {
      return pins.kept ? files.sha256 : {};
    },
  });
  return { PUBLISHED: Object.fromEntries(Object.entries(PUBLISHED).map(([key, files]) => [key, without(files)])) };
});

let hub: FakeHub;
beforeAll(async () => {
  hub = await openFakeHub(await publishedRepositories());
});
afterAll(() => hub.close());
beforeEach(async () => {
  pins.kept = false;
  await hub.reset();
});

describe('a real picture of odd size has the scores and gradients of the reference libraries by', () => {
  test.each([
    ['clip-score', 'clip-score'], ['clip-score?model=openai/clip-vit-large-patch14@main', 'clip-score'], ['aesthetic', 'aesthetic'],
    ['pickscore', 'pickscore'], ['hpsv2', 'hpsv2'], ['hpsv2.1', 'hpsv2'], ['image-reward', 'image-reward'],
  ])('%s', async (spec, key) => {
    const told: string[] = [];
    const fixture = await loadFixture('published_io');
    const reward = await openRewards([parseReward(spec)], { downloads: { begin: (text) => told.push(text) } }) as DifferentiableReward;
    const images = fixture.get('picture') as Images;
    const scorer = await openGradient(reward, images.shape as [number, 3, number, number], { threads: 1 });
    const { score, gradient } = await scorer.run(images, fixture.meta['prompts'] as string[]);
    await scorer.release();
    const expected = fixture.get(`${key}/scores`);
    expect(maxError({ ...expected, data: score }, expected) / Math.max(1, Math.abs(expected.data[0] as number))).toBeLessThan(1e-4);
    // Pillow's own resizing rounds to whole levels.
    expect(Math.abs(score[0]! - (fixture.get(`${key}/pillow`).data[0] as number)) / Math.max(1, Math.abs(score[0]!))).toBeLessThan(5e-3);
    const reference = fixture.get(`${key}/gradient`);
    const largest = Math.max(...Array.from(reference.data as Float32Array, Math.abs));
    expect(maxError(gradient, reference) / largest).toBeLessThan(1e-3);
    await reward.release?.();
    expect(told[0]).toMatch(/^downloading [\d.]+ MB (from|of) .*licence/);
    // The second time nothing is fetched, nor offline.
    hub.requests.length = told.length = 0;
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    await (await openRewards([parseReward(spec)])).release?.();
    expect([hub.requests, told]).toEqual([[], []]);
  });

  test('clip-score as the paper prints it', async () => {
    const { get, meta } = await loadFixture('published_io');
    const score = async (options: string): Promise<number> => {
      const reward = await openRewards([parseReward(`clip-score?form=${options}`)]);
      const scorer = openScorer(reward);
      const [value] = await scorer.score(get('picture'), meta['prompts'] as string[]);
      await scorer.release();
      await reward.release?.();
      return value!;
    };
    const cosine = await score('cosine');
    expect(cosine).toBeLessThan(0);
    expect(await score('paper')).toBe(0);
    const depicted = await score('cosine&prefix=A photo depicts ');
    expect(depicted).not.toBeCloseTo(cosine, 3);
    expect(await score('paper&prefix=A photo depicts ')).toBeCloseTo(2.5 * Math.max(0, depicted), 5);
  });
});

test('a file that is not the published one is refused before it is downloaded, and in a cache', async () => {
  await (await openRewards([parseReward('aesthetic')])).release?.();
  pins.kept = true;
  await expect(openRewards([parseReward('aesthetic')])).rejects.toThrow(/improved-aesthetic-predictor.*is not the published file: its SHA-256 is [0-9a-f]{64}, not 21dd590f/);
  await hub.reset();
  await expect(openRewards([parseReward('aesthetic')])).rejects.toThrow(/sac\+logos.*is not the published file.*Check HF_ENDPOINT/);
  expect(hub.requests.filter((path) => path.includes('/resolve/'))).toEqual([]);
});

test('only the files of the reward are fetched, with the token for the hub alone', async () => {
  vi.stubEnv('HF_TOKEN', 'hf_secret');
  await (await openRewards([parseReward('image-reward')])).release?.();
  expect(new Set(hub.requests.filter((p) => p.includes('/resolve/')).map((p) => p.split('/').at(-1)))).toEqual(new Set(['ImageReward.pt', 'vocab.txt']));
  expect([...hub.tokens]).toEqual(['Bearer hf_secret']);
});

test('a hub that is offline, has no such repository or answers nonsense is told with what to give instead', async () => {
  const failure = (spec: string): Promise<unknown> => openRewards([parseReward(spec)]).then(() => 'opened', (error: unknown) => String(error));
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  expect(await failure('pickscore')).toMatch(/PickScore_v1.*HF_HUB_OFFLINE is set.*Or give files of yours with the option folder/);
  await hub.reset();
  hub.nonsense = '<html>log in</html>';
  expect(await failure('hpsv2')).toMatch(/xswu\/HPSv2.*cannot be fetched from the hub.*the option file/);
  await hub.reset();
  expect(await failure('clip-score?model=nobody/nothing')).toMatch(/nobody\/nothing.*Check the name/);
  vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
  expect(await failure('image-reward')).toMatch(/THUDM\/ImageReward.*Check the network/);
});

test('offline, the main that another program cached will do', async () => {
  await (await openRewards([parseReward('hpsv2')])).release?.();
  const storage = join(hub.cache, 'models--xswu--HPSv2');
  const [commit] = await readdir(join(storage, 'snapshots'));
  const { mkdir, rename, writeFile } = await import('node:fs/promises');
  await rename(join(storage, 'snapshots', commit!), join(storage, 'snapshots', 'd'.repeat(40)));
  await rm(join(storage, 'refs'), { recursive: true, force: true });
  await mkdir(join(storage, 'refs'));
  await writeFile(join(storage, 'refs', 'main'), 'd'.repeat(40));
  vi.stubEnv('HF_HUB_OFFLINE', '1');
  await (await openRewards([parseReward('hpsv2')])).release?.();
});
