/** @file Judging by eye: two pictures of the same prompt and noise, of which nothing is told, and which is better. */
import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Contestant, JudgeResults, Question, RunSummary } from '../src/studio/messages.js';
import { Act } from './actions.js';
import { getJson, post } from './api.js';
import { runs } from './live.js';
import { goTo, hrefOf, route } from './route.js';
import { percent } from './words.js';

type Choice = 'left' | 'right' | 'tie' | 'bad';
type Results = JudgeResults & { readonly file: string; readonly taste: string | null };

const KEYS: Readonly<Record<string, Choice>> = { ArrowLeft: 'left', ArrowRight: 'right', ArrowDown: 'tie', ArrowUp: 'bad' };
const SAID: Readonly<Record<Choice, string>> = { left: 'Left is better.', right: 'Right is better.', tie: 'A tie.', bad: 'Both are bad.' };

/** As addresses have them: run, step and strength, of which the run may hold anything. */
const textOf = ({ run, step, strength }: Contestant): string => `${step}:${strength}:${run}`;
function contestantOf(text: string): Contestant | null {
  const [, step, strength, run] = /^(\d+):(-?[\d.]+):(.+)$/.exec(text) ?? [];
  return run === undefined ? null : { run, step: Number(step), strength: Number(strength) };
}
export const judgeHref = (contestants: readonly Contestant[]): string => hrefOf('judge', '', contestants.map((c) => ['c', textOf(c)]));

const contestantName = ({ run, step, strength }: Contestant): string =>
  `${run}, ${step === 0 ? 'base model' : `step ${step}`}${step === 0 || strength === 1 ? '' : ` × ${strength}`}`;

export function JudgePage(): JSX.Element {
  const given = route.value.query.getAll('c').map(contestantOf).filter((c) => c !== null);
  if (runs.value === null) return <p class="muted" aria-busy="true">Reading the runs…</p>;
  return given.length < 2 ? <Setup known={runs.value} given={given} /> : <Judging key={given.map(textOf).join()} contestants={given} />;
}

/** What of a run can take part. */
function sidesOf({ id, base, best, last }: RunSummary): Contestant[] {
  const steps = new Set([...(base ? [0] : []), ...(best ? [best.step] : []), ...(last ? [last.step] : [])]);
  return [...steps].map((step) => ({ run: id, step, strength: 1 }));
}

function Setup({ known, given }: { known: readonly RunSummary[]; given: readonly Contestant[] }): JSX.Element {
  const [picked, setPicked] = useState<readonly string[]>(given.map(textOf));
  const able = known.filter((run) => sidesOf(run).length > 0);
  return (
    <>
      <h1>Judge by eye</h1>
      <p>Choose two or more models. You are shown pairs of pictures of the same prompt and noise without being told whose they are, and say which is better. Your votes can train the next run.</p>
      {able.length === 0 ? <p class="muted">There is no run with pictures yet. <a href={hrefOf('new')}>Start one</a></p> : (
        <ul class="sides">
          {able.map((run) => (
            <li key={run.id} class="card">
              <b>{run.id}</b>
              <span class="options">
                {sidesOf(run).map((side) => (
                  <label key={side.step}><input type="checkbox" checked={picked.includes(textOf(side))} aria-label={contestantName(side)}
                    onChange={(e) => setPicked(e.currentTarget.checked ? [...picked, textOf(side)] : picked.filter((t) => t !== textOf(side)))} />
                    {side.step === 0 ? 'base model' : `step ${side.step}${side.step === run.best?.step ? ', best' : ''}`}</label>
                ))}
              </span>
            </li>
          ))}
        </ul>
      )}
      <p class="bar"><button class="primary" disabled={picked.length < 2} onClick={() => goTo(judgeHref(picked.map((t) => contestantOf(t)!)))}>Begin</button></p>
      <Outcome />
    </>
  );
}

/** Counts what was voted, so that results are asked for anew. */
const voted = signal(0);

function Judging({ contestants }: { contestants: readonly Contestant[] }): JSX.Element {
  const [question, setQuestion] = useState<Question | null | undefined>();
  const [busy, setBusy] = useState(false);
  const [said, setSaid] = useState('');
  const [problem, setProblem] = useState('');
  const ask = async (): Promise<void> => setQuestion((await post<{ question: Question | null }>('/api/judge/next', { contestants })).question);
  async function doing(work: () => Promise<string>): Promise<void> {
    if (busy) return;
    setBusy(true);
    setProblem('');
    try {
      const words = await work();
      await ask();
      setSaid(words);
      voted.value += 1;
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  }
  const vote = (choice: Choice): void => void (question && doing(async () => {
    await post('/api/judge/vote', { id: question.id, choice });
    return SAID[choice];
  }));
  const undo = (): void => void doing(async () => ((await post<{ undone: boolean }>('/api/judge/undo', {})).undone ? 'Taken back.' : 'There is no vote to take back.'));
  useEffect(() => {
    ask().catch((error: Error) => setProblem(error.message));
  }, []);
  useEffect(() => {
    const press = (e: KeyboardEvent): void => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.repeat || (e.target as Element).closest('input, select, textarea, summary')) return;
      const choice = KEYS[e.key];
      if (choice === undefined && e.key !== 'z') return;
      e.preventDefault();
      if (choice === undefined) undo();
      else vote(choice);
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  });
  const button = (choice: Choice, key: string, text: string): JSX.Element => <button disabled={busy || !question} onClick={() => vote(choice)}><kbd>{key}</kbd>{text}</button>;
  return (
    <>
      <p class="back"><a href={hrefOf('judge')}>Choose others</a></p>
      <h1>Which is better?</h1>
      {problem ? <p class="problem" role="alert">{problem}</p> : null}
      {question === undefined ? <p class="muted" aria-busy="true">Choosing a pair…</p> : question === null ? <p>These have no pictures of equal prompt and seed in common that differ. Runs with the same evaluation prompts and seed have.</p> : (
        <>
          <p class="lead asked">{question.prompt === '' ? 'no prompt' : question.prompt}</p>
          <div class="duel">
            {(['left', 'right'] as const).map((side) => (
              <button key={`${question.id} ${side}`} class="shot" disabled={busy} aria-label={`The ${side} one is better`} onClick={() => vote(side)}>
                <img src={`/api/judge/${question.id}/${side}`} alt={`The ${side} picture`} />
              </button>
            ))}
          </div>
          <div class="bar center votes">
            {button('left', '←', 'left')}{button('tie', '↓', 'tie')}{button('bad', '↑', 'both bad')}{button('right', '→', 'right')}
            <button class="plain" disabled={busy} onClick={undo}><kbd>Z</kbd>undo</button>
          </div>
          <p class="muted counted"><span role="status">{said}</span> {question.judged} of {question.total} pairs have a vote.</p>
        </>
      )}
      <details><summary>Results so far</summary><Outcome /></details>
    </>
  );
}

function Share({ rate, low, high }: { rate: number; low: number; high: number }): JSX.Element {
  return <span class="share" aria-hidden="true"><i style={{ left: percent(low), width: `${100 * (high - low)}%` }} /><b style={{ left: percent(rate) }} /></span>;
}

/** Votes so far, whoever took part, and what can be made of them. */
function Outcome(): JSX.Element | null {
  const [results, setResults] = useState<Results | null>(null);
  useEffect(() => {
    getJson<Results>('/api/judge/results').then(setResults, () => {});
  }, [voted.value]);
  if (!results || results.votes === 0) return null;
  const { contestants, matches, agreement, votes, pairs } = results;
  const known = runs.value ?? [];
  const like = contestants.map(({ contestant }) => contestant.run).find((id) => known.some((run) => run.id === id && run.again === null));
  const row = (name: string, key: string, { wins, losses, ties, bad, share }: JudgeResults['contestants'][number] | JudgeResults['matches'][number]): JSX.Element => (
    <tr key={key}>
      <th scope="row">{name}</th><td>{wins}</td><td>{losses}</td><td>{ties}</td><td>{bad}</td>
      <td>{share ? <>{percent(share.rate)} <span class="muted">({percent(share.low)}–{percent(share.high)})</span></> : '–'}</td>
      <td>{share ? <Share {...share} /> : null}</td>
    </tr>
  );
  const head = (first: string): JSX.Element => <thead><tr>{[first, 'won', 'lost', 'ties', 'both bad', 'preferred (95%)'].map((t) => <th scope="col" key={t}>{t}</th>)}<td /></tr></thead>;
  return (
    <section class="outcome" aria-label="Results">
      <h2>Votes</h2>
      <p>{votes} votes, {pairs} of them decided. {agreement.of === 0 ? 'One in twenty is asked for again with its sides swapped, to see how far you agree with yourself.'
        : `Asked again with the sides swapped you agreed with yourself in ${agreement.same} of ${agreement.of}.`}</p>
      <div class="scroll"><table>{head('model')}<tbody>{contestants.map((c) => row(contestantName(c.contestant), contestantName(c.contestant), c))}</tbody></table></div>
      {matches.length > 1 ? <details><summary>Each against each</summary><div class="scroll"><table>{head('first against second')}
        <tbody>{matches.map((m) => row(`${contestantName(m.a)} against ${contestantName(m.b)}`, `${contestantName(m.a)} ${contestantName(m.b)}`, m))}</tbody></table></div></details> : null}
      <p class="muted">Intervals are Wilson's; a tie is half a win. The pairs are in <code>{results.file}</code>, as <code>--method dpo</code> reads them.</p>
      {pairs > 0 && like !== undefined ? (
        <p class="bar">
          <Act label="Train DPO on these votes" kind="primary" title={`With the model and settings of ${like}`} act={async () => {
            const { id } = await post<{ id: string }>('/api/judge/dpo', { run: like });
            goTo(hrefOf('run', id));
          }} />
          <Act label="Train a reward model on them" title="The bundled CLIP's image encoder, on these pairs" act={async () => {
            const { id } = await post<{ id: string }>('/api/judge/reward-model', {});
            goTo(hrefOf('run', id));
          }} />
          {results.taste === null ? null : <a href={hrefOf('new', '', [['like', like], ['set', `rewards=${JSON.stringify([results.taste])}`]])}>Train on your reward model</a>}
          <a href={hrefOf('new', '', [['like', like], ['set', 'method.name="dpo"'], ['set', `method.pairs=${JSON.stringify(results.file)}`]])}>DPO with other settings</a>
        </p>
      ) : null}
    </section>
  );
}
