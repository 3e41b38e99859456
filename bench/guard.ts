/**
 * @file `bench guard [--runs 1000] [--looks 4,10,40] [--images 32]`: how often the guard stops runs in which nothing goes wrong,
 * by the number of evaluations and by what the judge's scores do; with the rule of the package, and with fixed tolerances.
 */
import { parseArgs } from 'node:util';
import { GUARD_DEFAULTS } from '../src/evaluation/hacking-guard.js';
import { falseStops, NULL_JUDGES } from '../tests/evaluation/null-judges.js';

export async function benchGuard(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { runs: { type: 'string', default: '1000' }, looks: { type: 'string', default: '4,10,40' }, images: { type: 'string', default: '32' } },
  });
  const looks = values.looks.split(',').map(Number);
  const [runs, images] = [Number(values.runs), Number(values.images)];
  const rules = [['at most 5%', GUARD_DEFAULTS], ['2 errors', { ...GUARD_DEFAULTS, tolerance: 2 }], ['3 errors', { ...GUARD_DEFAULTS, tolerance: 3 }]] as const;
  console.log(`| judge | rule | ${looks.map((n) => `${n} evaluations`).join(' | ')} |\n|---|---|${looks.map(() => '---:|').join('')}`);
  for (const name of Object.keys(NULL_JUDGES)) {
    for (const diverse of [false, true]) {
      for (const [rule, options] of diverse ? rules.slice(0, 1) : rules) {
        const shares = falseStops(name, runs, Math.max(...looks), { images, diverse }, options);
        console.log(`| ${name}${diverse ? ', diversity at its limit' : ''} | ${rule} | ${looks.map((n) => `${(100 * shares[n]!).toFixed(1)}%`).join(' | ')} |`);
      }
    }
  }
}
