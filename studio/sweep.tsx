/** @file The LoRA of a step at several strengths, prompts down and strengths across; what is not there yet is made on request. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Picture, RunSummary } from '../src/studio/messages.js';
import { Act } from './actions.js';
import { post } from './api.js';
import { BeforeAfter } from './before-after.js';
import { Shot } from './images.js';
import { judgeHref } from './judge-page.js';
import { useKept } from './kept.js';
import { logOf } from './logs.js';

const STRENGTHS = [-0.5, 0, 0.5, 1, 1.5];
/** Prompts of a column that is made. */
const PROMPTS = 8;

/** Strength 0 is the base model, whatever the step. */
const picturesAt = (pictures: readonly Picture[], step: number, strength: number): readonly Picture[] =>
  pictures.filter((p) => (strength === 0 ? p.step === 0 : p.step === step && p.strength === strength));

export function Sweep({ run }: { run: RunSummary }): JSX.Element | null {
  const log = logOf(run.id);
  void log.version.value;
  const kept = useKept(run);
  const [chosen, setChosen] = useState<number | null>(null);
  const [more, setMore] = useState<readonly number[]>([]);
  const [typed, setTyped] = useState('');
  const [opened, setOpened] = useState<Picture | null>(null);
  const { pictures } = log;
  const steps = [...new Set([...kept?.steps ?? [], ...pictures.filter((p) => p.strength !== 1).map((p) => p.step)])].filter((s) => s > 0).toSorted((a, b) => a - b);
  const step = chosen ?? (steps.includes(run.best?.step ?? 0) ? run.best!.step : steps.at(-1));
  if (!kept?.lora || step === undefined) return null;
  const there = new Set(pictures.filter((p) => p.step === step).map((p) => p.strength));
  const strengths = [...new Set([...STRENGTHS, ...there, ...more])].toSorted((a, b) => a - b);
  const firsts = picturesAt(pictures, step, 0).toSorted((a, b) => a.index - b.index).filter((p, i, all) => all.findIndex((q) => q.prompt === p.prompt) === i).slice(0, PROMPTS);
  const missing = strengths.filter((s) => {
    const column = picturesAt(pictures, step, s);
    return firsts.some((first) => !column.some((p) => p.index === first.index));
  });
  const job = run.jobs.find((j) => j.what === 'sweep');
  const value = Number(typed.replace(',', '.'));
  const make = (of: readonly number[]): Promise<unknown> => post('/api/sweep', { run: run.id, step, strengths: of, prompts: PROMPTS });
  return (
    <section aria-label="LoRA strength">
      <h2>LoRA strength</h2>
      <div class="bar controls">
        <label>Step <select value={step} onChange={(e) => setChosen(Number(e.currentTarget.value))}>
          {steps.map((s) => <option key={s} value={s}>{s}{s === run.best?.step ? ' (best)' : ''}</option>)}
        </select></label>
        {missing.length > 0 && kept.steps.includes(step) && job?.state !== 'running' ? <Act label={`Make ${missing.length === 1 ? `strength ${missing[0]}` : `${missing.length} strengths`}`} kind="primary" title="Pictures of the evaluation's prompts and noise" act={() => make(missing)} /> : null}
        <form class="bar nowrap" onSubmit={(e) => {
          e.preventDefault();
          if (typed !== '' && Math.abs(value) <= 8) setMore([...more, value]);
          setTyped('');
        }}>
          <label>Another <input value={typed} inputMode="decimal" size={4} placeholder="0.8" onInput={(e) => setTyped(e.currentTarget.value)} /></label><button>Add</button>
        </form>
        {there.size > 1 ? <a href={judgeHref([...there].toSorted((a, b) => a - b).slice(0, 12).map((strength) => ({ run: run.id, step, strength })))}>Judge these blind</a> : null}
      </div>
      {job?.state === 'running' ? <p role="status" class="muted"><span class="wait" /> {job.text || 'starting'}</p> : null}
      {job?.state === 'failed' ? <p class="problem" role="alert">{job.text}</p> : null}
      <div class="scroll wall" tabIndex={0} role="group" aria-label="Pictures by strength">
        <table>
          <thead><tr><th scope="col">Prompt</th>{strengths.map((s) => <th scope="col" key={s}>{s === 0 ? 'base' : `× ${String(s).replace('-', '−')}`}</th>)}</tr></thead>
          <tbody>
            {firsts.map((row) => (
              <tr key={row.index}>
                <th scope="row">{row.prompt}</th>
                {strengths.map((s) => {
                  const picture = picturesAt(pictures, step, s).find((p) => p.index === row.index);
                  return <td key={s}>{picture ? <button class="shot" onClick={() => setOpened(picture)}><Shot run={run.id} picture={picture} size={256} /></button> : <span class="gap" role="img" aria-label="not made yet" />}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {opened ? <BeforeAfter run={run.id} pictures={pictures} opened={opened} close={() => setOpened(null)} /> : null}
    </section>
  );
}
