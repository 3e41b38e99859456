/**
 * @file Tables of β and ā for variance-preserving processes, rounded as PyTorch rounds them on the CPU, so that ā equals
 * the reference's.
 */

export type BetaSchedule = 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';

const f32 = Math.fround;

/** Evenly spaced float32 numbers as `torch.linspace` makes them: from both ends, one rounding each. */
function linspace(from: number, to: number, count: number): Float32Array {
  const [start, end] = [f32(from), f32(to)];
  const step = f32(f32(end - start) / f32(count - 1));
  return Float32Array.from({ length: count }, (_, i) =>
    i < count / 2 ? start + step * i : end - step * (count - 1 - i));
}

/**
 * β_t for t = 0 … count−1, float32. `linear`: DDPM (Ho et al. 2020); `scaled_linear`: linear in √β, latent diffusion
 * (Rombach et al. 2022); `squaredcos_cap_v2`: cosine ā with β ≤ 0.999 (Nichol & Dhariwal 2021, eq. 17).
 */
export function makeBetas(kind: BetaSchedule, count: number, start: number, end: number): Float32Array {
  if (kind === 'linear') return linspace(start, end, count);
  if (kind === 'scaled_linear') return linspace(Math.sqrt(start), Math.sqrt(end), count).map((root) => root * root);
  const alphaBar = (t: number): number => Math.cos(((t + 0.008) / 1.008) * (Math.PI / 2)) ** 2;
  return Float32Array.from({ length: count }, (_, i) =>
    Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999));
}

/** ā from β: float32 factors, multiplied in float64, each product rounded to float32. */
export function cumulativeAlphas(betas: Float32Array): Float64Array {
  let product = 1;
  return Float64Array.from(betas, (beta) => f32((product *= f32(1 - beta))));
}

/**
 * Shifts and scales √ā so that the last time holds no signal and the first is unchanged (Lin et al. 2024,
 * arXiv 2305.08891, Algorithm 1). Returns the new β, float32; the last is exactly 1.
 */
export function rescaleZeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = Float32Array.from(cumulativeAlphas(betas), Math.sqrt);
  const [first, last] = [roots[0]!, roots.at(-1)!];
  const scale = f32(first / f32(first - last));
  const alphaBars = roots.map((root) => f32(f32(root - last) * scale) ** 2);
  return alphaBars.map((bar, t) => 1 - f32(t === 0 ? bar : bar / alphaBars[t - 1]!));
}
