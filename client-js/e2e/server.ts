/** Starts the `aforo` binary on free ports and ends it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';

/** A running server. */
export interface Server {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** `http://127.0.0.1:port` of `/metrics` and `/readyz`. */
  readonly admin: string;
  /** The UDP ports of its shards. */
  readonly ports: readonly number[];
  stop(): Promise<void>;
  /** Kills the server without a farewell and starts another on the same ports. */
  crashAndRestart(): Promise<void>;
}

/** The binary under test. */
export const BINARY =
  process.env.AFORO_BIN ?? fileURLToPath(new URL('../../target/debug/aforo', import.meta.url));

const SHARDS = 2;

/**
 * Starts a server and waits until it says that it is ready. `environment` configures it beside its flags; `address` is
 * the one that its answers send media to, `listen` the one that it takes media at.
 */
export async function startServer(
  environment: Record<string, string> = {},
  address = '127.0.0.1',
  listen = '0.0.0.0',
): Promise<Server> {
  const [http, admin, udp] = [await freeTcpPort(), await freeTcpPort(), await freeUdpPorts()];
  const flags = ['--http', `127.0.0.1:${http}`, '--admin', `127.0.0.1:${admin}`, '--udp', `${listen}:${udp}`];
  flags.push('--shards', String(SHARDS), '--advertise', address);
  const readiness = `http://127.0.0.1:${admin}/readyz`;
  const output: string[] = [];
  const spawnServer = () => spawnReady(flags, environment, readiness, output);
  let child = await spawnServer();
  return {
    url: `http://127.0.0.1:${http}`,
    admin: `http://127.0.0.1:${admin}`,
    ports: Array.from({ length: SHARDS }, (_, index) => udp + index),
    stop: () => stop(child, output),
    async crashAndRestart() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
      child = await spawnServer();
    },
  };
}

async function spawnReady(
  flags: string[],
  environment: Record<string, string>,
  readiness: string,
  output: string[],
): Promise<ChildProcess> {
  const env = { ...process.env, ...environment };
  const child = spawn(BINARY, ['dev', ...flags], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => output.push(String(text)));
  await Promise.race([
    ready(readiness),
    // `error` when there is no binary, `exit` when it does not like its flags.
    once(child, 'exit').then(() =>
      Promise.reject(new Error(`${BINARY} ended at its start:\n${output.join('')}`)),
    ),
  ]);
  return child;
}

async function stop(child: ChildProcess, output: string[]): Promise<void> {
  if (child.exitCode !== null) throw new Error(`the server ended during the test:\n${output.join('')}`);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
  // A part that panics is built anew and its client comes again, so pages may look as if nothing had been.
  const panics = output
    .join('')
    .split('\n')
    .filter((line) => line.includes('a thread panicked'));
  if (panics.length > 0) throw new Error(`the server panicked:\n${panics.join('\n')}`);
}

/** Resolves once `url` answers 200. Refused connections answer at once, so the loop gives way between questions. */
async function ready(url: string): Promise<void> {
  for (;;) {
    const response = await fetch(url).catch(() => null);
    if (response?.ok) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function freeTcpPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = (server.address() as { port: number }).port;
  server.close();
  await once(server, 'close');
  return port;
}

/** The first of as many free ports in a row as there are shards; the first is also free for TCP. */
async function freeUdpPorts(): Promise<number> {
  for (;;) {
    const first = await freeTcpPort();
    const ports = Array.from({ length: SHARDS }, (_, index) => first + index);
    const free = await Promise.all(ports.map(udpPortIsFree));
    if (free.every(Boolean)) return first;
  }
}

async function udpPortIsFree(port: number): Promise<boolean> {
  const socket = createSocket('udp4');
  const bound = new Promise<boolean>((resolve) => {
    socket.once('error', () => resolve(false));
    socket.once('listening', () => resolve(true));
  });
  socket.bind(port, '127.0.0.1');
  const free = await bound;
  socket.close();
  return free;
}
