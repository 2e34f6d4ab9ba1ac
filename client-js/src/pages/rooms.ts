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

/** The server tells of its rooms only to those who have a token: 401 or 403. */
export class RoomsRefused extends Error {
  override readonly name = 'RoomsRefused';

  constructor(readonly status: number) {
    super(`the server answered ${status}`);
  }
}

/** All rooms that the server knows. */
export async function fetchRooms(token: string | null): Promise<RoomSummary[]> {
  const body = (await fetchJson('/v1/rooms', token)) as { rooms?: unknown } | null;
  return Array.isArray(body?.rooms) ? body.rooms.map(readRoom) : [];
}

/** One room; `null` from an older server that does not know it. */
export async function fetchRoom(name: string, token: string | null): Promise<RoomSummary | null> {
  const body = await fetchJson(`/v1/rooms/${name}`, token);
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

async function fetchJson(path: string, token: string | null): Promise<unknown> {
  const authorization = token === null ? {} : { Authorization: `Bearer ${token}` };
  const headers = { Accept: 'application/json', ...authorization };
  const response = await fetch(path, { headers, cache: 'no-store' });
  if (response.status === 404) return null;
  if (response.status === 401 || response.status === 403) throw new RoomsRefused(response.status);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return response.json();
}

/**
 * Asks again and again while the page is visible; `null` tells that the server did not answer. After a refusal it asks no
 * more until the function that is returned is called: repeating a wrong token looks like guessing.
 */
export function pollRooms<T>(
  ask: () => Promise<T>,
  tell: (answer: T | null) => void,
  refused: (refusal: RoomsRefused) => void = () => undefined,
): () => void {
  let busy = false;
  let paused = false;
  // Asked for while an answer to the old token is still on its way: that one no longer counts.
  let again = false;
  const poll = async () => {
    if (busy || paused || document.hidden) return;
    busy = true;
    try {
      tell(await ask());
    } catch (error) {
      paused = error instanceof RoomsRefused && !again;
      tell(null);
      if (paused) refused(error as RoomsRefused);
    } finally {
      busy = false;
      if (again) askAgain();
    }
  };
  const askAgain = () => {
    [paused, again] = [false, busy];
    void poll();
  };
  setInterval(() => void poll(), POLL_INTERVAL_MS);
  document.addEventListener('visibilitychange', () => void poll());
  void poll();
  return askAgain;
}
