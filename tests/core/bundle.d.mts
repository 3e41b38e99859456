/** Bundles an entry for browsers. @throws with esbuild's messages if something of it is Node's alone */
export function bundle(entry: string, outfile: string): Promise<{ inputs: string[] }>;
export interface Browser {
  /** Opens the page with this script and waits for the promise that it leaves in `globalThis.result`. */
  result(folder: string, script: string): Promise<unknown>;
  close(): Promise<void>;
}
/** Headless Chromium; null where it is not installed. */
export function openBrowser(): Promise<Browser | null>;
