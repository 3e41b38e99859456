/** @file The editor of prompt sets: one prompt a row with its weight, and which are held out for evaluation. */
import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { PromptRow } from '../src/studio/messages.js';
import { Act } from './actions.js';
import { getJson, post } from './api.js';
import { Picker } from './picker.js';
import { hrefOf, route } from './route.js';

interface Sets {
  readonly own: readonly string[];
  readonly bundled: readonly string[];
}

interface Written {
  readonly prompts: string;
  readonly heldOut: string | null;
}

/** Rows that are drawn at once. */
const SHOWN = 300;
const EMPTY: PromptRow = { prompt: '', weight: 1, heldOut: false };

export function PromptsPage(): JSX.Element {
  const [sets, setSets] = useState<Sets | null>(null);
  const [rows, setRows] = useState<readonly PromptRow[]>([EMPTY]);
  const [name, setName] = useState('');
  const [written, setWritten] = useState<Written | null>(null);
  const [problem, setProblem] = useState('');
  const [picking, setPicking] = useState(false);
  const [shown, setShown] = useState(SHOWN);
  const told = (work: Promise<unknown>): Promise<unknown> => work.then(() => setProblem(''), (error: Error) => setProblem(error.message));
  const take = (next: readonly PromptRow[], called?: string): void => {
    setRows(next.length > 0 ? next : [EMPTY]);
    setWritten(null);
    setShown(SHOWN);
    if (called !== undefined) setName(called);
  };
  const open = (set: string, own: boolean): Promise<unknown> => told(getJson<{ rows: PromptRow[] }>(`/api/prompts?${new URLSearchParams({ set })}`).then(({ rows: found }) =>
    take(found, own ? set : set.replace(/^.*[\\/]/, '').replace(/\.\w+$/, '').replaceAll(/[^\w-]/g, '-'))));
  const reload = (): Promise<void> => getJson<Sets>('/api/prompt-sets').then(setSets);
  useEffect(() => {
    void told(reload());
    const set = route.value.query.get('set');
    if (set) void open(set, true);
  }, []);
  const put = (i: number, change: Partial<PromptRow>): void => {
    setRows(rows.map((row, k) => (k === i ? { ...row, ...change } : row)));
    setWritten(null);
  };
  const bring = (file: File | undefined): void => {
    if (!file) return;
    const ending = /\.\w+$/.exec(file.name)?.[0].toLowerCase() ?? '.txt';
    void told(file.text().then((text) => post<{ rows: PromptRow[] }>('/api/prompts/import', { ending, text })).then(({ rows: found }) => take([...rows.filter((r) => r.prompt.trim() !== ''), ...found])));
  };
  /** Every fifth, for a start. */
  const split = (): void => take(rows.map((row, i) => ({ ...row, heldOut: i % 5 === 4 })));
  const filled = rows.filter((row) => row.prompt.trim() !== '');
  const held = filled.filter((row) => row.heldOut).length;
  return (
    <>
      <div class="bar head"><h1 class="grow">Prompts</h1>
        <select aria-label="Open a set" value="" onChange={(e) => {
          const set = e.currentTarget.value;
          if (set !== '') void open(set, sets?.own.includes(set) === true);
        }}>
          <option value="">Open…</option>
          {sets && sets.own.length > 0 ? <optgroup label="Yours">{sets.own.map((set) => <option key={set} value={set}>{set}</option>)}</optgroup> : null}
          <optgroup label="Bundled">{sets?.bundled.map((set) => <option key={set} value={set}>{set}</option>)}</optgroup>
        </select>
        <button onClick={() => setPicking(true)}>Browse</button>
        <label class="button">Import<input class="unseen" type="file" accept=".txt,.csv,.tsv,.json,.jsonl" onChange={(e) => bring(e.currentTarget.files?.[0])} /></label>
      </div>
      <p class="muted">One prompt a row. The weight says how often a prompt is drawn beside the others. Held-out prompts are not trained on: evaluations use them.</p>
      {problem ? <p class="problem" role="alert">{problem}</p> : null}
      <div class="card editor">
        <table>
          <thead><tr><th scope="col">Prompt</th><th scope="col">Weight</th><th scope="col">Held out</th><td /></tr></thead>
          <tbody>
            {rows.slice(0, shown).map((row, i) => (
              <tr key={i}>
                <td><input aria-label={`Prompt ${i + 1}`} value={row.prompt} onInput={(e) => put(i, { prompt: e.currentTarget.value })}
                  onKeyDown={(e) => {
                    if (e.key !== 'Enter') return;
                    e.preventDefault();
                    setRows(rows.toSpliced(i + 1, 0, EMPTY));
                    const here = e.currentTarget.closest('tr');
                    setTimeout(() => here?.nextElementSibling?.querySelector('input')?.focus());
                  }} /></td>
                <td><input class="narrow" aria-label={`Weight of prompt ${i + 1}`} inputMode="decimal" value={row.weight} onChange={(e) => put(i, { weight: Math.max(0, Number(e.currentTarget.value.replace(',', '.')) || 0) })} /></td>
                <td><input type="checkbox" aria-label={`Hold out prompt ${i + 1}`} checked={row.heldOut} onChange={(e) => put(i, { heldOut: e.currentTarget.checked })} /></td>
                <td><button class="plain" aria-label={`Remove prompt ${i + 1}`} onClick={() => take(rows.toSpliced(i, 1))}>✕</button></td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="bar">
          <button onClick={() => setRows([...rows, EMPTY])}>Add a row</button>
          <button onClick={split} disabled={filled.length < 5}>Hold out every fifth</button>
          {rows.length > shown ? <button class="link" onClick={() => setShown(rows.length)}>show all {rows.length}</button> : null}
          <span class="muted">{filled.length - held} to train on, {held} held out</span>
        </p>
      </div>
      <div class="bar">
        <label>Name <input value={name} placeholder="my-prompts" pattern="[A-Za-z0-9][A-Za-z0-9_\-]*" onInput={(e) => setName(e.currentTarget.value.trim())} /></label>
        <Act label="Save" kind="primary" act={async () => {
          const clean = filled.map(({ prompt, ...rest }) => ({ ...rest, prompt: prompt.trim() }));
          setWritten(await post<Written>('/api/prompts', { name, rows: clean }));
          await reload();
        }} />
        {written ? <span role="status">Saved as <code>{written.prompts}</code>. <a href={hrefOf('new', '', [['set', `prompts=${JSON.stringify(written.prompts)}`],
          ...(written.heldOut === null ? [] : [['set', `evaluation.promptSet=${JSON.stringify(written.heldOut)}`] as const])])}>Train on it</a></span> : null}
      </div>
      {picking ? <Picker kind="prompts" close={() => setPicking(false)} choose={(path) => void open(path, false)} /> : null}
    </>
  );
}
