/** @file The studio's page. */
import { useEffect } from 'preact/hooks';
import { render } from 'preact';
import type { JSX } from 'preact';
import { ComparePage } from './compare-page.js';
import { JudgePage } from './judge-page.js';
import { connected, watch } from './live.js';
import { NewPage } from './new-page.js';
import { PromptsPage } from './prompts-page.js';
import { hrefOf, route } from './route.js';
import { RunPage } from './run-page.js';
import { RunsPage } from './runs-page.js';

function Page(): JSX.Element {
  const { name, id, query } = route.value;
  if (name === 'run') return <RunPage key={id} id={id} />;
  if (name === 'new') return <NewPage key={query.toString()} />;
  if (name === 'compare') return <ComparePage ids={query.getAll('run')} />;
  if (name === 'prompts') return <PromptsPage key={query.toString()} />;
  if (name === 'judge') return <JudgePage />;
  return <RunsPage />;
}

function Studio(): JSX.Element {
  const { name, id, query } = route.value;
  const looked = name === 'run' ? [id] : name === 'compare' ? query.getAll('run') : [];
  useEffect(() => watch(looked), [looked.join('\n')]);
  useEffect(() => {
    document.title = id === '' ? 'Attune studio' : `${id} · Attune studio`;
  }, [id]);
  const link = (to: string, text: string): JSX.Element => <a href={hrefOf(to)} aria-current={name === to ? 'page' : undefined}>{text}</a>;
  return (
    <>
      <header class="top">
        <a class="brand" href={hrefOf('')}><img src="/icon.svg" alt="" width="22" height="22" />Attune studio</a>
        <nav>{link('', 'Runs')}{link('new', 'New run')}{link('prompts', 'Prompts')}{link('judge', 'Judge')}</nav>
      </header>
      {connected.value ? null : <p class="lost" role="status">The studio does not answer. Trying again…</p>}
      <main><Page /></main>
    </>
  );
}

render(<Studio />, document.body);
