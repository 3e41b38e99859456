/** @file All methods by name. */
import { adjointMatching } from './adjoint-matching.js';
import { alignprop } from './alignprop.js';
import { awm } from './awm.js';
import { d3po } from './d3po.js';
import { ddpo } from './ddpo.js';
import { dpo } from './dpo.js';
import { draftLv } from './draft-lv.js';
import { draft } from './draft.js';
import { drtune } from './drtune.js';
import { nablaDb } from './nabla-db.js';
import { flowbpSparse } from './flowbp-sparse.js';
import { grpo } from './grpo.js';
import type { Method } from './method.js';
import { nft } from './nft.js';
import { refl } from './refl.js';
import { rsm } from './rsm.js';
import { srpo } from './srpo.js';
import { sharpenRlhf } from './sharpen-rlhf.js';
import { sharpenSft } from './sharpen-sft.js';

/** In the order in which `attune list methods` shows them. */
export const METHODS: readonly Method<never>[] = [
  draft, draftLv, refl, alignprop, drtune, flowbpSparse, srpo, nablaDb, rsm, adjointMatching, ddpo, grpo, nft, awm, d3po, dpo, sharpenSft, sharpenRlhf,
] as unknown as readonly Method<never>[];

export function findMethod(name: string): Method<never> | undefined {
  return METHODS.find((m) => m.name === name);
}
