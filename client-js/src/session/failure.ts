/** Why a session could not be had or was lost, and what an HTTP status means for the next step. */

/**
 * - `not-live`: nobody publishes there (yet)
 * - `taken`: somebody else publishes there
 * - `no-common-codec`: this browser cannot decode, or the server not take, what the other side has
 * - `unauthorized`: a token is missing, wrong or without the grant
 * - `refused`: the server says that the request itself is wrong; repeating it is pointless
 * - `overloaded`: the server has no room at the moment
 * - `unreachable`: no answer, or a server error
 * - `lost`: the session was up or coming up and its media path broke
 */
export type FailureKind =
  | 'not-live'
  | 'taken'
  | 'no-common-codec'
  | 'unauthorized'
  | 'refused'
  | 'overloaded'
  | 'unreachable'
  | 'lost';

/** One failure, with what the server said about it. */
export class SessionFailure extends Error {
  override readonly name = 'SessionFailure';

  constructor(
    readonly kind: FailureKind,
    message: string,
    /** HTTP status, or `null` when there was no answer. */
    readonly status: number | null = null,
    /** From `Retry-After`, in milliseconds. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }
}

/** What a status other than success means for a `POST` as publisher (`whip`) or viewer (`whep`). */
export function failureKind(status: number, role: 'whip' | 'whep'): FailureKind {
  switch (status) {
    case 401:
    case 403:
      return 'unauthorized';
    case 404:
    case 409:
      return role === 'whep' ? 'not-live' : status === 409 ? 'taken' : 'refused';
    case 406:
      return 'no-common-codec';
    case 429:
    case 503:
      return 'overloaded';
    default:
      return status >= 500 ? 'unreachable' : 'refused';
  }
}

/**
 * Reads `Retry-After` (RFC 9110 §10.2.3: seconds or a date) as milliseconds from `nowMs`; `null` when absent or
 * unreadable.
 */
export function parseRetryAfter(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  if (/^\s*\d+\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, date - nowMs);
}
