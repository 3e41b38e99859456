/** @file Reward against diversity, evaluation by evaluation: what the guard weighs, with its word and the checkpoint chosen. */
import type { JSX } from 'preact';
import { axis, numberText, tickText } from '../src/evaluation/ticks.js';
import type { RunSummary } from '../src/studio/messages.js';
import { column, logOf } from './logs.js';

const [W, H, LEFT, BOTTOM, TOP, RIGHT] = [520, 260, 46, 34, 14, 22] as const;

export function TradeOff({ run }: { run: RunSummary }): JSX.Element | null {
  const log = logOf(run.id);
  void log.version.value;
  const [steps, rewards, diversities] = ['step', 'evalReward', 'diversity'].map((name) => column(log, name));
  const points = steps!.flatMap((step, i) => {
    const [reward, diversity] = [rewards![i], diversities![i]];
    return typeof reward === 'number' && typeof diversity === 'number' ? [{ step: step!, reward, diversity }] : [];
  });
  if (points.length < 2) return null;
  const xs = axis([0, ...points.map((p) => p.diversity)], 6);
  const ys = axis(points.map((p) => p.reward), 5);
  const x = (v: number): number => LEFT + ((v - xs.low) / (xs.high - xs.low)) * (W - LEFT - RIGHT);
  const y = (v: number): number => H - BOTTOM - ((v - ys.low) / (ys.high - ys.low)) * (H - BOTTOM - TOP);
  const path = points.map((p, i) => `${i ? 'L' : 'M'}${x(p.diversity).toFixed(1)} ${y(p.reward).toFixed(1)}`).join('');
  const verdict = run.guard ? `${run.guarded ? 'The guard stopped the run' : 'The guard objects'}: ${run.guard}.` : 'The guard has nothing to object to.';
  return (
    <figure class="chart trade">
      <figcaption><b>Reward against diversity</b><span class="muted">to the right and up is better</span></figcaption>
      <svg viewBox={`0 0 ${W} ${H}`} role="img" aria-label={`Reward against diversity at ${points.length} evaluations, best at step ${run.best?.step ?? 0}`}>
        {ys.ticks.map((t) => <g key={t}><path class="grid" d={`M${LEFT} ${y(t)}H${W - RIGHT}`} /><text x={LEFT - 8} y={y(t) + 4} text-anchor="end">{tickText(t, ys.decimals)}</text></g>)}
        {xs.ticks.map((t) => <text key={t} x={x(t)} y={H - BOTTOM + 18} text-anchor="middle">{tickText(t, xs.decimals)}</text>)}
        <text x={W - RIGHT} y={H - 2} text-anchor="end">diversity</text>
        <path class="path" d={path} />
        {points.map((p) => (
          <g key={p.step} class={p.step === run.best?.step ? 'chosen' : ''}>
            <circle cx={x(p.diversity)} cy={y(p.reward)} r={p.step === run.best?.step ? 6 : 4}><title>{`step ${p.step}: reward ${numberText(p.reward)}, diversity ${numberText(p.diversity)}`}</title></circle>
            <text x={x(p.diversity) + 9} y={y(p.reward) - 6}>{p.step === 0 ? 'base' : p.step}</text>
          </g>
        ))}
      </svg>
      <p class="note muted">{verdict} {run.best ? `Chosen: ${run.best.step === 0 ? 'the base model' : `step ${run.best.step}`}.` : ''}</p>
    </figure>
  );
}
