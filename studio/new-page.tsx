/** @file The form of a new run, made from the schema of the settings: what is not touched stays at its default. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import { Act } from './actions.js';
import { getJson, post, runPath } from './api.js';
import { Command } from './command.js';
import { choices, loadChoices } from './choices.js';
import type { Choices } from './choices.js';
import { Field, isSection } from './field.js';
import { Picker } from './picker.js';
import { Rewards } from './rewards.js';
import { goTo, hrefOf, route } from './route.js';
import { duration, megabytes } from './words.js';

export type Settings = Readonly<Record<string, unknown>>;

/** Settings that have a place of their own in the form, and those of the row below them. */
const OWN = ['model', 'rewards', 'prompts', 'method.name'];
const FIRST = ['steps', 'batch', 'lr', 'seed', 'guidance', 'samplingSteps', 'device', 'lora.rank'];

interface Plan {
  readonly totalSeconds: number;
  readonly secondsPerUpdate: number;
  readonly peakMemoryBytes: number;
  readonly diskBytes: number;
  readonly trainedNumbers: number;
}

interface Checked {
  readonly command: string;
  readonly config: Readonly<Record<string, unknown>>;
}

/** What the address asks for: `like=RUN`, and `set=KEY=JSON`, repeated. */
async function wished(): Promise<Settings> {
  const { query } = route.value;
  const like = query.get('like');
  const from = like === null ? {} : (await getJson<{ changed: Settings }>(runPath(like, 'settings'))).changed;
  const set = query.getAll('set').map((text) => [text.slice(0, text.indexOf('=')), JSON.parse(text.slice(text.indexOf('=') + 1)) as unknown] as const);
  // Another method has other options.
  const kept = set.some(([key]) => key === 'method.name') ? Object.fromEntries(Object.entries(from).filter(([key]) => !key.startsWith('method.'))) : from;
  return { ...kept, ...Object.fromEntries(set) };
}

export function NewPage(): JSX.Element {
  const [settings, setSettings] = useState<Settings | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    Promise.all([wished(), loadChoices()]).then(([given]) => setSettings(given), (error: Error) => setProblem(error.message));
  }, []);
  if (problem) return <p class="problem" role="alert">{problem}</p>;
  if (!settings || !choices.value) return <p class="muted" aria-busy="true">Reading what there is…</p>;
  return <Form settings={settings} set={setSettings} known={choices.value} />;
}

function Form({ settings, set, known }: { settings: Settings; set(next: Settings): void; known: Choices }): JSX.Element {
  const [name, setName] = useState('');
  const [checked, setChecked] = useState<Checked | null>(null);
  const [problem, setProblem] = useState('');
  const [plan, setPlan] = useState<Plan | null>(null);
  const [busy, setBusy] = useState('');
  const stop = useRef<AbortController | null>(null);
  const change = (key: string, value: unknown): void => {
    const { [key]: _, ...rest } = settings;
    // Another method has other options.
    const kept = key === 'method.name' ? Object.fromEntries(Object.entries(rest).filter(([k]) => !k.startsWith('method.'))) : rest;
    set(value === undefined ? kept : { ...kept, [key]: value });
  };
  const wish = { settings, name: name === '' ? null : name };

  useEffect(() => {
    setPlan(null);
    const asked = new AbortController();
    const timer = setTimeout(() => {
      post<Checked>('/api/check', wish, asked.signal).then((found) => {
        setChecked(found);
        setProblem('');
      }, (error: Error) => error.name !== 'AbortError' && setProblem(error.message));
    }, 250);
    return () => {
      clearTimeout(timer);
      asked.abort();
    };
  }, [JSON.stringify(wish)]);

  /** True if all is well; what is not is told. */
  async function tryOut(): Promise<boolean> {
    stop.current = new AbortController();
    setBusy('trying one round…');
    setPlan(null);
    try {
      const answer = await post<{ plan: Plan } | { problem: string }>('/api/plan', wish, stop.current.signal);
      if ('problem' in answer) throw new Error(answer.problem);
      setPlan(answer.plan);
      return true;
    } catch (error) {
      if ((error as Error).name !== 'AbortError') setProblem((error as Error).message);
      return false;
    } finally {
      setBusy('');
    }
  }
  const begin = async (): Promise<void> => {
    const { id } = await post<{ id: string }>('/api/start', wish);
    goTo(hrefOf('run', id));
  };
  const checkAndStart = async (): Promise<void> => {
    if (await tryOut()) await begin();
  };

  const config = checked?.config ?? {};
  const method = String(settings['method.name'] ?? 'drtune');
  const about = known.methods.find((m) => m.name === method);
  const field = (key: string): JSX.Element | null => {
    const setting = known.settings.find((s) => s.name === key);
    return setting ? <Field key={key} setting={setting} value={settings[key]} now={at(config, key)} set={(value) => change(key, value)} /> : null;
  };
  return (
    <>
      <p class="back"><a href={hrefOf('')}>Runs</a></p>
      <h1>New run</h1>
      <div class="form">
        <div class="fields">
          <section class="card part">
            <h2>Model</h2>
            <Named label="Model" kind="model" value={String(settings['model'] ?? '')} preset="emoji" names={known.models.filter((m) => m.from.includes('bundled')).map((m) => m.name)}
              hint="Bundled name, folder in diffusers layout, .safetensors or .ckpt file, or hub id org/name." set={(text) => change('model', text || undefined)} />
          </section>
          <section class="card part">
            <h2>Reward</h2>
            <Rewards known={known} value={settings['rewards'] as readonly string[] | undefined} preset={(config['rewards'] as readonly string[] | undefined) ?? []} set={(value) => change('rewards', value)} />
          </section>
          <section class="card part">
            <h2>Prompts</h2>
            <Named label="Prompts" kind="prompts" value={String(settings['prompts'] ?? '')} preset={String(config['prompts'] ?? 'people')} names={known.prompts.map((p) => p.name)}
              hint={known.prompts.find((p) => p.name === (settings['prompts'] ?? config['prompts']))?.examples.join(', ') ?? 'A bundled list, or a .txt, .csv, .tsv, .json or .jsonl file.'}
              set={(text) => change('prompts', text || undefined)} />
          </section>
          <section class="card part">
            <h2>Method</h2>
            <select aria-label="Method" value={method} onChange={(e) => change('method.name', e.currentTarget.value === 'drtune' ? undefined : e.currentTarget.value)}>
              {known.methods.map((m) => <option key={m.name} value={m.name}>{m.name}</option>)}
            </select>
            {about ? <p class="muted">{about.summary}. {about.reward === 'differentiable' ? 'The reward must be differentiable.' : 'Takes any reward.'} <span class="paper">{about.paper}</span></p> : null}
            {(known.methodSettings[method] ?? []).length > 0 ? (
              <details open={Object.keys(settings).some((k) => k.startsWith('method.') && k !== 'method.name')}>
                <summary>Options of {method}</summary>
                <div class="grid">{known.methodSettings[method]!.map((s) => <Field key={`${method} ${s.name}`} setting={s} value={settings[s.name]} now={undefined} set={(value) => change(s.name, value)} />)}</div>
              </details>
            ) : null}
          </section>
          <section class="card part">
            <h2>Training</h2>
            <div class="grid">{FIRST.map(field)}</div>
            <Others known={known} settings={settings} field={field} />
          </section>
        </div>
        <aside class="card part launch">
          <h2>Start</h2>
          <label class="stack">Name of the run<input value={name} placeholder="time and method" pattern="[A-Za-z0-9][A-Za-z0-9_.\-]*" onInput={(e) => setName(e.currentTarget.value.trim())} /></label>
          {checked ? <Command text={checked.command} /> : null}
          {problem ? <p class="problem" role="alert">{problem}</p> : null}
          {plan ? <Forecast plan={plan} /> : null}
          {busy ? <p role="status" class="muted"><span class="wait" /> {busy} <button class="link" onClick={() => stop.current?.abort()}>cancel</button></p> : null}
          <div class="bar">
            <Act label="Check and start" kind="primary" title="Tries one round first, so that mistakes show before hours are spent" act={checkAndStart} />
            <Act label="Only check" act={tryOut} />
            <Act label="Start" title="Without trying a round first" act={begin} />
            <Act label="Add to queue" title="It starts when no other run is running" act={async () => {
              await post('/api/queue', { do: 'add', ...wish });
              goTo(hrefOf(''));
            }} />
          </div>
        </aside>
      </div>
    </>
  );
}

/** A value of a tree by its dotted name. */
const at = (tree: Readonly<Record<string, unknown>>, path: string): unknown =>
  path.split('.').reduce<unknown>((node, key) => (typeof node === 'object' && node !== null ? (node as Record<string, unknown>)[key] : undefined), tree);

function Forecast({ plan }: { plan: Plan }): JSX.Element {
  return (
    <dl class="plain">
      <dt>Time</dt><dd>about {duration(plan.totalSeconds)} ({plan.secondsPerUpdate.toPrecision(2)} s an update)</dd>
      <dt>Memory</dt><dd>{megabytes(plan.peakMemoryBytes)} at the peak of the trial</dd>
      <dt>Disk</dt><dd>{megabytes(plan.diskBytes)} beside pictures and logs</dd>
      <dt>Trains</dt><dd>{plan.trainedNumbers.toLocaleString('en')} numbers</dd>
    </dl>
  );
}

/** A bundled name, or a file of one's own. */
function Named({ label, kind, value, preset, names, hint, set }: {
  label: string; kind: 'model' | 'prompts'; value: string; preset: string; names: readonly string[]; hint: string; set(text: string): void;
}): JSX.Element {
  const [picking, setPicking] = useState(false);
  return (
    <>
      <div class="bar nowrap">
        <input class="grow" aria-label={label} list={`names-${kind}`} value={value} placeholder={preset} onChange={(e) => set(e.currentTarget.value.trim())} />
        <datalist id={`names-${kind}`}>{names.map((n) => <option key={n} value={n} />)}</datalist>
        <button onClick={() => setPicking(true)}>Browse</button>
      </div>
      <p class="muted">{hint}</p>
      {picking ? <Picker kind={kind} close={() => setPicking(false)} choose={set} /> : null}
    </>
  );
}

/** Every other setting, with a search. */
function Others({ known, settings, field }: { known: Choices; settings: Settings; field(key: string): JSX.Element | null }): JSX.Element {
  const [text, setText] = useState('');
  const [open, setOpen] = useState(false);
  const all = known.settings.filter((s) => !OWN.includes(s.name) && !FIRST.includes(s.name) && !isSection(s));
  const wanted = text.toLowerCase();
  const shown = all.filter((s) => `${s.name} ${s.meaning}`.toLowerCase().includes(wanted)).toSorted((a, b) => Number(b.name in settings) - Number(a.name in settings));
  return (
    <details open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>All {all.length} other settings</summary>
      {open ? (
        <>
          <input type="search" aria-label="Search settings" placeholder="Search" value={text} onInput={(e) => setText(e.currentTarget.value)} />
          <div class="grid">{shown.map((s) => field(s.name))}</div>
        </>
      ) : null}
    </details>
  );
}
