/** @file Several runs beside each other: curves in common charts, pictures of equal prompts, what differs and what came of it. */
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { measuresOf, measureText } from '../src/evaluation/measures.js';
import type { Differences } from '../src/runs/differences.js';
import type { Picture, RunSummary } from '../src/studio/messages.js';
import { getJson } from './api.js';
import { colorOf } from './colors.js';
import { Curves } from './curves.js';
import { Shot, stepsOf } from './images.js';
import { runs } from './live.js';
import { logOf } from './logs.js';
import { hrefOf } from './route.js';
import { number, shortNames, stateText } from './words.js';

export function ComparePage({ ids }: { ids: readonly string[] }): JSX.Element {
  const known = (runs.value ?? []).filter((run) => ids.includes(run.id));
  if (runs.value === null) return <p class="muted" aria-busy="true">Reading the runs…</p>;
  return (
    <>
      <p class="back"><a href={hrefOf('')}>Runs</a></p>
      <h1>{ids.length} runs</h1>
      <ul class="chips">
        {ids.map((id) => (
          <li key={id}><i style={{ background: `var(${colorOf(id)})` }} /><a href={hrefOf('run', id)}>{id}</a>
            <a class="away" aria-label={`Without ${id}`} href={hrefOf('compare', '', ids.filter((other) => other !== id).map((other) => ['run', other]))}>✕</a></li>
        ))}
      </ul>
      <Curves runs={ids} />
      <h2>Pictures</h2>
      <Wall ids={ids} />
      <h2>Results</h2>
      <Results known={known} />
      {ids.length === 2 ? <Difference a={ids[0]!} b={ids[1]!} /> : null}
    </>
  );
}

/** Prompts down, runs across, each at its own step that is the nearest before the one chosen. */
function Wall({ ids }: { ids: readonly string[] }): JSX.Element {
  const logs = ids.map(logOf);
  for (const log of logs) void log.version.value;
  const steps = [...new Set(logs.flatMap((log) => stepsOf(log.pictures)))].toSorted((a, b) => a - b);
  const [chosen, setChosen] = useState<number | null>(null);
  const step = chosen ?? steps.at(-1) ?? 0;
  if (steps.length === 0) return <p class="muted">None yet.</p>;
  const shown = logs.map((log): readonly Picture[] => {
    const at = stepsOf(log.pictures).findLast((s) => s <= step);
    return log.pictures.filter((p) => p.step === at && p.strength === 1);
  });
  const rows = [...new Map(shown.flat().toSorted((a, b) => a.index - b.index).map((p) => [`${p.prompt}\n${p.seed ?? p.index}`, p])).values()];
  const firsts = rows.filter((p, i) => rows.findIndex((q) => q.prompt === p.prompt) === i);
  return (
    <>
      <div class="bar sliders">
        <label class="grow">Step
          <input type="range" min="0" max={steps.length - 1} value={Math.max(0, steps.indexOf(step))} aria-valuetext={`step ${step}`} onInput={(e) => setChosen(steps[Number(e.currentTarget.value)] ?? null)} />
          <output>{step === 0 ? 'base model' : step}</output>
        </label>
      </div>
      <div class="scroll wall">
        <table>
          <thead><tr><th scope="col">Prompt</th>{ids.map((id) => <th scope="col" key={id}><i class="dot" style={{ background: `var(${colorOf(id)})` }} />{shortNames(ids).get(id)}</th>)}</tr></thead>
          <tbody>
            {firsts.map((row) => (
              <tr key={row.prompt}>
                <th scope="row">{row.prompt}</th>
                {ids.map((id, k) => {
                  const picture = shown[k]!.find((p) => p.prompt === row.prompt && p.seed === row.seed) ?? shown[k]!.find((p) => p.prompt === row.prompt);
                  return <td key={id}>{picture ? <span class="shot"><Shot run={id} picture={picture} size={256} /></span> : '–'}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Results({ known }: { known: readonly RunSummary[] }): JSX.Element {
  const measured = measuresOf(known.flatMap(({ best }) => best ?? [])).filter(({ name }) => name !== 'reward');
  return (
    <div class="scroll">
      <table>
        <thead><tr>{['run', 'state', 'base', 'best reward', 'at step', ...measured.map(({ head }) => head)].map((t) => <th scope="col" key={t}>{t}</th>)}</tr></thead>
        <tbody>
          {known.map((run) => (
            <tr key={run.id}>
              <th scope="row"><i class="dot" style={{ background: `var(${colorOf(run.id)})` }} />{run.id}</th>
              <td>{stateText(run)}</td><td>{number(run.base?.reward)}</td><td>{number(run.best?.reward)}</td><td>{run.best?.step ?? '–'}</td>
              {measured.map(({ name }) => <td key={name}>{measureText(name, run.best?.[name])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const shown = (value: unknown): string => (value === undefined ? 'not set' : typeof value === 'string' ? value : JSON.stringify(value));
const digest = (value: string | undefined): string => (value === undefined ? 'not known' : /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value);

function Difference({ a, b }: { a: string; b: string }): JSX.Element | null {
  const [found, setFound] = useState<Differences | null>(null);
  useEffect(() => {
    getJson<Differences>(`/api/differences?${new URLSearchParams([['run', a], ['run', b]])}`).then(setFound, () => setFound(null));
  }, [a, b]);
  if (!found) return null;
  const part = (title: string, rows: readonly (readonly [string, string, string])[]): JSX.Element => (
    <>
      <h2>{title}</h2>
      {rows.length === 0 ? <p class="muted">The same.</p> : (
        <div class="scroll"><table class="text">
          <thead><tr><th scope="col" />{[a, b].map((id) => <th scope="col" key={id}>{id}</th>)}</tr></thead>
          <tbody>{rows.map(([name, x, y]) => <tr key={name}><th scope="row">{name}</th><td><code>{x}</code></td><td><code>{y}</code></td></tr>)}</tbody>
        </table></div>
      )}
    </>
  );
  return (
    <>
      {part('Settings that differ', found.settings.map(([name, x, y]) => [name, shown(x), shown(y)]))}
      {part('Inputs that differ', found.inputs.map(([name, x, y]) => [name, digest(x), digest(y)]))}
    </>
  );
}
