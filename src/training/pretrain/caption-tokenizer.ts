/** @file The tokenizer of a model that is trained from scratch: what lies in its folder, or one made from the captions. */
import { join } from 'node:path';
import { exists } from '../../formats/exists.js';
import { writeAtomic } from '../../formats/atomic.js';
import { FormatError } from '../../formats/errors.js';
import { END_OF_TEXT, START_OF_TEXT, trainBpe } from '../../models/bpe-train.js';
import type { ClipTextConfig } from '../../models/config.js';
import { loadTokenizer } from '../../loading/tokenizer-files.js';
import type { Tokenizer } from '../../models/tokenizer.js';

/**
 * Reads the CLIP tokenizer of a folder. If the folder has none, a byte-pair vocabulary of the size that the text model
 * has room for is trained on the captions, and written there in transformers' layout.
 *
 * @throws FormatError if the tokenizer and the text model's configuration do not fit each other
 */
export async function captionTokenizer(
  folder: string, captions: readonly string[], config: ClipTextConfig,
): Promise<Tokenizer> {
  const { vocab_size: size, max_position_embeddings: length, eos_token_id: end } = config;
  const present = await exists(join(folder, 'vocab.json'));
  if (!present) {
    const { vocab, merges } = trainBpe(captions, size);
    if (vocab.size !== size) {
      throw new FormatError(folder, `the captions make a vocabulary of ${vocab.size} tokens, not ${size}`,
        `In the recipe set the text encoder's vocab_size: ${vocab.size} and eos_token_id: ${vocab.size - 1}.`);
    }
    await writeTokenizer(folder, vocab, merges, length);
  }
  const tokenizer = await loadTokenizer(folder);
  if (tokenizer.maxLength > length || tokenizer.eos !== end || end >= size) {
    const given = `makes ${tokenizer.maxLength} ids that end with ${tokenizer.eos}`;
    throw new FormatError(folder, `${given}; the recipe's text encoder takes ${length} that end with ${end}`,
      'Set vocab_size, max_position_embeddings and eos_token_id in the recipe to the tokenizer\'s.');
  }
  return tokenizer;
}

async function writeTokenizer(
  folder: string, vocab: ReadonlyMap<string, number>, merges: readonly (readonly string[])[], length: number,
): Promise<void> {
  const special = { bos_token: START_OF_TEXT, eos_token: END_OF_TEXT, pad_token: END_OF_TEXT, unk_token: END_OF_TEXT };
  const config = {
    ...special, add_prefix_space: false, do_lower_case: true, errors: 'replace', model_max_length: length,
    tokenizer_class: 'CLIPTokenizer',
  };
  const files = {
    'merges.txt': ['#version: 0.2', ...merges.map((pair) => pair.join(' ')), ''].join('\n'),
    'tokenizer_config.json': `${JSON.stringify(config, null, 2)}\n`,
    'special_tokens_map.json': `${JSON.stringify(special, null, 2)}\n`,
    'vocab.json': `${JSON.stringify(Object.fromEntries(vocab))}\n`, // the last: with it the tokenizer is there
  };
  for (const [name, text] of Object.entries(files)) await writeAtomic(join(folder, name), text);
}
