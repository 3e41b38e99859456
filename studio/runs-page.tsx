/** @file The list of runs; and, where there is none yet, the button that makes the first. */
import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import type { RunSummary } from '../src/studio/messages.js';
import { Act, Actions, Badge } from './actions.js';
import { post } from './api.js';
import { imageUrl } from './images.js';
import { queue, runs } from './live.js';
import { Queue } from './queue.js';
import { Progress } from './progress.js';
import { goTo, hrefOf } from './route.js';
import { ago, isLive, number, stateText } from './words.js';

const chosen = signal<readonly string[]>([]);

/** Names of states for the filter above the list. */
const FILTERS = { all: 'All', live: 'Running', ended: 'Ended' } as const;
const filter = signal<keyof typeof FILTERS>('all');

async function startMainJob(): Promise<void> {
  const { id } = await post<{ id: string }>('/api/start', {});
  goTo(hrefOf('run', id));
}

export function RunsPage(): JSX.Element {
  const all = runs.value;
  if (all === null) return <p class="muted" aria-busy="true">Reading the runs…</p>;
  if (all.length === 0 && queue.value.length === 0) return <First />;
  const shown = all.filter((run) => filter.value === 'all' || isLive(run) === (filter.value === 'live'));
  const picked = chosen.value.filter((id) => all.some((run) => run.id === id));
  return (
    <>
      <div class="bar head">
        <h1 class="grow">Runs</h1>
        <div class="tabs" role="group" aria-label="Which runs">
          {Object.entries(FILTERS).map(([name, text]) => (
            <button key={name} aria-pressed={filter.value === name} onClick={() => (filter.value = name as keyof typeof FILTERS)}>{text}</button>
          ))}
        </div>
        <a class="button" aria-disabled={picked.length < 2} href={picked.length < 2 ? undefined : hrefOf('compare', '', picked.map((id) => ['run', id]))}>
          Compare{picked.length > 0 ? ` ${picked.length}` : ''}
        </a>
        <a class="button primary" href={hrefOf('new')}>New run</a>
      </div>
      <Queue />
      {shown.length === 0 ? <p class="muted">None of these.</p> : null}
      <ul class="runs">{shown.map((run) => <Row key={run.id} run={run} />)}</ul>
    </>
  );
}

function First(): JSX.Element {
  return (
    <section class="first">
      <h1>Nothing has run here yet</h1>
      <p class="lead">The bundled model draws emoji. A first run teaches it to draw people more clearly: forty updates, a few minutes on a laptop, nothing to download.</p>
      <div class="bar center">
        <Act label="Start the first run" kind="primary big" act={startMainJob} />
        <a class="button big" href={hrefOf('new')}>Choose model and reward</a>
      </div>
      <p class="muted"><code>attune train</code></p>
    </section>
  );
}

function Row({ run }: { run: RunSummary }): JSX.Element {
  const { id, cover, method, model, rewards, base, best, last, time, state, reason } = run;
  const shown = best ?? last;
  const picked = chosen.value.includes(id);
  const known = !['failed', 'starting', 'unreadable'].includes(state);
  return (
    <li class={`card run ${state}`}>
      <label class="pick" title="Choose for comparison"><input type="checkbox" checked={picked} disabled={!known} aria-label={`Compare ${id}`}
        onChange={(e) => (chosen.value = e.currentTarget.checked ? [...chosen.value, id] : chosen.value.filter((other) => other !== id))} /></label>
      <a class="cover" href={hrefOf('run', id)} tabIndex={-1} aria-hidden="true">{cover ? <img src={imageUrl(id, cover, 128)} alt="" /> : <i />}</a>
      <div class="what">
        <a class="name" href={hrefOf('run', id)}>{id}</a>
        <div class="muted line">{[method, model === 'emoji' ? '' : model.split(/[\\/]/).at(-1), rewards.join(' + ')].filter(Boolean).join(' · ')}</div>
        {reason ? <div class="reason">{reason}</div> : null}
        <Progress run={run} />
      </div>
      <Spark curve={run.curve} />
      <div class="numbers">
        {base && shown && shown.step > 0 ? <><b>{number(shown.reward)}</b><span class="muted">from {number(base.reward)}</span></> : base ? <><b>{number(base.reward)}</b><span class="muted">base model</span></> : null}
      </div>
      <div class="state"><Badge run={run} text={stateText(run)} /><span class="muted">{ago(time)}</span></div>
      <Actions run={run} />
    </li>
  );
}

/** The evaluations' rewards as a small line. */
function Spark({ curve }: Pick<RunSummary, 'curve'>): JSX.Element {
  const [w, h] = [96, 30];
  if (curve.length < 2) return <svg class="spark" width={w} height={h} aria-hidden="true" />;
  const [steps, values] = [curve.map(([s]) => s), curve.map(([, v]) => v)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [from, to] = [steps[0]!, steps.at(-1)!];
  const at = curve.map(([s, v]) => `${(3 + ((s - from) / (to - from || 1)) * (w - 6)).toFixed(1)} ${(h - 4 - ((v - low) / (high - low || 1)) * (h - 8)).toFixed(1)}`);
  return (
    <svg class="spark" width={w} height={h} role="img" aria-label={`reward from ${number(values[0])} to ${number(values.at(-1))}`}>
      <path d={`M${at.join('L')}`} /><circle cx={at.at(-1)!.split(' ')[0]} cy={at.at(-1)!.split(' ')[1]} r="2.5" />
    </svg>
  );
}
