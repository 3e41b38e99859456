/** @file One process at a time in a folder: a lock file that appears whole, says who holds it, and outlives no one. */
import { randomBytes } from 'node:crypto';
import { link, open, readFile, readlink, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { tellFullDisk } from '../formats/disk-full.js';
import { ConfigError } from '../formats/errors.js';
import { MOST_BYTES, readTextIfThere } from '../formats/whole-file.js';
import { deferred } from '../host/resources.js';
import { startHeartbeat } from './heartbeat.js';

const NAME = '.lock';

const ownerSchema = z.object({
  host: z.string(),
  /** Process numbers mean something within it only: Linux's pid namespace (a container has its own), else ''. */
  space: z.string(),
  pid: z.int().positive(),
  /** When that process began, as its system counts it: another process may have got its number since. '' if unknown. */
  born: z.string(),
  /** For people. */
  since: z.string(),
  nonce: z.string().regex(/^\w+$/),
});

type Owner = z.infer<typeof ownerSchema>;

export interface Lock {
  /** Of no other lock, before or after. */
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  /** Lets others see from afar that this process lives, until it is released. */
  keepAlive(): { release(): Promise<void> };
  /** @throws ConfigError if the lock is gone or another's: the folder was deleted, or somebody took the lock away */
  check(): Promise<void>;
  /** Lets go of it, if it is still this one's. */
  release(): Promise<void>;
}

const textOf = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

/** What Linux tells of a process after its name in brackets, from the third field of its stat on: its state first; else []. */
async function statusOf(pid: number): Promise<string[]> {
  const stat = await textOf(`/proc/${pid}/stat`);
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** Boot and start time of a process on Linux (field 22 of its stat); '' elsewhere. */
async function birthOf(pid: number): Promise<string> {
  const start = (await statusOf(pid))[19];
  return start === undefined ? '' : `${(await textOf('/proc/sys/kernel/random/boot_id')).trim()} ${start}`;
}

async function ourselves(): Promise<Owner> {
  const space = await readlink('/proc/self/ns/pid').catch(() => '');
  const born = await birthOf(process.pid);
  return {
    host: hostname(), space, pid: process.pid, born, since: new Date().toISOString(), nonce: randomBytes(6).toString('hex'),
  };
}

/** Who holds a lock file; null if it is gone. A file that says nothing readable has an owner without a name. */
async function ownerOf(file: string): Promise<Owner | null> {
  const text = await readTextIfThere(file, MOST_BYTES.note);
  if (text === null) return null;
  // Attune 0.1 wrote the number alone.
  const pid = Number(text);
  if (pid > 0) return { ...(await ourselves()), pid, born: '', since: '', nonce: `pid${pid}` };
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return { host: '', space: '', pid: 1, born: '', since: '', nonce: 'unreadable' };
  }
}

const isNear = (owner: Owner, us: Owner): boolean => owner.host === us.host && owner.space === us.space;

/** Whether this machine has a process of that number, whoever's. */
export function isProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Whether an owner is known to have ended. Of another machine or container nothing is known. */
async function isDead(owner: Owner, us: Owner): Promise<boolean> {
  if (!isNear(owner, us)) return false;
  if (!isProcess(owner.pid)) return true;
  // One that has ended and that nobody has waited for still has its number.
  if (/^[ZX]/.test((await statusOf(owner.pid))[0] ?? '')) return true;
  const born = await birthOf(owner.pid);
  return owner.born !== '' && born !== '' && owner.born !== born;
}

/** Who it is, as this process sees it. */
function nameOf(owner: Owner, us: Owner): string {
  if (isNear(owner, us)) return owner.pid === us.pid ? 'this very process' : `process ${owner.pid}`;
  if (owner.host === '') return 'somebody unknown';
  return `process ${owner.pid} on ${owner.host === us.host ? `${owner.host}, in another container` : owner.host}`;
}

function inUse(folder: string, file: string, owner: Owner, us: Owner): ConfigError {
  const who = `${nameOf(owner, us)}${owner.since === '' ? '' : ` since ${owner.since}`}`;
  if (isNear(owner, us)) return new ConfigError(`${folder} is in use by ${who}; choose another folder, or stop that one first`);
  return new ConfigError(`${folder} is in use by ${who}. Whether it still runs cannot be seen from here: `
    + `if it does not, delete ${file} and try again`);
}

/** Who holds a folder, as far as it can be seen from here. */
export interface Holder {
  readonly id: string;
  /** Null: its process is of another machine or container, where processes cannot be seen. */
  readonly alive: boolean | null;
  readonly name: string;
  readonly pid: number;
  /** Milliseconds since 1970 of its last sign of life, by its own clock. */
  readonly seen: number;
}

/** The holder of a folder's lock, dead or alive; null if nobody has it. */
export async function holderOf(folder: string): Promise<Holder | null> {
  const file = join(folder, NAME);
  const owner = await ownerOf(file);
  const times = await stat(file).catch(() => null);
  if (!owner || !times) return null;
  const us = await ourselves();
  const alive = isNear(owner, us) ? !(await isDead(owner, us)) : null;
  return { id: owner.nonce, alive, name: nameOf(owner, us), pid: owner.pid, seen: times.mtimeMs };
}

/**
 * Takes a folder for this process. The lock file gets its content before its name, so nobody ever reads half of it; the
 * lock of a process that ended is taken over.
 *
 * @param warn told of a lock that was taken over
 * @throws ConfigError if another process, or this one, holds it: who, where, since when, and what to do
 */
export async function lockFolder(folder: string, warn: (text: string) => void): Promise<Lock> {
  const file = join(folder, NAME);
  const us = await ourselves();
  const content = `${JSON.stringify(us)}\n`;
  const temporary = join(folder, `${NAME}.${us.nonce}.tmp`);

  /** Makes `path` with our content unless it exists: true if it was made. */
  async function claim(path: string): Promise<boolean> {
    try {
      await link(temporary, path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return false;
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'].includes(code ?? '')) throw error;
    }
    // A file system without hard links: exclusive, though for a moment empty, when nobody may take it over.
    try {
      await write(path);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  async function write(path: string): Promise<void> {
    await tellFullDisk(file, content.length, async () => {
      const handle = await open(path, 'wx');
      await using _ = deferred(() => handle.close());
      try {
        await handle.writeFile(content);
      } catch (error) {
        await rm(path, { force: true });
        throw error;
      }
    });
  }

  async function acquire(path: string): Promise<void> {
    while (!(await claim(path))) {
      const owner = await ownerOf(path);
      if (!owner) continue; // let go of just now
      if (!(await isDead(owner, us))) throw inUse(folder, file, owner, us);
      // Of those that find a dead lock only one may remove it, and only while it is this very one: the right to do so is
      // a lock itself, named after it.
      const right = `${path}.${owner.nonce}`;
      await acquire(right);
      await using _ = deferred(() => rm(right, { force: true }));
      if ((await ownerOf(path))?.nonce !== owner.nonce) continue;
      await rm(path, { force: true });
      if (path === file) warn(`${folder} was held by process ${owner.pid}, which ended without letting go; taken over`);
    }
  }

  try {
    await write(temporary);
    await acquire(file);
  } finally {
    await rm(temporary, { force: true });
  }
  const mine = async (): Promise<boolean> => (await ownerOf(file))?.nonce === us.nonce;
  return {
    id: us.nonce, host: us.host, pid: us.pid,
    keepAlive: () => startHeartbeat(file, content),
    async check() {
      if (await mine()) return;
      throw new ConfigError(`${folder} was deleted, moved or taken by another process while it was in use; nothing more is written there`);
    },
    async release() {
      if (await mine()) await rm(file, { force: true });
    },
  };
}
