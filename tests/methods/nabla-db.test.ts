import { describe, expect, test } from 'vitest';
import type { HostTensor } from '../../src/graph/dtype.js';
import type { Update } from '../../src/methods/method.js';
import { openCarriedScores } from '../../src/methods/carried-scores.js';
import { openBalance } from '../../src/methods/detailed-balance.js';
import { nablaDb } from '../../src/methods/nabla-db.js';
import type { NablaOptions } from '../../src/methods/nabla-db.js';
import { chooseTransitions, transitionAt } from '../../src/methods/transitions.js';
import { samplers } from '../../src/schedulers/index.js';
import type { Plan } from '../../src/schedulers/plan.js';
import { normal } from '../../src/random/random.js';
import { openRollouts } from '../../src/methods/rollout.js';
import { smoothedGradient } from '../../src/methods/smoothed-reward.js';
import { samplesOf } from '../../src/methods/task.js';
import type { Task } from '../../src/methods/task.js';
import { resolveConfig } from '../../src/training/config.js';
import { chosenMethod } from '../../src/training/session.js';
import { directionalError, firstUpdate } from './gradients.js';
import { tinyTask } from './tiny-task.js';
import type { TestTask } from './tiny-task.js';
import { balanced, optimise, PROMPTS } from './gaussian-balance.js';
import { affineStep, finalMoments, gaussianTask, tunedMoments } from './gaussian-task.js';
import type { GaussianTask } from './gaussian-task.js';

const M = 2;

type Target = { k1: number; k0: number };

/** The final moments when each step's residual score is −k1·x' + k0: μ = (A·x + σ²·k0)/(1 + σ²·k1). */
function momentsOf({ steps }: Plan, target: (i: number, nextAlphaBar: number) => Target): { mean: number; variance: number } {
  return finalMoments(steps.map((step, i) => {
    const { A, std } = affineStep(step, 0, 0);
    const { k1, k0 } = target(i, step.to.signal ** 2);
    return { A: A / (1 + std ** 2 * k1), B: (std ** 2 * k0) / (1 + std ** 2 * k1), std };
  }));
}

/** Where ∇-DB without a flow ends: the guess from the tuned model, solved from the clean end. */
function tunedGuess(plan: Plan, beta: number): { mean: number; variance: number } {
  const targets: Target[] = [];
  let [u, v] = [1, 0]; // x̂0 at x' = u·x' + v
  for (const [i, step] of [...plan.steps.entries()].toReversed()) {
    const weight = beta * step.to.signal ** 2 * u;
    targets[i] = { k1: weight * u, k0: weight * (M - v) };
    // ε = ε_ref + (σ²/c)·(−k1·x' + k0) in expectation over x' given x: solve the affine μ for ε.
    const { A, std } = affineStep(step, 0, 0);
    const { k1, k0 } = targets[i]!;
    const [slope, shift] = [A / (1 + std ** 2 * k1), (std ** 2 * k0) / (1 + std ** 2 * k1)];
    const [epsX, epsShift] = [(slope - step.meanFromX) / step.meanFromOutput, shift / step.meanFromOutput];
    [u, v] = [step.x0FromX + step.x0FromOutput * epsX, step.x0FromOutput * epsShift];
  }
  return momentsOf(plan, (i) => targets[i]!);
}

const baseGuess = (plan: Plan, beta: number): { mean: number; variance: number } =>
  momentsOf(plan, (i, alphaBar) => {
    const u = i === plan.steps.length - 1 ? 1 : Math.sqrt(alphaBar);
    return { k1: beta * alphaBar * u * u, k0: beta * alphaBar * u * M };
  });

const exactFlow = (plan: Plan, beta: number): { mean: number; variance: number } =>
  momentsOf(plan, (i, nextAlphaBar) => {
    const alphaBar = i === plan.steps.length - 1 ? 1 : nextAlphaBar;
    const scale = 1 + beta * (1 - alphaBar);
    return { k1: (beta * alphaBar) / scale, k0: (beta * Math.sqrt(alphaBar) * M) / scale };
  });

/** Non-residual, guess of the base model, γ = 1: 0 = r(x − r·μ)/(1 − r²) − k1·μ + k0 with r = √(ā/ā'). */
function nonResidual({ steps }: Plan, beta: number): { mean: number; variance: number } {
  return finalMoments(steps.map((step, i) => {
    const r = Math.sqrt(step.from.signal ** 2 / step.to.signal ** 2);
    const u = i === steps.length - 1 ? 1 : Math.sqrt(step.to.signal ** 2);
    const weight = beta * u;
    const slope = r ** 2 / (1 - r ** 2) + weight * u;
    return { A: r / (1 - r ** 2) / slope, B: (weight * M) / slope, std: step.std };
  }));
}

test('the closed forms are those of algorithms.md §1.4', async () => {
  const { plan } = await gaussianTask();
  const table: [number, number[], number[], number[]][] = [
    [0.5, [0.5987, 0.6306], [0.3384, 0.7038], [0.3855, 0.682]],
    [1, [0.9046, 0.4943], [0.562, 0.586], [0.6945, 0.5306]],
  ];
  for (const [beta, ...columns] of table) {
    const found = [exactFlow, tunedGuess, baseGuess].map((f) => f(plan, beta));
    found.forEach(({ mean, variance }, i) => {
      expect(mean).toBeCloseTo(columns[i]![0]!, 3);
      expect(variance).toBeCloseTo(columns[i]![1]!, 3);
    });
  }
});

describe('on the Gaussian oracle', () => {
  const near = (task: GaussianTask, goal: { mean: number; variance: number }): void => {
    const found = tunedMoments(task);
    for (const moment of ['mean', 'variance'] as const) {
      const error = Math.abs(found[moment] - goal[moment]) / Math.max(1, goal[moment]);
      expect(error, `${moment} ${found[moment]} for ${goal[moment]}`).toBeLessThan(0.02);
    }
  };

  test.each([
    ['the tuned model', 50, tunedGuess, { guess: 'tuned' }],
    ['the base model', 50, baseGuess, { guess: 'base' }],
    ['the base model, trusting the sampler of the trajectories', 20, baseGuess, { guess: 'base', trust: 0.1, updates: 2 }],
    // This reward's gradient is linear, so its average is that at the middle.
    ['the tuned model, averaged over perturbations', 20, tunedGuess, { guess: 'tuned', smoothing: 2, smoothingNoise: 0.3 }],
    ['the base model, with the prior forgotten', 20, nonResidual, { guess: 'base', gamma: 'one', residual: false, beta: 1 }],
  ] as const)('without flow, the guess of %s lands on its closed form', async (_, steps, goal, given) => {
    const task = await gaussianTask({ batch: 16, size: 64, steps });
    const options = nablaDb.options.parse({ beta: 1, flow: false, trust: 0, fraction: 1, ...given });
    await optimise(task, await nablaDb.create(task, options), goal === nonResidual ? 200 : 80, 0.04);
    near(task, goal(task.plan, options.beta));
  }, 60_000);

  test('so it does on the steps of the SDE form of DPM-Solver++', async () => {
    const plan = (process: Task['process'], steps: number): Plan => samplers['dpm++2m-sde'].plan(process, steps, { order: 1, finalSigma: 'min', spacing: 'leading', stepsOffset: 1 });
    const task = await gaussianTask({ batch: 16, size: 64, steps: 20, plan });
    await optimise(task, await nablaDb.create(task, nablaDb.options.parse({ beta: 1, flow: false, trust: 0, fraction: 1, guess: 'base' })), 80, 0.04);
    near(task, baseGuess(task.plan, 1));
  }, 60_000);
});

describe('with a flow network', () => {
  const options = nablaDb.options.parse({ beta: 1, trust: 0, fraction: 1 });

  test('it lands where all balances hold, near the exact residual flow', async () => {
    const task = await gaussianTask({ batch: 16, size: 64, steps: 10 });
    await optimise(task, await nablaDb.create(task, options), 200, 0.05);
    const found = tunedMoments(task);
    const { moments } = balanced(task.plan, 1);
    expect(Math.abs(found.mean - moments.mean), `mean ${found.mean} for ${moments.mean}`).toBeLessThan(0.02);
    expect(Math.abs(found.variance - moments.variance), `variance ${found.variance} for ${moments.variance}`).toBeLessThan(0.02);
  }, 60_000);

  // Nothing but β is set.
  test.each([[10, 0.25], [10, 3], [20, 2], [50, 0.25], [100, 3]])('it lands from scratch by its defaults: S = %d, β = %d', async (steps, beta) => {
    const task = await gaussianTask({ batch: 16, size: 64, steps });
    await optimise(task, await nablaDb.create(task, nablaDb.options.parse({ beta })), 160, 0.07);
    const found = tunedMoments(task);
    const { moments } = balanced(task.plan, beta);
    for (const moment of ['mean', 'variance'] as const) {
      expect(Math.abs(found[moment] - moments[moment]), `${moment} ${found[moment]} for ${moments[moment]}`).toBeLessThan(0.02);
    }
  }, 300_000);

  test('scores are carried back through the means of the prior, no farther than asked, and its calls counted', async () => {
    const task = await gaussianTask({ batch: 2, size: 4, steps: 4 });
    (task.parameters.get('a')!.data as Float32Array).fill(0.3); // the tuned network does not matter
    const trajectory = await (await openRollouts(task)).rollout(PROMPTS(task), 0);
    const before = task.counts.denoiserCalls;
    const scores = await (await openCarriedScores(task)).carry(trajectory, trajectory.x[4]!, 2);
    expect(task.counts.denoiserCalls - before).toBe(2 * task.batch);
    expect(Object.keys(scores)).toEqual(['2', '3', '4']);
    const slopes = task.plan.steps.map((step) => affineStep(step, 0, 0).A);
    trajectory.x[4]!.data.forEach((v, i) => expect(scores[2]!.data[i]).toBeCloseTo(slopes[2]! * slopes[3]! * Number(v), 5));
  });

  test('where they hold tends to the tilted prior, N(1, 1/2), and is nearer to it than the guess alone', async () => {
    const off = async (steps: number, f: (plan: Plan) => { mean: number; variance: number }): Promise<number> => {
      const { mean, variance } = f((await gaussianTask({ steps })).plan);
      return Math.hypot(mean - 1, variance - 0.5);
    };
    const exact = await Promise.all([10, 50, 500].map((steps) => off(steps, (plan) => balanced(plan, 1).moments)));
    expect(exact[1]!).toBeLessThan(exact[0]!);
    expect(exact[2]!).toBeLessThan(0.02);
    expect(exact[1]!).toBeLessThan(0.2 * (await off(50, (plan) => tunedGuess(plan, 1))));
  });

  test('there the gradients vanish', async () => {
    const gradientsAt = async (solved: boolean): Promise<ReadonlyMap<string, HostTensor>> => {
      const task = await gaussianTask({ batch: 64, size: 1024, steps: 10 });
      const rule = await nablaDb.create(task, options);
      if (solved) {
        const { policy, flow } = balanced(task.plan, 1);
        for (const [parameters, values, prefix] of [[task.parameters, policy, ''], [rule.own!.parameters, flow, 'flow/']] as const) {
          for (const name of ['a', 'b'] as const) values.forEach((v, i) => (parameters.get(prefix + name)!.data[10 - i] = v[name]));
        }
      }
      for await (const { gradients } of rule.round(PROMPTS(task), 0)) return gradients;
      throw new Error('no update');
    };
    const [start, end] = [await gradientsAt(false), await gradientsAt(true)];
    for (const name of ['a', 'b']) {
      const [before, after] = [start, end].map((g) => Array.from(g.get(name)!.data, Number)) as [number[], number[]];
      // Entry 0 is t = 0, where nothing is trained.
      for (let i = 1; i <= 10; i++) expect(Math.abs(after[i]!), `${name} ${i}`).toBeLessThan(0.03 * Math.abs(before[i]!));
    }
    const sizes = [start, end].map((g) => Math.hypot(...['flow/a', 'flow/b'].flatMap((name) => Array.from(g.get(name)!.data, Number))));
    expect(sizes[1]!).toBeLessThan(0.1 * sizes[0]!);
  }, 60_000);
});

describe('on a small network', () => {
  const prompts = ['a cat', 'a much longer prompt'];
  const options = (given: object = {}): NablaOptions => nablaDb.options.parse({ beta: 1, trust: 1, fraction: 0.5, ...given });
  const tiny = (): Promise<TestTask> => tinyTask({ eta: 1, lastStep: 'ddpo' });
  const allOf = async (task: Task, given: object, rounds = 1): Promise<Update[]> => {
    const rule = await nablaDb.create(task, options(given));
    const updates: Update[] = [];
    for (let round = 0; round < rounds; round++) for await (const update of rule.round(prompts, round)) updates.push(update);
    return updates;
  };
  const sizeOf = ({ gradients }: Update, name: string): number => Math.hypot(...(gradients.get(name)!.data as Float32Array));

  test.each([
    { reverseGradient: 'full', flowGradient: 'both' }, { flowGradient: 'both' }, { flow: false }, { flow: false, residual: false }, { flow: false, weighting: 'sigma' }, { reverseGradient: 'full', flowGradient: 'both', priorStrength: 0.5 },
  ])('gradients by both networks are those of the loss, %o', async (given) => {
    const task = await tiny();
    const opts = options(given);
    const loss = await openBalance(task, opts);
    const { x, outputs, steps } = await (await openRollouts(task)).rollout(prompts, 0);
    const t = transitionAt(task, { prompts, x, outputs, steps }, [1, 2]);
    const noise = (stream: string): HostTensor => samplesOf(task, normal({ seed: 5, stream, step: 0 }, 0, 24));
    // Away from the start, where many terms vanish.
    for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v + 0.05 * normal({ seed: 6, stream: name, step: 0 }, 0, i + 1)[i]!));
    const run = () => loss.run(t, { now: noise('now'), next: noise('next') }, prompts);
    const { gradients, extras } = await run();
    const parameters = new Map([...task.parameters, ...(loss.flow?.parameters ?? [])]);
    const wrong = opts.reverseGradient === 'flow-only' && opts.flow;
    const error = await directionalError({ ...task, parameters }, gradients, async () => (await run()).loss, 4, 5e-3);
    // `flow-only` leaves a part of the gradient out: that it matters shows that the others have it.
    if (wrong) expect(error).toBeGreaterThan(0.02);
    else expect(error).toBeLessThan(5e-3);
    expect(extras['trust']!.data[0]).toBeGreaterThan(0);
  });

  test.each([
    [{ flow: false }, 3], [{}, 5], [{ smoothing: 3 }, 15],
  ])('every reward query is counted, and finished samples are scored once: %o', async (given, queries) => {
    const task = await tiny();
    await allOf(task, given); // two transitions beside the last one
    expect(task.counts.rewardQueries).toBe(queries * task.batch);
  });

  test('a smoothed reward is the mean over perturbed samples, other ones at each call, the same in each run', async () => {
    const task = await tiny();
    const x = samplesOf(task, normal({ seed: 5, stream: 'x', step: 0 }, 0, 24));
    const plain = await task.reward.gradient(x, prompts);
    const far = (a: HostTensor, b: HostTensor): number => Math.hypot(...(a.data as Float32Array).map((v, i) => v - (b.data[i] as number)));
    const reward = smoothedGradient(task, 2000, 0.5, 3);
    const smooth = await reward(x, prompts);
    // r = Σ sin x − 0.1·(x − c)²: E sin(x + σz) = exp(−σ²/2)·sin x, and the same of its derivative cos x.
    const damped = (x.data as Float32Array).map((v, i) => (plain.gradient.data[i] as number) + (Math.exp(-0.125) - 1) * Math.cos(v));
    expect(far(smooth.gradient, samplesOf(task, damped))).toBeLessThan(0.1);
    expect(far(smooth.gradient, plain.gradient)).toBeGreaterThan(0.3);
    const [few, again, next] = [smoothedGradient(task, 2, 0.5, 3), smoothedGradient(task, 2, 0.5, 3), smoothedGradient(task, 2, 0.5, 4)];
    const first = await few(x, prompts);
    expect((await again(x, prompts)).gradient.data).toEqual(first.gradient.data);
    for (const other of [await few(x, prompts), await next(x, prompts)]) expect(far(other.gradient, first.gradient)).toBeGreaterThan(0.05);
    expect(smoothedGradient(task, 1, 0.5, 0)).toBe(task.reward.gradient);
  });

  test.each([
    [{ compat: ['double-step'] }, /^method\.compat: the mistakes of the published code are no settings/],
    [{ guess: 'final' }, /^method\.guess: final.*--method rsm$/],
    [{ guess: 'final', flow: false, gamma: 'one', weighting: 'sigma' }, /--method rsm; beta stays, trust is 1e3/],
    [{ guess: 'other' }, /one of tuned, base/],
    [{ weighting: 'sigma' }, null],
  ])('what is no setting any more says what to write instead: %o', (given, message) => {
    const choose = () => chosenMethod(resolveConfig({ method: { name: 'nabla-db', ...given } }, []));
    if (message) expect(choose).toThrow(message);
    else expect(choose().method.name).toBe('nabla-db');
  });

  test('without reward nothing is learnt at the start', async () => {
    const [update] = await allOf(await tiny(), { beta: 0, flow: false });
    const [other] = await allOf(await tiny(), { flow: false });
    for (const name of update!.gradients.keys()) expect(sizeOf(update!, name)).toBeLessThan(1e-3 * sizeOf(other!, name));
  });

  test('lag learns from the round before, whose prompts it scores with', async () => {
    const lagged = await allOf(await tiny(), { lag: true, flow: false }, 2);
    const [first] = await allOf(await tiny(), { flow: false });
    expect(lagged).toHaveLength(1);
    expect([...lagged[0]!.rewards]).toEqual([...first!.rewards]);
    const rule = await nablaDb.create(await tiny(), options({ lag: true, flow: false }));
    for await (const _ of rule.round(prompts, 0)) throw new Error('the first round only samples');
    expect(rule.memory!.size).toBe(2 * 4 + 2);
    for await (const update of rule.round([...prompts].toReversed(), 1)) expect([...update.rewards]).toEqual([...first!.rewards]);
  });

  test.each([
    [{}, 4], [{ flow: false }, 2], [{ residual: false }, 3], [{ residual: false, flow: false }, 1], [{ reverse: 0 }, 3],
  ])('network calls with %o: %i for each transition', async (given, calls) => {
    const task = await tinyTask({ steps: 4, eta: 1, lastStep: 'ddpo' });
    await firstUpdate(nablaDb, task, { path: 0, fraction: 1, ...given }, ['a cat', 'a dog']);
    const steps = task.plan.steps.length;
    expect(task.counts.denoiserCalls).toBe(2 * (steps + steps * calls)); // the rollout, and all its transitions
  });

  test('more updates of a round use other transitions, and the sampler then pulls', async () => {
    const task = await tiny();
    const rule = await nablaDb.create(task, options({ updates: 2, flow: false }));
    const trust: number[] = [];
    for await (const { gradients, metrics } of rule.round(prompts, 0)) {
      for (const [name, p] of task.parameters) (p.data as Float32Array).forEach((v, i, a) => (a[i] = v - 1e-3 * (gradients.get(name)!.data[i] as number)));
      trust.push(metrics!['trust']!);
    }
    expect(trust[0]).toBeLessThan(1e-12);
    expect(trust[1]).toBeGreaterThan(1e-9);
  });
});

test('the last transition is always chosen, and one of each stretch of the others', () => {
  for (let item = 0; item < 50; item++) {
    const chosen = chooseTransitions(50, 0.1, 'stratified', { seed: 1, stream: 's', step: 0 }, item);
    expect(chosen).toHaveLength(6);
    expect(chosen[0]).toBe(49);
    const borders = [0, 9, 19, 29, 39, 49];
    chosen.slice(1).forEach((i, k) => {
      expect(i).toBeGreaterThanOrEqual(borders[4 - k]!);
      expect(i).toBeLessThan(borders[5 - k]!);
    });
    expect(new Set(chooseTransitions(50, 1, 'random', { seed: 1, stream: 's', step: 0 }, item)).size).toBe(50);
  }
});
