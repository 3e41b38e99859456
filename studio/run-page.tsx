/** @file One run: state and progress, its numbers, curves, pictures, and what it was made with. */
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { MEASURES, measureText, shareInterval } from '../src/evaluation/measures.js';
import type { MeasureName } from '../src/evaluation/measures.js';
import type { RunSummary } from '../src/studio/messages.js';
import { Actions, Badge } from './actions.js';
import { getJson, getText, runPath } from './api.js';
import { Command } from './command.js';
import { Curves } from './curves.js';
import { runs } from './live.js';
import { column, logOf } from './logs.js';
import { judgeHref } from './judge-page.js';
import { Pictures } from './pictures.js';
import { Progress } from './progress.js';
import { hrefOf } from './route.js';
import { Promote } from './promote.js';
import { Sweep } from './sweep.js';
import { TradeOff } from './trade-off.js';
import { ago, number, percent, stateText } from './words.js';

export function RunPage({ id }: { id: string }): JSX.Element {
  const run = runs.value?.find((r) => r.id === id);
  if (runs.value === null) return <p class="muted" aria-busy="true">Reading the runs…</p>;
  if (!run) return <><h1>There is no run {id}</h1><p><a href={hrefOf('')}>All runs</a></p></>;
  return (
    <>
      <p class="back"><a href={hrefOf('')}>Runs</a></p>
      <div class="bar head">
        <h1 class="grow">{id}</h1>
        <Actions run={run} full />
      </div>
      <p class="under"><Badge run={run} text={stateText(run)} /> <span class="muted">{[run.method, `on ${run.model}`, run.rewards.join(' + '), run.seed === null ? '' : `seed ${run.seed}`, ago(run.time)].filter(Boolean).join(' · ')}</span></p>
      {run.reason ? <pre class="reason">{run.reason}</pre> : null}
      <Progress run={run} />
      {run.state === 'starting' || run.state === 'failed' ? null : <Whole run={run} />}
    </>
  );
}

function Whole({ run }: { run: RunSummary }): JSX.Element {
  return (
    <>
      <Tiles run={run} />
      {run.guard ? <p class="note">{run.guarded ? 'Stopped by the guard: ' : 'The guard objects: '}{run.guard}.</p> : null}
      <h2>Curves</h2>
      <Curves runs={[run.id]} />
      <h2>Pictures</h2>
      <Pictures run={run.id} />
      {run.best && run.best.step > 0 ? <p><a href={judgeHref([{ run: run.id, step: 0, strength: 1 }, { run: run.id, step: run.best.step, strength: 1 }])}>Judge base model and step {run.best.step} by eye, blind</a></p> : null}
      <Sweep run={run} />
      <h2>Evaluations</h2>
      <div class="beside"><Evaluations run={run} /><TradeOff run={run} /></div>
      <Promote run={run} />
      <h2>Particulars</h2>
      <Particulars run={run} />
    </>
  );
}

function Tiles({ run: { base, best, last } }: { run: RunSummary }): JSX.Element | null {
  const to = best && best.step > 0 ? best : last;
  if (!base || !to) return null;
  const moved = to.step > 0;
  const where = best && best.step > 0 ? `best, step ${best.step}` : moved ? `step ${to.step}` : 'base model';
  const tile = (name: string, value: string, note: string): JSX.Element => <div class="tile"><span>{name}</span><b>{value}</b><span>{note}</span></div>;
  const before = (x: number): string => (moved ? `${number(x)} before` : 'base model');
  return (
    <div class="tiles">
      {tile(`Reward, ${where}`, number(to.reward), before(base.reward))}
      {to.heldOutReward !== undefined && base.heldOutReward !== undefined ? tile('Held-out judge', number(to.heldOutReward), before(base.heldOutReward)) : null}
      {to.diversity !== undefined && base.diversity !== undefined ? tile('Diversity', percent(to.diversity / base.diversity), `${number(to.diversity)}, ${before(base.diversity)}`) : null}
      {to.winRate !== undefined && moved ? tile('Win rate', percent(to.winRate), `${shareInterval(to, 'winRate')}, images with more than the base model's`) : null}
      {to.drift !== undefined && moved ? tile('Drift', number(to.drift), 'of an image from the base model\'s') : null}
      {to.frechet !== undefined ? tile('Fréchet distance', number(to.frechet), 'to the base model\'s samples') : null}
    </div>
  );
}

/** The column of a measure in rows. */
const columnOf = (name: MeasureName): string => (name === 'reward' ? 'evalReward' : name);

function Evaluations({ run }: { run: RunSummary }): JSX.Element {
  const log = logOf(run.id);
  void log.version.value;
  const steps = column(log, 'step');
  const rewards = column(log, 'evalReward');
  const rows = steps.flatMap((step, i) => (rewards[i] === null || rewards[i] === undefined ? [] : [{ step, i }]));
  const measured = MEASURES.filter(({ name }) => rows.some(({ i }) => (column(log, columnOf(name))[i] ?? null) !== null));
  if (rows.length === 0) return <p class="muted">None yet.</p>;
  return (
    <div class="scroll">
      <table>
        <thead><tr><th scope="col">step</th>{measured.map(({ name, head }) => <th scope="col" key={name}>{head}</th>)}</tr></thead>
        <tbody>
          {rows.map(({ step, i }) => (
            <tr key={step} class={step === run.best?.step ? 'best' : ''}>
              <th scope="row">{step === 0 ? 'base' : step}{step === run.best?.step ? ' (best)' : ''}</th>
              {measured.map(({ name }) => <td key={name}>{measureText(name, column(log, columnOf(name))[i] ?? undefined)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface SettingsOf {
  readonly folder: string;
  readonly command: string;
  readonly changed: Readonly<Record<string, unknown>>;
}

function Particulars({ run }: { run: RunSummary }): JSX.Element {
  const [settings, setSettings] = useState<SettingsOf | null>(null);
  const [output, setOutput] = useState('');
  useEffect(() => {
    getJson<SettingsOf>(runPath(run.id, 'settings')).then(setSettings, () => {});
    getText(runPath(run.id, 'output')).then(setOutput, () => {});
  }, [run.id, run.state]);
  return (
    <>
      {settings ? <Command text={settings.command} /> : null}
      <dl class="plain">
        {settings ? <><dt>Folder</dt><dd><code>{settings.folder}</code></dd></> : null}
        {run.report && settings ? <><dt>Report</dt><dd><code>{settings.folder}/report.html</code></dd></> : null}
        {run.checkpoint === null ? null : <><dt>Last checkpoint</dt><dd>step {run.checkpoint}</dd></>}
        {Object.entries(settings?.changed ?? {}).map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name} `}><code>{typeof value === 'string' ? value : JSON.stringify(value)}</code></dd>])}
      </dl>
      {run.warnings.length > 0 ? <details><summary>{run.warnings.length} warning{run.warnings.length > 1 ? 's' : ''}</summary><ul>{run.warnings.map((text) => <li key={text}>{text}</li>)}</ul></details> : null}
      {output ? <details><summary>What its program wrote</summary><pre class="output">{output}</pre></details> : null}
      <p class="muted"><a href={hrefOf('new', '', [['like', run.id]])}>A new run of these settings</a></p>
    </>
  );
}
