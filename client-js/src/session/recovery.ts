/** When a session's media path is given up, and when an ICE restart is worth trying. Pure: time comes in as values. */

/** What the session tells its recovery. */
export type RecoveryInput =
  | { readonly kind: 'transport'; readonly state: RTCPeerConnectionState }
  /** The browser says that the network is another one. */
  | { readonly kind: 'network-changed' }
  | { readonly kind: 'restart-answered' }
  /** `final` when the server no longer knows the session, so that nothing can bring it back. */
  | { readonly kind: 'restart-refused'; readonly final: boolean };

/** What the session must do or tell. */
export type RecoveryOutput = 'connected' | 'interrupted' | 'restart' | 'lost';

/** The time limits, in milliseconds. */
export interface RecoveryLimits {
  /** From the answer to the first connection. The server forgets unfinished sessions after 15 s. */
  readonly connectMs: number;
  /** How long a `disconnected` path may come back by itself; Chromium often does within a second or two. */
  readonly graceMs: number;
  /** How long a restart may take before the next one. */
  readonly restartMs: number;
  /** Restarts in a row before the session is given up and a new one is made. */
  readonly maxRestarts: number;
}

export const RECOVERY_LIMITS: RecoveryLimits = {
  connectMs: 12_000,
  graceMs: 2_000,
  restartMs: 4_000,
  maxRestarts: 2,
};

type Phase = 'connecting' | 'connected' | 'interrupted' | 'restarting' | 'lost';

/** Feed it with {@link handle} and {@link handleDeadline}; wake it at {@link deadlineMs}. */
export class RecoveryCore {
  #phase: Phase = 'connecting';
  #deadlineMs: number | null;
  #restarts = 0;
  #transportUp = false;

  constructor(
    private readonly limits: RecoveryLimits,
    nowMs: number,
  ) {
    this.#deadlineMs = nowMs + limits.connectMs;
  }

  /** When to call {@link handleDeadline}, or `null`. */
  get deadlineMs(): number | null {
    return this.#deadlineMs;
  }

  handle(nowMs: number, input: RecoveryInput): RecoveryOutput[] {
    if (this.#phase === 'lost') return [];
    switch (input.kind) {
      case 'transport':
        return this.#transport(nowMs, input.state);
      case 'network-changed':
        // An unfinished session or a running restart gathers on the new network anyway.
        return this.#phase === 'connected' || this.#phase === 'interrupted' ? this.#restart(nowMs) : [];
      case 'restart-answered':
        // A path that never broke fires no event after a restart; if it is dead after all, `disconnected` will follow.
        return this.#transportUp ? this.#connect() : [];
      case 'restart-refused':
        return this.#refused(nowMs, input.final);
    }
  }

  handleDeadline(nowMs: number): RecoveryOutput[] {
    if (this.#deadlineMs === null || nowMs < this.#deadlineMs) return [];
    return this.#phase === 'connecting' ? this.#lose() : this.#restart(nowMs);
  }

  #transport(nowMs: number, state: RTCPeerConnectionState): RecoveryOutput[] {
    this.#transportUp = state === 'connected';
    switch (state) {
      case 'connected':
        return this.#connect();
      case 'disconnected':
        if (this.#phase !== 'connected') return [];
        this.#phase = 'interrupted';
        this.#deadlineMs = nowMs + this.limits.graceMs;
        return ['interrupted'];
      case 'failed':
        if (this.#phase === 'connecting') return this.#lose();
        if (this.#phase === 'restarting') return [];
        return this.#phase === 'connected' ? ['interrupted', ...this.#restart(nowMs)] : this.#restart(nowMs);
      case 'closed':
        return this.#lose();
      default:
        return [];
    }
  }

  #connect(): RecoveryOutput[] {
    if (this.#phase === 'connected') return [];
    this.#phase = 'connected';
    this.#deadlineMs = null;
    this.#restarts = 0;
    return ['connected'];
  }

  #restart(nowMs: number): RecoveryOutput[] {
    if (this.#restarts >= this.limits.maxRestarts) return this.#lose();
    this.#restarts += 1;
    this.#phase = 'restarting';
    this.#deadlineMs = nowMs + this.limits.restartMs;
    return ['restart'];
  }

  #refused(nowMs: number, final: boolean): RecoveryOutput[] {
    if (final) return this.#lose();
    // The server keeps the session when a restart fails, and the old path may still carry it.
    if (this.#transportUp) return this.#connect();
    if (this.#phase === 'restarting') this.#deadlineMs = nowMs + this.limits.graceMs;
    return [];
  }

  #lose(): RecoveryOutput[] {
    this.#phase = 'lost';
    this.#deadlineMs = null;
    return ['lost'];
  }
}
