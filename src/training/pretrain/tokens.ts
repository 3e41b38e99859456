/** @file Captions as the token ids that a text encoder takes. */
import { host } from '../../graph/dtype.js';
import type { HostTensor } from '../../graph/dtype.js';
import type { Tokenizer } from '../../models/tokenizer.js';

/** int64 [B, maxLength] */
export function tokenIds(tokenizer: Tokenizer, captions: readonly string[]): HostTensor {
  const length = tokenizer.maxLength;
  const ids = new BigInt64Array(captions.length * length);
  captions.forEach((caption, i) => {
    tokenizer.encode(caption).ids.forEach((id, k) => (ids[i * length + k] = BigInt(id)));
  });
  return host(ids, [captions.length, length], 'int64');
}
