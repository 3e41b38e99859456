/** @file Fetches the published files of a reward from the hub or its cache, and tells what they are before a download. */
import { FormatError } from '../formats/errors.js';
import { fetchClip, fetchFiles } from '../loading/hub.js';
import { hubEndpoint, isOffline } from '../loading/hub-environment.js';
import type { PublishedFiles } from './published-files.js';

/** Who hears of downloads, and of what rewards warn of. */
export interface Downloads {
  /** Once before the first byte: what is fetched, from where, how large it is and under which licence. */
  begin?: ((text: string) => void) | undefined;
  /** Bytes so far and in all. */
  bytes?: ((done: number, total: number) => void) | undefined;
  /** What a reward has to say while it works. */
  warn?: ((text: string) => void) | undefined;
}

const gigabytes = (bytes: number): string => (bytes < 1e9 ? `${(bytes / 1e6).toPrecision(3)} MB` : `${(bytes / 1e9).toPrecision(3)} GB`);

/**
 * The folder with these files: the cache's if they are there, downloaded otherwise.
 *
 * @param instead what to give in their place, for instance "the option file"
 * @throws FormatError naming the repository: offline, refused, or a file that is not the published one
 */
export async function fetchPublished(
  { repository, files, licence, sha256 = {} }: PublishedFiles, instead: string, { begin, bytes }: Downloads = {},
): Promise<string> {
  const where = `${hubEndpoint()}/${repository.replace('@', '/tree/')}`;
  const options = {
    bytes, sha256,
    begin: (total: number): void => begin?.(`downloading ${gigabytes(total)} from ${where}, licence: ${licence}`),
  };
  return fetchFiles(repository, files, options).catch(async (error: unknown) => {
    if (!(error instanceof FormatError)) throw error;
    // A cache that other programs filled has their main, which may be another commit of the same files.
    const [main, commit] = repository.split('@') as [string, string?];
    const cached = isOffline() && commit !== undefined ? await fetchFiles(main, files, options).catch(() => null) : null;
    if (cached !== null) return cached;
    error.message += ` Or give files of yours with ${instead}.`;
    throw error;
  });
}

/** A CLIP model of transformers anywhere on the hub, by its id. */
export function fetchClipModel(repository: string, { begin, bytes }: Downloads = {}): Promise<string> {
  const told = (total: number): void => begin?.(`downloading ${gigabytes(total)} of ${repository} from ${hubEndpoint()}; its page states the licence`);
  return fetchClip(repository, { bytes, begin: told });
}
