/** @file Choosing a file or folder of the server's disk, where it lets one look. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';
import type { Listing } from '../src/studio/messages.js';
import { getJson } from './api.js';
import { megabytes } from './words.js';

export function Picker({ kind, choose, close }: { kind: 'model' | 'prompts' | 'reward' | 'pairs'; choose(path: string): void; close(): void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [at, setAt] = useState({ root: 0, path: '' });
  const [listing, setListing] = useState<Listing | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => dialog.current?.showModal(), []);
  useEffect(() => {
    getJson<Listing>(`/api/files?${new URLSearchParams({ kind, root: String(at.root), path: at.path })}`).then((found) => {
      setListing(found);
      setProblem('');
    }, (error: Error) => setProblem(error.message));
  }, [at]);
  const names = at.path.split('/').filter(Boolean);
  const pick = (path: string): void => {
    choose(path);
    dialog.current?.close();
  };
  return (
    <dialog ref={dialog} class="picker" aria-label="Choose a file" onClose={close}>
      <header class="bar">
        <nav class="grow" aria-label="Folder">
          {listing && listing.roots.length > 1 ? (
            <select value={at.root} aria-label="Root" onChange={(e) => setAt({ root: Number(e.currentTarget.value), path: '' })}>{listing.roots.map((name, i) => <option key={name} value={i}>{name}</option>)}</select>
          ) : <button class="link" onClick={() => setAt({ ...at, path: '' })}>{listing?.roots[0] ?? '…'}</button>}
          {names.map((name, i) => <span key={i}> / <button class="link" onClick={() => setAt({ ...at, path: names.slice(0, i + 1).join('/') })}>{name}</button></span>)}
        </nav>
        <button class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
      </header>
      {problem ? <p class="problem" role="alert">{problem}</p> : null}
      <ul class="files">
        {listing?.entries.map((entry) => (
          <li key={entry.name}>
            {entry.folder ? <button class="plain" onClick={() => setAt({ ...at, path: [...names, entry.name].join('/') })}>{entry.name}/</button> : <button class="plain" onClick={() => pick(entry.path)}>{entry.name}</button>}
            <span class="muted">{entry.bytes === null ? '' : entry.bytes < 2 ** 20 ? `${Math.ceil(entry.bytes / 1024)} KiB` : megabytes(entry.bytes)}</span>
            {entry.folder && entry.choosable ? <button onClick={() => pick(entry.path)}>Choose</button> : null}
          </li>
        ))}
        {listing?.entries.length === 0 ? <li class="muted">Nothing to choose here.</li> : null}
      </ul>
    </dialog>
  );
}
