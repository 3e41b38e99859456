/** @file What the studio answers to what, once a request is let in. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { z } from 'zod';
import { LORA_DIALECTS } from '../formats/lora-file.js';
import { packageVersion } from '../formats/package-root.js';
import { withoutSecrets } from '../formats/url-secrets.js';
import { askRun } from '../runs/asked.js';
import { differencesOf } from '../runs/differences.js';
import { overviewOf } from '../runs/overview.js';
import { readSettings } from '../runs/settings.js';
import { shellWord } from '../training/command-line.js';
import { keptSteps } from '../training/kept-weights.js';
import { bundledPrompts } from '../training/prompts.js';
import { changedSettings } from './changed-settings.js';
import { choices } from './choices.js';
import type { Judge } from './judge.js';
import type { Launcher } from './launcher.js';
import { isFileKind, listFolder } from './picker.js';
import { SIZES } from './pictures.js';
import type { Pictures } from './pictures.js';
import { importPrompts, ownPromptSets, readPromptSet, writePromptSet } from './prompt-sets.js';
import type { Queue } from './queue.js';
import { readBody, Refusal, send, sendJson, sendText, taken } from './reply.js';
import type { RunIndex } from './run-index.js';
import { stream } from './stream.js';
import { tasteReward, trainTaste } from './taste.js';
import { pairsFile } from './votes.js';
import { readWish, trainCommand } from './wish.js';

export interface Parts {
  readonly index: RunIndex;
  readonly pictures: Pictures;
  readonly launcher: Launcher;
  readonly judge: Judge;
  readonly queue: Queue;
  /** Folders that the picker shows. */
  readonly roots: readonly string[];
  /** Aborted when the server closes. */
  readonly signal: AbortSignal;
}

interface Request {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  /** What the parts of the address between slashes are that the route leaves open, decoded. */
  readonly names: readonly string[];
}

type Route = (parts: Parts, asked: Request) => Promise<void>;

const attune = (args: readonly string[]): string => ['attune', ...args].map(shellWord).join(' ');

/** @throws Refusal if it is no number of that kind */
function numberOf(text: string | undefined, pattern: RegExp): number {
  if (text === undefined || !pattern.test(text)) throw new Refusal(400, `"${(text ?? '').slice(0, 40)}" is no such number`);
  return Number(text);
}

async function folderOf(index: RunIndex, id: string | undefined): Promise<string> {
  const folder = await index.folderOf(id ?? '');
  if (folder === null) throw new Refusal(404, 'there is no such run');
  return folder;
}

const textOf = (body: Readonly<Record<string, unknown>>, key: string): string => {
  const value = body[key];
  if (typeof value !== 'string' || value.length > 1000) throw new Refusal(400, `"${key}" must be a text`);
  return value;
};

const [runName, atStep, strength] = [z.string().max(1000), z.int().positive(), z.number().min(-8).max(8)] as const;
const askSchema = z.strictObject({ run: runName, wish: z.enum(['sample', 'save']) });
const sweepSchema = z.strictObject({ run: runName, step: atStep, strengths: z.array(strength).min(1).max(24), prompts: z.int().min(1).max(64).default(8) });
const promoteSchema = z.strictObject({ run: runName, step: atStep, strength: strength.default(1), dialect: z.enum(LORA_DIALECTS) });

/** From where the studio was started. */
const pairsPath = ({ root }: RunIndex): string => relative('.', pairsFile(root));

/** Settings of a run with the votes to train on instead of its reward. */
async function dpoSettings(index: RunIndex, run: string): Promise<Record<string, unknown>> {
  const changed = changedSettings(await readSettings(await folderOf(index, run)));
  const kept = Object.entries(changed).filter(([name]) => !name.startsWith('method.'));
  return { ...Object.fromEntries(kept), 'method.name': 'dpo', 'method.pairs': pairsPath(index) };
}

const GET: Readonly<Record<string, Route>> = {
  '/api/about': async ({ index }, { response }) => sendJson(response, { version: packageVersion, root: index.root }),
  '/api/choices': async (_, { response }) => sendJson(response, await choices()),
  '/api/events': ({ index, launcher, queue, signal }, { request, response, url }) =>
    stream(request, response, url, index, { runs: async () => launcher.withStarting(await index.summaries()), queue: () => queue.list().catch(() => []) }, signal),
  '/api/runs/*/settings': async ({ index }, { response, names: [id] }) => {
    const folder = await folderOf(index, id);
    const settings = await readSettings(folder);
    const changed = changedSettings(settings);
    sendJson(response, JSON.parse(withoutSecrets(JSON.stringify({ folder, settings, changed, command: attune(trainCommand({ settings: changed }, folder)) }))));
  },
  '/api/runs/*/output': async ({ index, launcher }, { response, names: [id = ''] }) => {
    if (!(await index.folderOf(id))) throw new Refusal(404, 'there is no such run');
    sendText(response, await launcher.output(id));
  },
  '/api/runs/*/kept': async ({ index }, { response, names: [id] }) => {
    const folder = await folderOf(index, id);
    const promoted = await readdir(join(folder, 'promoted')).catch(() => [] as string[]);
    const { train } = await readSettings(folder);
    sendJson(response, { lora: train === 'lora', steps: await keptSteps(folder), promoted: promoted.filter((name) => !name.startsWith('.')).toSorted(), folder: relative('.', join(folder, 'promoted')) });
  },
  '/api/runs/*/images/*/*/*': async ({ pictures }, { response, url, names: [id = '', step, strength, place] }) => {
    const size = url.searchParams.get('size');
    const side = size === null ? null : SIZES.find((s) => s === Number(size));
    if (side === undefined) throw new Refusal(400, `sizes are ${SIZES.join(', ')}`);
    const { type, bytes } = await pictures.get(id, numberOf(step, /^\d{1,9}$/), numberOf(strength, /^-?\d{1,4}(?:\.\d{1,9})?$/), numberOf(place, /^\d{1,6}$/), side);
    // Its address has in it when it was saved.
    send(response, 200, type, bytes, { 'cache-control': url.searchParams.has('v') ? 'private, max-age=31536000, immutable' : 'no-store' });
  },
  '/api/judge/results': async ({ index, judge }, { response }) => sendJson(response, { ...await judge.results(), file: pairsPath(index), taste: await tasteReward(index.root) }),
  '/api/judge/*/*': async ({ judge }, { response, names: [id = '', side] }) => {
    if (side !== 'left' && side !== 'right') throw new Refusal(404, 'there is no such side');
    send(response, 200, 'image/png', judge.picture(id, side));
  },
  '/api/prompt-sets': async ({ index }, { response }) => sendJson(response, { own: await ownPromptSets(index.root), bundled: await bundledPrompts() }),
  '/api/prompts': async ({ index, roots }, { response, url }) => sendJson(response, { rows: await readPromptSet(index.root, roots, url.searchParams.get('set') ?? '') }),
  '/api/files': async ({ roots }, { response, url: { searchParams } }) => {
    const kind = searchParams.get('kind') ?? '';
    if (!isFileKind(kind)) throw new Refusal(400, 'there are no such files');
    sendJson(response, await listFolder(roots, numberOf(searchParams.get('root') ?? '0', /^\d{1,3}$/), searchParams.get('path') ?? '', kind));
  },
  '/api/differences': async ({ index }, { response, url }) => {
    const [a, b] = url.searchParams.getAll('run');
    const [one, other] = await Promise.all([folderOf(index, a), folderOf(index, b)]);
    const found = await differencesOf(await overviewOf(one), await overviewOf(other));
    sendJson(response, JSON.parse(withoutSecrets(JSON.stringify(found))));
  },
};

const POST: Readonly<Record<string, Route>> = {
  '/api/check': async (_, { request, response }) => {
    const wish = readWish(await readBody(request));
    sendJson(response, { command: attune(trainCommand(wish, null).toSpliced(0, 1, 'train')), config: wish.config });
  },
  '/api/plan': async ({ launcher }, { request, response }) => {
    const wish = readWish(await readBody(request));
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    sendJson(response, await launcher.plan(wish, gone.signal));
  },
  '/api/start': async ({ launcher }, { request, response }) => sendJson(response, { id: await launcher.start(readWish(await readBody(request))) }),
  '/api/resume': async ({ launcher }, { request, response }) => {
    await launcher.resume(textOf(await readBody(request), 'run'));
    sendJson(response, {});
  },
  '/api/stop': async ({ launcher }, { request, response }) => {
    const body = await readBody(request);
    await launcher.stop(textOf(body, 'run'), body['now'] === true);
    sendJson(response, {});
  },
  '/api/judge/next': async ({ judge }, { request, response }) => sendJson(response, { question: await judge.next(await readBody(request)) }),
  '/api/judge/vote': async ({ judge }, { request, response }) => {
    await judge.vote(await readBody(request));
    sendJson(response, {});
  },
  '/api/judge/undo': async ({ judge }, { request, response }) => {
    await readBody(request);
    sendJson(response, { undone: await judge.undo() });
  },
  '/api/judge/dpo': async ({ index, launcher, judge }, { request, response }) => {
    const { pairs } = await judge.results();
    if (pairs === 0) throw new Refusal(409, 'there is no decided vote yet');
    const settings = await dpoSettings(index, textOf(await readBody(request), 'run'));
    sendJson(response, { id: await launcher.start(readWish({ settings })) });
  },
  '/api/judge/reward-model': async ({ index, launcher, judge }, { request, response }) => {
    await readBody(request);
    if ((await judge.results()).pairs === 0) throw new Refusal(409, 'there is no decided vote yet');
    sendJson(response, { id: await trainTaste(index.root, launcher) });
  },
  '/api/ask': async ({ index }, { request, response }) => {
    const { run, wish } = taken(askSchema, await readBody(request));
    await askRun(await folderOf(index, run), wish);
    sendJson(response, {});
  },
  '/api/sweep': async ({ launcher }, { request, response }) => {
    const { run, step, strengths, prompts } = taken(sweepSchema, await readBody(request));
    await launcher.work(run, 'sweep', ['--step', String(step), `--strengths=${strengths.join()}`, '--prompts', String(prompts)]);
    sendJson(response, {});
  },
  '/api/promote': async ({ launcher }, { request, response }) => {
    const { run, step, strength, dialect } = taken(promoteSchema, await readBody(request));
    await launcher.work(run, 'export', ['--step', String(step), `--strength=${strength}`, '--to', dialect]);
    sendJson(response, {});
  },
  '/api/queue': async ({ queue }, { request, response }) => {
    await queue.change(await readBody(request));
    sendJson(response, {});
  },
  '/api/prompts': async ({ index }, { request, response }) => {
    const { prompts, heldOut } = await writePromptSet(index.root, await readBody(request));
    sendJson(response, { prompts: relative('.', prompts), heldOut: heldOut === null ? null : relative('.', heldOut) });
  },
  '/api/prompts/import': async (_, { request, response }) => sendJson(response, { rows: await importPrompts(await readBody(request)) }),
  '/api/dismiss': async ({ launcher }, { request, response }) => {
    launcher.dismiss(textOf(await readBody(request), 'run'));
    sendJson(response, {});
  },
};

const compiled = (routes: Readonly<Record<string, Route>>): (readonly [RegExp, Route])[] =>
  Object.entries(routes).map(([path, route]) => [new RegExp(`^${path.replaceAll('*', '([^/]+)')}$`), route]);

const ROUTES: Readonly<Record<string, readonly (readonly [RegExp, Route])[]>> = { GET: compiled(GET), HEAD: compiled(GET), POST: compiled(POST) };

/** @throws Refusal, ConfigError or FormatError */
export async function answer(parts: Parts, request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  for (const [pattern, route] of ROUTES[request.method ?? ''] ?? []) {
    const found = pattern.exec(url.pathname);
    if (!found) continue;
    let names: string[];
    try {
      names = found.slice(1).map(decodeURIComponent);
    } catch {
      throw new Refusal(400, 'the address is not one');
    }
    return route(parts, { request, response, url, names });
  }
  throw new Refusal(404, 'there is nothing of that name');
}
