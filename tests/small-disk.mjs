/** @file A small disk: files below a folder have so many bytes together, and writing more fails as the system does. */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';

const { open } = fs.promises;
const { openSync, writeSync } = fs;

const sizeOf = (folder) => fs.readdirSync(folder, { withFileTypes: true })
  .reduce((sum, entry) => sum + (entry.isDirectory() ? sizeOf(join(folder, entry.name)) : fs.statSync(join(folder, entry.name)).size), 0);

/** From now on the files that this process opens below `root`, and below no other folder, find `capacity` bytes. */
export function limitDisk(root, capacity) {
  fs.promises.open = async (path, ...options) => {
    const handle = await open(path, ...options);
    if (!String(path).startsWith(root)) return handle;
    for (const name of ['writeFile', 'appendFile']) {
      const write = handle[name].bind(handle);
      handle[name] = async (data) => {
        const bytes = Buffer.from(data);
        const room = Math.max(0, capacity - sizeOf(root));
        await write(bytes.subarray(0, room)); // a disk that fills up takes what it can
        if (room >= bytes.length) return;
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { errno: -28, code: 'ENOSPC', syscall: 'write' });
      };
    }
    return handle;
  };
  // The log of a run is written without waiting.
  const files = new Set();
  fs.openSync = (path, ...options) => {
    const file = openSync(path, ...options);
    if (String(path).startsWith(root)) files.add(file);
    return file;
  };
  fs.writeSync = (file, bytes, ...place) => {
    if (!files.has(file)) return writeSync(file, bytes, ...place);
    const room = Math.max(0, capacity - sizeOf(root));
    if (room > 0) return writeSync(file, Buffer.from(bytes).subarray(place[0] ?? 0, (place[0] ?? 0) + room));
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { errno: -28, code: 'ENOSPC', syscall: 'write' });
  };
  syncBuiltinESMExports();
}

// Preloaded into the process of a command: SMALL_DISK="<bytes> <folder>".
const [, bytes, folder] = /^(\d+) (.+)$/.exec(process.env.SMALL_DISK ?? '') ?? [];
if (folder) limitDisk(folder, Number(bytes));
