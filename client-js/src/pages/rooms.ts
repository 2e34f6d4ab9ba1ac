/** What the server says about its rooms. */

/** One entry of `/v1/rooms`. */
export interface RoomSummary {
  readonly name: string;
  readonly live: boolean;
  /** Names of the streams that are live. */
  readonly streams: readonly string[];
  readonly viewers: number;
}

/** Time between questions: a number of viewers that is two seconds old still feels live. */
const POLL_INTERVAL_MS = 2_000;

/** All rooms that the server knows. */
export async function fetchRooms(): Promise<RoomSummary[]> {
  const body = (await fetchJson('/v1/rooms')) as { rooms?: unknown } | null;
  return Array.isArray(body?.rooms) ? body.rooms.map(readRoom) : [];
}

/** One room, or `null` when the server does not know it. */
export async function fetchRoom(name: string): Promise<RoomSummary | null> {
  const body = await fetchJson(`/v1/rooms/${name}`);
  return body === null ? null : readRoom(body);
}

/** Reads tolerantly: a newer server may say more, and streams may come as names or as objects with one. */
export function readRoom(value: unknown): RoomSummary {
  const room = (value ?? {}) as Record<string, unknown>;
  const streams = Array.isArray(room.streams)
    ? room.streams.map(streamName).filter((name) => name !== '')
    : [];
  return {
    name: String(room.name ?? ''),
    live: typeof room.live === 'boolean' ? room.live : streams.length > 0,
    streams,
    viewers: typeof room.viewers === 'number' ? room.viewers : 0,
  };
}

function streamName(stream: unknown): string {
  if (typeof stream === 'string') return stream;
  const { name, live } = (stream ?? {}) as { name?: unknown; live?: unknown };
  return typeof name === 'string' && live !== false ? name : '';
}

async function fetchJson(path: string): Promise<unknown> {
  const response = await fetch(path, { headers: { Accept: 'application/json' }, cache: 'no-store' });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

/** Asks again and again while the page is visible; `null` tells that the server did not answer. */
export function pollRooms<T>(ask: () => Promise<T>, tell: (answer: T | null) => void): void {
  let busy = false;
  const poll = async () => {
    if (busy || document.hidden) return;
    busy = true;
    const answer = await ask().catch(() => null);
    busy = false;
    tell(answer);
  };
  setInterval(() => void poll(), POLL_INTERVAL_MS);
  document.addEventListener('visibilitychange', () => void poll());
  void poll();
}
