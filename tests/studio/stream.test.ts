/** @file The stream of events: what a page is told at first, what comes, and that it goes on where it was cut off. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LogPart, RunSummary } from '../../src/studio/messages.js';
import { openStudio } from '../../src/studio/server.js';
import type { Studio } from '../../src/studio/server.js';
import { thinned } from '../../src/studio/thin.js';
import { scratch } from '../cli/helpers.js';
import { asPage } from './ask.js';
import { append, evaluation, image, opened, SETTINGS, step, writeRun } from './written-run.js';

const runs = join(scratch(), 'runs');
const one = join(runs, 'one');
let studio: Studio;

beforeAll(async () => {
  await writeRun(one);
  studio = await openStudio({ runs, port: 0 });
});
afterAll(() => studio.close());

interface Told {
  readonly event: string;
  readonly id: string;
  readonly data: unknown;
}

interface Listening {
  /** The next event of a kind. */
  next<T>(event: string): Promise<T & { id: string }>;
  close(): void;
}

function listen(query: string, lastId?: string): Listening {
  const told: Told[] = [];
  const waiting: { event: string; resolve: (t: Told) => void }[] = [];
  let text = '';
  const sent = request({ host: '127.0.0.1', port: studio.port, path: `/api/events?${query}`, headers: { ...asPage(studio), ...(lastId !== undefined && { 'last-event-id': lastId }) }, agent: false }, (response) => {
    response.on('error', () => {});
    response.on('data', (part: Buffer) => {
      text += part.toString();
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const fields = Object.fromEntries(text.slice(0, end).split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
        text = text.slice(end + 2);
        if (!fields['event']) continue;
        const message = { event: fields['event'], id: fields['id'] ?? '', data: JSON.parse(fields['data']!) as unknown };
        const at = waiting.findIndex((w) => w.event === message.event);
        if (at >= 0) waiting.splice(at, 1)[0]!.resolve(message);
        else told.push(message);
      }
    });
  });
  sent.on('error', () => {});
  sent.end();
  return {
    next: (event) => new Promise((resolve) => {
      const give = ({ data, id }: Told): void => resolve(Object.assign(data as object, { id }) as never);
      const at = told.findIndex((t) => t.event === event);
      if (at >= 0) give(told.splice(at, 1)[0]!);
      else waiting.push({ event, resolve: give });
    }),
    close: () => sent.destroy(),
  };
}

test('the list has each run with its true state; the log comes whole, then what is new alone, and after a cut from there', async () => {
  const page = listen('run=one');
  const [summary] = Object.values(await page.next<RunSummary[]>('runs'));
  expect(summary).toMatchObject({ id: 'one', state: 'finished', step: 2, steps: 40, method: 'drtune', best: { step: 2, reward: 1.5 }, curve: [[0, 1], [2, 1.5]] });
  const first = await page.next<LogPart>('log');
  expect(first).toMatchObject({ run: 'one', anew: true, rows: { step: [0, 1, 2], reward: [null, 0.1, 0.2], evalReward: [1, null, 1.5] } });
  expect(first.pictures.map((p) => [p.step, p.index, p.prompt])).toEqual([[0, 0, 'a <b>cook</b>'], [2, 0, 'a <b>cook</b>']]);

  append(one, opened('next', true), { type: 'resumed', step: 1 }, step(2, { reward: 9 }));
  const again = await page.next<LogPart>('log');
  expect(again).toMatchObject({ anew: true, rows: { step: [0, 1, 2], reward: [null, 0.1, 9] } });
  expect(again.pictures.map((p) => p.step)).toEqual([0]);
  append(one, step(3), evaluation(3, 2), image(3, 0));
  const more = await page.next<LogPart>('log');
  expect(more).toMatchObject({ anew: false, rows: { step: [3], reward: [0.3], evalReward: [2] } });
  page.close();

  append(one, step(4));
  const cut = listen('run=one', more.id);
  expect(await cut.next<LogPart>('log')).toMatchObject({ anew: false, rows: { step: [4] } });
  cut.close();
  // A page that has the address of before, or one that makes something up.
  const from = listen(`run=one&from=${more.id}`);
  expect(await from.next<LogPart>('log')).toMatchObject({ anew: false, rows: { step: [4] } });
  from.close();
  for (const id of ['1-99999999', 'x', `${more.id.split('-')[0]}-9999999999`, '0-0']) {
    const odd = listen('run=one', id);
    expect(await odd.next<LogPart>('log')).toMatchObject({ anew: true, rows: { step: [0, 1, 2, 3, 4] } });
    odd.close();
  }
});

test('a killed run is crashed at its step; one whose log cannot be read says so, and the others are there', async () => {
  for (const name of ['killed', 'later']) {
    mkdirSync(join(runs, name));
    writeFileSync(join(runs, name, 'config.yaml'), SETTINGS);
  }
  append(join(runs, 'killed'), opened(), evaluation(0, 1), step(1), step(2), step(3));
  append(join(runs, 'later'), { ...opened(), version: 99 });
  await new Promise((resolve) => setTimeout(resolve, 1100));
  const page = listen('');
  const all = Object.values(await page.next<RunSummary[]>('runs')).filter((r) => typeof r === 'object');
  page.close();
  expect(all.find((r) => r.id === 'killed')).toMatchObject({ state: 'crashed', step: 3, reason: expect.stringContaining('without a word') as string });
  expect(all.find((r) => r.id === 'later')).toMatchObject({ state: 'unreadable', reason: expect.stringContaining('update Attune') as string });
});

test('a hundred thousand rows become a few thousand, the extremes and evaluations among them', () => {
  const rows = Array.from({ length: 100_000 }, (_, i) => ({ step: i, reward: Math.sin(i / 5000), loss: i === 77_777 ? 1e6 : 1, ...(i % 10_000 === 5 && { evalReward: i }) }));
  const few = thinned(rows);
  expect(few.length).toBeLessThan(4100);
  expect(few.length).toBeGreaterThan(1000);
  expect(few.filter((r) => 'evalReward' in r)).toHaveLength(10);
  expect(few.some((r) => r.loss === 1e6)).toBe(true);
  const highest = (all: readonly { reward?: number | undefined }[]): number => all.reduce((m, r) => Math.max(m, r.reward ?? -9), -9);
  expect(highest(few)).toBe(highest(rows));
  expect(few.every((r, i) => i === 0 || r.step > few[i - 1]!.step)).toBe(true);
});
