/** @file The runs that wait: in which order, what is held back, what could not start. */
import type { JSX } from 'preact';
import type { QueueItem } from '../src/studio/messages.js';
import { Act } from './actions.js';
import { post } from './api.js';
import { queue } from './live.js';
import { ago } from './words.js';

const STATES: Readonly<Record<QueueItem['state'], string>> = { waiting: 'waits', held: 'held back', started: 'starting', failed: 'could not start' };

export function Queue(): JSX.Element | null {
  const items = queue.value;
  if (items.length === 0) return null;
  return (
    <section aria-label="Queue" class="queue">
      <h2>Queue</h2>
      <ol class="runs">{items.map((item, i) => <One key={item.id} item={item} place={i} last={i === items.length - 1} />)}</ol>
    </section>
  );
}

function One({ item: { id, name, about, state, reason, added, other }, place, last }: { item: QueueItem; place: number; last: boolean }): JSX.Element {
  const title = name ?? about;
  const change = (body: object) => () => post('/api/queue', { id, ...body });
  return (
    <li class={`card queued ${state}`}>
      <div class="what">
        <b>{title}</b>
        <div class="muted line">{[STATES[state], name === null ? '' : about, `added ${ago(added)}`, other === null ? '' : `by version ${other}`].filter(Boolean).join(' · ')}</div>
        {reason ? <div class="reason">{reason}</div> : null}
      </div>
      {state === 'started' ? null : (
        <span class="actions">
          {place > 0 ? <Act label="↑" name={`Move ${title} up`} kind="plain" act={change({ do: 'move', by: -1 })} /> : null}
          {last ? null : <Act label="↓" name={`Move ${title} down`} kind="plain" act={change({ do: 'move', by: 1 })} />}
          {state === 'failed' ? <Act key="retry" label="Retry" act={change({ do: 'retry' })} /> : state === 'held' ? <Act key="release" label="Release" act={change({ do: 'hold', held: false })} />
            : <Act key="hold" label="Hold" act={change({ do: 'hold', held: true })} />}
          <Act label="Remove" act={change({ do: 'remove' })} />
        </span>
      )}
    </li>
  );
}
