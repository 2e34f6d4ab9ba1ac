/** A UDP path between browsers and a server that is as bad as a figure wants it: delay, loss, a bottleneck. */

import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';

/** One direction of a path. */
export interface Conditions {
  /** One-way delay. */
  readonly delayMs: number;
  /** Share of datagrams that vanish, 0 to 1. */
  readonly lossRatio: number;
  /** Rate of the bottleneck in bit/s; `null` without one. */
  readonly rateBps: number | null;
  /** What the bottleneck's queue holds, as time; what comes on top is dropped. */
  readonly queueMs: number;
}

/** A path without faults. */
export const PERFECT: Conditions = { delayMs: 0, lossRatio: 0, rateBps: null, queueMs: 0 };

/** Headers of IP and UDP, which a bottleneck carries too. */
const HEADER_BYTES = 28;

/** One direction of one client's way, with what is queued in it. */
class Lane {
  dropped = 0;
  #freeAtMs = 0;

  constructor(
    public conditions: Conditions,
    private readonly random: () => number,
  ) {}

  /** Calls `deliver` when a datagram of `bytes` has passed, or never. */
  carry(bytes: number, deliver: () => void): void {
    const { delayMs, lossRatio, rateBps, queueMs } = this.conditions;
    const now = performance.now();
    const waitMs = rateBps === null ? 0 : Math.max(0, this.#freeAtMs - now);
    if (this.random() < lossRatio || waitMs > queueMs) {
      this.dropped += 1;
      return;
    }
    const sendMs = rateBps === null ? 0 : ((bytes + HEADER_BYTES) * 8_000) / rateBps;
    this.#freeAtMs = now + waitMs + sendMs;
    const passedMs = waitMs + sendMs + delayMs;
    if (passedMs < 1) deliver();
    else setTimeout(deliver, passedMs);
  }
}

/** A datagram that passes: when, whether towards the server, and by which client's flow. */
export type Watcher = (atMs: number, toServer: boolean, flow: string, datagram: Uint8Array) => void;

/**
 * A client's way through the link: its own socket towards the server, as behind a NAT, and its own lanes. What stands in
 * the queue before one client is in nobody else's way.
 */
interface Flow {
  readonly name: string;
  readonly up: Lane;
  readonly down: Lane;
  readonly upstream: Socket;
  cut: boolean;
}

/** Where a link stands. */
export interface LinkOptions {
  /** Address that clients send to; the server's ports are the same there. */
  readonly address: string;
  readonly server: string;
  readonly ports: readonly number[];
  /** Decides which datagrams are lost. */
  readonly seed: number;
}

/** Passes datagrams on between clients and the server. Clients differ in their port. */
export class Link {
  /** Sees every datagram before anything is done to it; times are of `Date.now()`. */
  watcher: Watcher | null = null;
  readonly #sockets: Socket[] = [];
  readonly #flows = new Map<string, Flow>();
  readonly #random: () => number;
  /** Of ways that are new. */
  #conditions = PERFECT;

  private constructor(seed: number) {
    this.#random = dice(seed);
  }

  /** Binds the link's ports. */
  static async open({ address, server, ports, seed }: LinkOptions): Promise<Link> {
    const link = new Link(seed);
    for (const port of ports) {
      const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
      socket.bind(port, address);
      await once(socket, 'listening');
      socket.on('message', (datagram, client) => {
        const flow = link.#flow(socket, client, port, server);
        link.watcher?.(Date.now(), true, flow.name, datagram);
        if (!flow.cut) flow.up.carry(datagram.length, () => flow.upstream.send(datagram, port, server));
      });
      link.#sockets.push(socket);
    }
    return link;
  }

  /** The clients' ports so far. */
  get flows(): ReadonlySet<string> {
    return new Set(this.#flows.keys());
  }

  /** Datagrams that vanished so far, by chance or before a full queue. */
  get dropped(): number {
    return [...this.#flows.values()].reduce((sum, { up, down }) => sum + up.dropped + down.dropped, 0);
  }

  /** Nothing passes any more from and to the present ports but the `spared` ones, as when a phone leaves its network. */
  cutFlows(spared: ReadonlySet<string>): void {
    for (const [name, flow] of this.#flows) flow.cut ||= !spared.has(name);
  }

  /** Sets both directions of all ways, and of those to come. */
  set(conditions: Partial<Conditions>): void {
    this.#conditions = { ...this.#conditions, ...conditions };
    for (const { up, down } of this.#flows.values()) {
      up.conditions = { ...up.conditions, ...conditions };
      down.conditions = { ...down.conditions, ...conditions };
    }
  }

  /** Sets the direction towards the clients, but for the `spared` ones. */
  setDown(conditions: Conditions, spared: ReadonlySet<string>): void {
    for (const [name, flow] of this.#flows) if (!spared.has(name)) flow.down.conditions = conditions;
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
    for (const flow of this.#flows.values()) flow.upstream.close();
  }

  #flow(socket: Socket, client: RemoteInfo, port: number, server: string): Flow {
    const name = `${client.address}:${client.port}>${port}`;
    const known = this.#flows.get(name);
    if (known !== undefined) return known;
    const upstream = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 });
    const [up, down] = [new Lane(this.#conditions, this.#random), new Lane(this.#conditions, this.#random)];
    const flow: Flow = { name, up, down, upstream, cut: false };
    upstream.bind(0, server);
    upstream.on('message', (datagram) => {
      this.watcher?.(Date.now(), false, name, datagram);
      if (flow.cut) return;
      down.carry(datagram.length, () => socket.send(datagram, client.port, client.address));
    });
    this.#flows.set(name, flow);
    return flow;
  }
}

/** Numbers from 0 to 1 that are the same for the same seed (a 32-bit xorshift). */
function dice(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
