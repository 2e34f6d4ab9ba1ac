/** A publisher without a browser: the load generator's, which sends pictures that a decoder accepts. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { BINARY, type Server } from '../e2e/server.ts';
import { live } from './broadcast.ts';

/** A stream that is being published into the room `{prefix}-0`. */
export interface Synthetic {
  readonly room: string;
  stop(): Promise<void>;
}

/** Publishes until it is stopped; `flags` are of `aforo loadtest`. */
export async function publishSynthetic(
  server: Server,
  prefix: string,
  flags: readonly string[],
): Promise<Synthetic> {
  const fixed = ['--target', server.url, '--publishers', '1', '--viewers', '0', '--room-prefix', prefix];
  const child = spawn(BINARY, ['loadtest', ...fixed, '--duration', '1h', ...flags], { stdio: 'ignore' });
  const room = `${prefix}-0`;
  await Promise.race([
    live(server, room),
    once(child, 'exit').then(() => Promise.reject(new Error('the load generator ended at its start'))),
  ]);
  return { room, stop: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
