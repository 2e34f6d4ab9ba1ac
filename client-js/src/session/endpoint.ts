/** The HTTP half of WHIP (RFC 9725) and WHEP: one function per request, no state. */

import type { Bearer } from './bearer.ts';
import { failureKind, parseRetryAfter, SessionFailure } from './failure.ts';
import { iceServersOf, linkTo } from './link-header.ts';

/** Where to send requests and as whom. */
export interface Endpoint {
  /** The WHIP or WHEP endpoint. */
  readonly url: string;
  readonly role: 'whip' | 'whep';
  readonly bearer: Bearer;
  readonly fetch: typeof fetch;
}

/** What a 201 hands out. */
export interface Grant {
  /** Absolute address of the session. */
  readonly sessionUrl: string;
  /** Entity tag as sent, quotes included; `null` when the server has none and takes no PATCH. */
  readonly etag: string | null;
  readonly answer: string;
  readonly iceServers: RTCIceServer[];
  readonly extensions: Extensions;
}

/** Absolute addresses of what a viewer's session has beside itself; `null` where the server has no such thing. */
export interface Extensions {
  /** Takes lists of events, hands out event streams. */
  readonly events: string | null;
  /** Takes wishes for layers. */
  readonly layer: string | null;
}

const EVENTS_RELATION = 'urn:ietf:params:whep:ext:core:server-sent-events';
const LAYER_RELATION = 'urn:ietf:params:whep:ext:core:layer';

/** Longest explanation taken from a refusal's body, in characters: it goes on a page. */
const EXPLANATION_MAX_LENGTH = 300;

/** Offers `offer` and returns the session, or throws a {@link SessionFailure}. */
export async function postOffer(endpoint: Endpoint, offer: string, signal: AbortSignal): Promise<Grant> {
  const response = await send(endpoint, endpoint.url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp', Accept: 'application/sdp' },
    body: offer,
    signal,
  });
  if (response.status !== 201) throw await refusal(endpoint, response);
  const location = response.headers.get('Location');
  if (location === null) throw new SessionFailure('refused', 'the server named no session address', 201);
  // Relative to where a redirect led, not to where we first asked.
  const absolute = (url: string) => new URL(url, response.url || endpoint.url).href;
  const links = response.headers.get('Link');
  const extension = (relation: string) => {
    const url = linkTo(links, relation);
    return url === null ? null : absolute(url);
  };
  return {
    sessionUrl: absolute(location),
    etag: response.headers.get('ETag'),
    answer: await response.text(),
    iceServers: iceServersOf(links),
    extensions: { events: extension(EVENTS_RELATION), layer: extension(LAYER_RELATION) },
  };
}

/** Asks for an event stream of these events. Returns its absolute address, or throws a {@link SessionFailure}. */
export async function postEvents(
  endpoint: Endpoint,
  url: string,
  events: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const response = await postJson(endpoint, url, events, signal);
  const location = response.headers.get('Location');
  if (response.status !== 201 || location === null) throw await refusal(endpoint, response);
  return new URL(location, response.url || url).href;
}

/** A wish for a layer (WHEP's layer extension); without a bound the server chooses. */
export interface LayerWish {
  readonly mediaId?: string;
  readonly rid?: string;
  readonly spatialLayerId?: number;
  readonly temporalLayerId?: number;
  readonly maxHeight?: number;
}

/** Asks for a layer. Throws a {@link SessionFailure} if the server does not grant it, the signal's reason when aborted. */
export async function postLayer(
  endpoint: Endpoint,
  url: string,
  wish: LayerWish,
  signal: AbortSignal,
): Promise<void> {
  const response = await postJson(endpoint, url, wish, signal);
  if (!response.ok) throw await refusal(endpoint, response);
}

function postJson(endpoint: Endpoint, url: string, body: unknown, signal: AbortSignal): Promise<Response> {
  const headers = { 'Content-Type': 'application/json' };
  return send(endpoint, url, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

/** What a PATCH came to. */
export interface PatchResult {
  readonly status: number;
  /** Body of a 200: the server's side of an ICE restart. */
  readonly fragment: string;
  readonly etag: string | null;
}

/** Sends a trickle fragment; `etag` is the session's, or `*` for a restart. Throws only when there is no answer. */
export async function patchSession(
  endpoint: Endpoint,
  sessionUrl: string,
  fragment: string,
  etag: string,
): Promise<PatchResult> {
  const response = await send(endpoint, sessionUrl, {
    method: 'PATCH',
    headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': etag },
    body: fragment,
  });
  return {
    status: response.status,
    fragment: response.status === 200 ? await response.text() : '',
    etag: response.headers.get('ETag'),
  };
}

/**
 * Ends the session. Never throws: a server that is gone ends it by itself. Outlives the page that calls it. Resolves
 * with the reason if the server had given the session's stream to another publisher, else with `null`.
 */
export async function deleteSession(endpoint: Endpoint, sessionUrl: string): Promise<SessionFailure | null> {
  try {
    const response = await send(endpoint, sessionUrl, { method: 'DELETE', keepalive: true });
    return response.status === 410 ? await refusal(endpoint, response) : null;
  } catch {
    // Nothing to do: consent expiry ends the session on the server's side.
    return null;
  }
}

async function send(endpoint: Endpoint, url: string, init: RequestInit): Promise<Response> {
  try {
    // Called unbound: browsers reject `fetch` with another `this`.
    const { bearer, fetch } = endpoint;
    return await bearer.fetch(fetch, url, { ...init, cache: 'no-store' });
  } catch (error) {
    if (init.signal?.aborted || error instanceof SessionFailure) throw error;
    throw new SessionFailure('unreachable', 'the server cannot be reached');
  }
}

async function refusal(endpoint: Endpoint, response: Response): Promise<SessionFailure> {
  const { status } = response;
  const body = (await response.text().catch(() => '')).trim();
  const retryAfterMs = parseRetryAfter(response.headers.get('Retry-After'), Date.now());
  const explanation = explanationOf(body) || `the server answered ${status}`;
  return new SessionFailure(failureKind(status, endpoint.role), explanation, status, retryAfterMs);
}

/** A refusal's reason: problem details' `detail` or `error`, or a plain text body. */
function explanationOf(body: string): string {
  if (!body.startsWith('{')) return body.startsWith('<') ? '' : body.slice(0, EXPLANATION_MAX_LENGTH);
  try {
    const problem = JSON.parse(body) as Record<string, unknown>;
    const text = [problem.detail, problem.error, problem.message, problem.title].find(
      (field) => typeof field === 'string',
    );
    return String(text ?? '').slice(0, EXPLANATION_MAX_LENGTH);
  } catch {
    return '';
  }
}
