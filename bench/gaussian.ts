/**
 * @file `bench gaussian [--steps 10,20,50,100] [--beta 0.25,1,2,3] [--rounds 160] [--lr 0.07] [--size 64] [--set KEY=VALUE ...]`: where ∇-DB
 * with its flow network lands on the Gaussian task from scratch, and how far that is from the closed form.
 *
 * AdamW (0.9, 0.99) on the task's and the flow's numbers, the learning rate falling to 0 over the second half.
 */
import { parseArgs } from 'node:util';
import { nablaDb } from '../src/methods/nabla-db.js';
import { parseAssignment } from '../src/training/config.js';
import { balanced, optimise } from '../tests/methods/gaussian-balance.js';
import { gaussianTask, tunedMoments } from '../tests/methods/gaussian-task.js';

export async function benchGaussian(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      steps: { type: 'string', default: '10,20,50,100' }, beta: { type: 'string', default: '0.25,1,2,3' },
      rounds: { type: 'string', default: '160' }, lr: { type: 'string', default: '0.07' }, size: { type: 'string', default: '64' },
      set: { type: 'string', multiple: true, default: [] },
    },
  });
  const [rounds, lr, size] = [values.rounds, values.lr, values.size].map(Number) as [number, number, number];
  const settings = Object.fromEntries(values.set.map(parseAssignment));
  console.log('| S | β | mean | closed form | variance | closed form | last loss | seconds |\n|---|---|---|---|---|---|---|---|');
  for (const steps of values.steps.split(',').map(Number)) {
    for (const beta of values.beta.split(',').map(Number)) {
      const start = performance.now();
      const task = await gaussianTask({ batch: 16, size, steps });
      const rule = await nablaDb.create(task, nablaDb.options.parse({ ...settings, beta }));
      const loss = await optimise(task, rule, rounds, lr);
      await rule.release();
      const [found, goal] = [tunedMoments(task), balanced(task.plan, beta).moments];
      const cells = [found.mean, goal.mean, found.variance, goal.variance].map((v) => v.toFixed(3));
      console.log(`| ${steps} | ${beta} | ${cells.join(' | ')} | ${loss.toPrecision(2)} | ${((performance.now() - start) / 1000).toFixed(0)} |`);
    }
  }
}
