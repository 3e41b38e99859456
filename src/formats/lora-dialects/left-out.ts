/** @file What of a LoRA file is left out: how many of its layers, of which component, and why. */

/** Kinds of adapters by what only their keys end in. */
const KINDS: readonly (readonly [RegExp, string])[] = [
  [/\.(dora_scale|lora_magnitude_vector)\b/, 'DoRA'], [/\.hada_/, 'LoHa'], [/\.lokr_/, 'LoKr'], [/\.b?oft_/, 'OFT'],
  [/\.[ab][12]\.weight$/, 'GLoRA'], [/\.lora_mid\b/, 'LoCon with lora_mid'], [/\.on_input$/, 'IA3'],
  [/\.(diff|diff_b)$/, 'full difference'], [/\.[wb]_norm$/, 'norm'],
];

const NOT_UNDERSTOOD = 'names not understood';

/** What follows a layer's name in its keys. */
const END = new RegExp(`(?:${[
  String.raw`\.(?:lora[_.]|dora_|diff|hada_|lokr_|b?oft_|alpha$|on_input$|[ab][12]\.weight$|[wb]_norm$|[^.]+$).*`,
  String.raw`_lora\.(?:down|up)\.weight`,
].join('|')})$`);

/** A name that all keys of a layer share, a text encoder's in both of its spellings. */
function layerOf(key: string): string {
  const at = key.startsWith('lora_') ? key.indexOf('.') : key.search(END);
  return (at > 0 ? key.slice(0, at) : key).replace(/text_model[._]/, '');
}

function componentOf(key: string): string {
  if (/^lora_te2_|text_encoder_2|clip_g/.test(key)) return 'text_encoder_2';
  if (/^lora_te|text_encoder|clip_[lh]|text_model|encoder[._]layers/.test(key)) return 'text_encoder';
  return /^lora_unet_|^unet\.|^diffusion_model\.|(?:down|up|input|output)_blocks|mid(?:dle)?_block/.test(key)
    ? 'unet' : 'no known part';
}

export interface LeftOut {
  readonly layers: number;
  /** How many of each, as `component (cause)`, the most first. */
  readonly kinds: readonly (readonly [kind: string, count: number])[];
}

/** @param reading keys that were not understood, and layers that lack a matrix as `module: part` */
export function leftOut(reading: { readonly unknown: readonly string[]; readonly missing: readonly string[] }): LeftOut {
  const causes = new Map<string, string>();
  for (const key of reading.unknown) {
    const layer = layerOf(key);
    const found = KINDS.find(([end]) => end.test(key))?.[1];
    if (found !== undefined || !causes.has(layer)) causes.set(layer, `${componentOf(key)} (${found ?? NOT_UNDERSTOOD})`);
  }
  for (const layer of reading.missing) causes.set(layer, `${componentOf(layer)} (a matrix is missing)`);
  const counts = new Map<string, number>();
  for (const cause of causes.values()) counts.set(cause, (counts.get(cause) ?? 0) + 1);
  return { layers: causes.size, kinds: [...counts].toSorted((a, b) => b[1] - a[1]) };
}

/** `24 of 152 layers are left out: 24 of text_encoder (names not understood)`; undefined if none is. */
export function leftOutText(
  reading: Parameters<typeof leftOut>[0] & { readonly lora: { readonly layers: ReadonlyMap<string, unknown> } },
): string | undefined {
  const { layers, kinds } = leftOut(reading);
  if (layers === 0) return undefined;
  const list = kinds.map(([kind, count]) => `${count} of ${kind}`).join(', ');
  return `${layers} of ${reading.lora.layers.size + layers} layers are left out: ${list}`;
}
