// A reward of your own, written with Attune's operators, so that every method can follow its gradient.
// Here: pictures whose ink keeps to the middle, that still show what the prompt says.
// Start it with: node examples/own-reward.mjs [run folder] [updates]
import { graph, openRewards, parseReward, pixelReward, resolveConfig, runTraining, weightedSum } from 'attune';

const { literal, mean, mul, neg, sub, sum } = graph;
const [folder = 'runs/own-reward', steps = '20'] = process.argv.slice(2);

/** Squared distance of each pixel from the centre, in halves of the side: [H, W]. */
function distances(height, width) {
  const from = (i, n) => (2 * i + 1) / n - 1;
  return Array.from({ length: height * width }, (_, i) => from(Math.floor(i / width), height) ** 2 + from(i % width, width) ** 2);
}

const compact = pixelReward({
  name: 'compact',
  description: 'minus the ink of a picture, each pixel by its squared distance from the centre',
  range: [-0.5, 0],
  trace(images) { // [B, 3, H, W] in [0, 1] → [B]
    const [, , height, width] = images.shape;
    const ink = sub(1, mean(images, { axes: [1] })); // [B, H, W]
    const far = literal(distances(height, width), [height, width]);
    return neg(mul(sum(mul(ink, far), { axes: [1, 2] }), 1 / (height * width)));
  },
});

const alignment = await openRewards([parseReward('emoji-clip')]);
const reward = weightedSum([{ reward: alignment }, { reward: compact, weight: 3 }]);
const progress = { phase: console.error, warn: console.error, step: (done, total, detail) => console.error(`${done}/${total} ${detail}`) };
const config = resolveConfig({ method: { name: 'drtune' }, steps: Number(steps), evaluation: { sweep: [] } }, []);
const { base, tuned, report } = await runTraining(config, folder, { own: { reward }, progress });
console.log(`reward ${base.reward} → ${tuned.reward}; by parts ${JSON.stringify(base.rewardParts)} → ${JSON.stringify(tuned.rewardParts)}\n${report}`);
