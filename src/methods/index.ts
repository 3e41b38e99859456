/** @file All methods by name. */
import { alignprop } from './alignprop.js';
import { draftLv } from './draft-lv.js';
import { draft } from './draft.js';
import { drtune } from './drtune.js';
import type { Method } from './method.js';
import { refl } from './refl.js';

/** In the order in which `attune list methods` shows them. */
export const METHODS: readonly Method<never>[] = [draft, draftLv, refl, alignprop, drtune] as unknown as readonly Method<never>[];

export function findMethod(name: string): Method<never> | undefined {
  return METHODS.find((m) => m.name === name);
}
