/** Keeps one session open: opens it, waits and opens the next when it is refused or lost, until told to stop. */

import { Emitter } from '../emitter.ts';
import { type FailureKind, SessionFailure } from './failure.ts';
import type { WhipWhepSession } from './whip-whep-session.ts';

/**
 * - `idle`: not started
 * - `connecting`: the first attempt, or the first after `waiting`
 * - `waiting`: the server is fine, the stream is not live yet
 * - `connected`: media can flow
 * - `interrupted`: the path broke, an ICE restart is trying to mend it
 * - `reconnecting`: the session is gone, a new one is being made
 * - `failed`: given up; the last failure says why
 * - `closed`: stopped by us
 */
export type KeeperState =
  | 'idle'
  | 'connecting'
  | 'waiting'
  | 'connected'
  | 'interrupted'
  | 'reconnecting'
  | 'failed'
  | 'closed';

/** What to do after a failure: try again in so many milliseconds, or give up. */
export type Verdict = { readonly state: 'waiting' | 'reconnecting'; readonly delayMs: number } | 'give-up';

/** What came before a failure. */
export interface FailureHistory {
  /** Failures in a row before this one. */
  readonly attempt: number;
  /** Tells a broken session from one that never began. */
  readonly everConnected: boolean;
  /** For how long each attempt has ended with a failure of this kind; 0 for the first. */
  readonly sameKindMs: number;
}

/** Judges a failure. */
export type Judge = (failure: SessionFailure, history: FailureHistory) => Verdict;

/** What a keeper tells. */
export interface KeeperEvents {
  state: KeeperState;
  /** A session was opened; the one before it is gone. */
  session: WhipWhepSession;
  /** An attempt failed or a session was lost; `retryMs` is `null` when it was the last. */
  failure: { readonly failure: SessionFailure; readonly retryMs: number | null };
}

/** How sessions are opened and failures judged. */
export interface KeeperConfig {
  readonly open: (signal: AbortSignal) => Promise<WhipWhepSession>;
  readonly judge: Judge;
}

/** The shell around a {@link Judge}: timers and sessions. */
export class SessionKeeper extends Emitter<KeeperEvents> {
  readonly #config: KeeperConfig;
  #state: KeeperState = 'idle';
  #session: WhipWhepSession | null = null;
  #attempt = 0;
  #everConnected = false;
  #lastFailure: { readonly kind: FailureKind; readonly sinceMs: number } | null = null;
  #abort = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #opening = false;

  constructor(config: KeeperConfig) {
    super();
    this.#config = config;
  }

  get state(): KeeperState {
    return this.#state;
  }

  /** The open session, whether or not its media flows at the moment. */
  get session(): WhipWhepSession | null {
    return this.#session;
  }

  /** Starts, or starts again after `failed` or `closed`. */
  start(): void {
    if (this.#state !== 'idle' && this.#state !== 'failed' && this.#state !== 'closed') return;
    this.#abort = new AbortController();
    this.#attempt = 0;
    this.#everConnected = false;
    this.#lastFailure = null;
    this.#setState('connecting');
    void this.#open();
  }

  /** Ends the session and stops trying. */
  stop(): void {
    if (this.#state === 'closed' || this.#state === 'idle') return;
    this.#halt();
    this.#setState('closed');
  }

  /** The network is back or another one: mend the session now, or try the next attempt now. */
  networkChanged(): void {
    if (this.#session !== null) this.#session.networkChanged();
    else if (this.#state === 'waiting' || this.#state === 'reconnecting') {
      clearTimeout(this.#timer);
      void this.#open();
    }
  }

  /**
   * Opens the next session beside the present one, and changes over once `ready` says that its media flows. Resolves with
   * whether it did; if not, the present session goes on as before.
   */
  async handOver(
    open: (signal: AbortSignal) => Promise<WhipWhepSession>,
    ready: (session: WhipWhepSession, signal: AbortSignal) => Promise<void>,
  ): Promise<boolean> {
    const from = this.#session;
    const { signal } = this.#abort;
    if (from === null) return false;
    let next: WhipWhepSession | null = null;
    try {
      next = await open(signal);
      await ready(next, signal);
    } catch {
      next?.close();
      return false;
    }
    // The present one may have been lost meanwhile, and its successor be on the way or here.
    if (signal.aborted || this.#opening || (this.#session !== from && this.#session !== null)) {
      next.close();
      return false;
    }
    clearTimeout(this.#timer);
    this.#adopt(next);
    from.close();
    return true;
  }

  async #open(): Promise<void> {
    if (this.#opening) return;
    this.#opening = true;
    const { signal } = this.#abort;
    try {
      const session = await this.#config.open(signal);
      // After a stop, `opening` may already speak of the next start's attempt.
      if (signal.aborted) return session.close();
      this.#opening = false;
      this.#adopt(session);
    } catch (error) {
      if (signal.aborted) return;
      this.#opening = false;
      this.#failed(
        error instanceof SessionFailure ? error : new SessionFailure('unreachable', String(error)),
      );
    }
  }

  #adopt(session: WhipWhepSession): void {
    this.#session = session;
    const connected = () => {
      if (this.#session !== session) return;
      this.#attempt = 0;
      this.#lastFailure = null;
      this.#everConnected = true;
      this.#setState('connected');
    };
    session.on('connected', connected);
    session.on('interrupted', () => {
      if (this.#session === session) this.#setState('interrupted');
    });
    session.on('lost', (failure) => {
      if (this.#session !== session) return;
      this.#session = null;
      this.#failed(failure);
    });
    this.emit('session', session);
    if (session.connected) connected();
  }

  #failed(failure: SessionFailure): void {
    const verdict = this.#config.judge(failure, this.#historyOf(failure.kind));
    this.#attempt += 1;
    if (verdict === 'give-up') {
      this.#halt();
      this.emit('failure', { failure, retryMs: null });
      this.#setState('failed');
      return;
    }
    this.#timer = setTimeout(() => void this.#open(), verdict.delayMs);
    this.emit('failure', { failure, retryMs: verdict.delayMs });
    this.#setState(verdict.state);
  }

  #historyOf(kind: FailureKind): FailureHistory {
    const nowMs = Date.now();
    if (this.#lastFailure?.kind !== kind) this.#lastFailure = { kind, sinceMs: nowMs };
    const sameKindMs = nowMs - this.#lastFailure.sinceMs;
    return { attempt: this.#attempt, everConnected: this.#everConnected, sameKindMs };
  }

  #halt(): void {
    this.#abort.abort();
    clearTimeout(this.#timer);
    this.#opening = false;
    const session = this.#session;
    this.#session = null;
    session?.close();
  }

  #setState(state: KeeperState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state);
  }
}
