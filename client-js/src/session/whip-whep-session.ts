/** One WebRTC connection over WHIP or WHEP, from offer to DELETE; it is never reused after it was lost. */

import { Emitter } from '../emitter.ts';
import {
  deleteSession,
  type Endpoint,
  type Extensions,
  type Grant,
  patchSession,
  postOffer,
} from './endpoint.ts';
import { SessionFailure } from './failure.ts';
import { RECOVERY_LIMITS, RecoveryCore, type RecoveryInput, type RecoveryLimits } from './recovery.ts';
import {
  iceCredentialsOf,
  keepCandidates,
  mediaSectionsOf,
  type TransportChoice,
  withAudioNack,
  withRestartedIce,
  withStartBitrate,
} from './sdp.ts';
import { buildFragment } from './sdp-fragment.ts';
import { TrickleQueue } from './trickle.ts';

/** What a session tells. */
export interface SessionEvents {
  /** Media can flow: the first time, and after each interruption. */
  connected: undefined;
  /** The path is broken and may come back. */
  interrupted: undefined;
  /** An ICE restart has been answered by the server. */
  restarted: undefined;
  /** The session is over and was not closed by us. */
  lost: SessionFailure;
}

/** How a session is made. */
export interface SessionConfig {
  readonly endpoint: Endpoint;
  readonly transport: TransportChoice;
  readonly iceServers: readonly RTCIceServer[];
  /** First bitrate of the video encoder, in kbit/s. */
  readonly startBitrateKbps?: number;
  readonly limits?: RecoveryLimits;
  /** Awaited before the offer is sent; a rejection is that of {@link WhipWhepSession.open}. */
  readonly admitted?: () => Promise<void>;
  /** Makes the browser's connection; replaced in tests. */
  readonly createConnection?: (configuration: RTCConfiguration) => RTCPeerConnection;
}

/** How long the end of a session may take to reach the server: a slow round trip. The connection is closed then anyway. */
const GOODBYE_MS = 500;

/**
 * Made by {@link WhipWhepSession.open}. Candidates are trickled while the offer is already on its way; the path is
 * watched and repaired by ICE restarts; {@link close} ends it on both sides.
 */
export class WhipWhepSession extends Emitter<SessionEvents> {
  /** The browser's connection, for tracks and statistics. Its signalling is the session's own. */
  readonly connection: RTCPeerConnection;
  readonly #config: SessionConfig;
  readonly #trickle = new TrickleQueue();
  #grant: Grant | null = null;
  #etag: string | null = null;
  #recovery: RecoveryCore | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #restarting = false;
  #closed = false;
  #closedByServer = false;

  private constructor(config: SessionConfig) {
    super();
    this.#config = config;
    const create = config.createConnection ?? ((configuration) => new RTCPeerConnection(configuration));
    this.connection = create({
      bundlePolicy: 'max-bundle',
      rtcpMuxPolicy: 'require',
      iceServers: [...config.iceServers],
    });
    this.connection.addEventListener('icecandidate', (event) => this.#candidate(event.candidate));
    this.connection.addEventListener('connectionstatechange', () => {
      this.#recover({ kind: 'transport', state: this.connection.connectionState });
    });
  }

  /**
   * Offers and waits for the server's answer, not for media: that is the `connected` event. `prepare` adds the tracks
   * or transceivers. Throws a {@link SessionFailure}, or the signal's reason when aborted; nothing stays open then.
   */
  static async open(
    config: SessionConfig,
    prepare: (connection: RTCPeerConnection) => void,
    signal: AbortSignal,
  ): Promise<WhipWhepSession> {
    const session = new WhipWhepSession(config);
    try {
      prepare(session.connection);
      await session.#negotiate(signal);
      return session;
    } catch (error) {
      session.close();
      if (error instanceof SessionFailure || signal.aborted) throw error;
      throw new SessionFailure('refused', `the browser refused the negotiation: ${String(error)}`);
    }
  }

  /** Whether the browser says that media can flow. */
  get connected(): boolean {
    return this.connection.connectionState === 'connected';
  }

  /** Address of the session on its server. */
  get url(): string | null {
    return this.#grant?.sessionUrl ?? null;
  }

  /** Where the session's events and layers are asked for; `null` before the server's answer. */
  get extensions(): Extensions | null {
    return this.#grant?.extensions ?? null;
  }

  /** Where and as whom requests about the session are sent. */
  get endpoint(): Endpoint {
    return this.#config.endpoint;
  }

  /** The network is another one than before: find a new path without waiting for the old one to time out. */
  networkChanged(): void {
    this.#recover({ kind: 'network-changed' });
  }

  /** Ends the session on the server, and here as soon as that has heard of it, or a moment later if it has not. */
  close(): void {
    void this.#end();
  }

  async #end(): Promise<SessionFailure | null> {
    if (this.#closed) return null;
    this.#closed = true;
    clearTimeout(this.#timer);
    const { endpoint } = this.#config;
    // A viewer's session that the server has closed is no more. A publisher asks why it was.
    if (this.#grant === null || (this.#closedByServer && endpoint.role === 'whep')) {
      this.connection.close();
      return null;
    }
    // The request goes first: a connection that closes says goodbye by itself, and a server that hears that sooner takes
    // the session for one that broke and no longer knows it when the request comes.
    const answered = deleteSession(endpoint, this.#grant.sessionUrl);
    await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, GOODBYE_MS))]);
    this.connection.close();
    return answered;
  }

  async #negotiate(signal: AbortSignal): Promise<void> {
    await this.#offer({});
    await this.#config.admitted?.();
    const grant = await postOffer(this.#config.endpoint, this.#localSdp(), signal);
    this.#grant = grant;
    this.#etag = grant.etag;
    signal.throwIfAborted();
    // They come too late for this gathering; the first ICE restart uses them.
    if (grant.iceServers.length > 0) {
      this.connection.setConfiguration({
        ...this.connection.getConfiguration(),
        iceServers: grant.iceServers,
      });
    }
    const { startBitrateKbps, transport, limits } = this.#config;
    const answer =
      startBitrateKbps === undefined ? grant.answer : withStartBitrate(grant.answer, startBitrateKbps);
    await this.connection.setRemoteDescription({ type: 'answer', sdp: keepCandidates(answer, transport) });
    this.#recovery = new RecoveryCore(limits ?? RECOVERY_LIMITS, Date.now());
    this.#watchEncryption();
    // The connection can be up before the answer's promise resolves.
    this.#recover({ kind: 'transport', state: this.connection.connectionState });
    void this.#sendTrickle();
  }

  /** A server that ends a session says so by closing DTLS, which browsers do not count into `connectionState`. */
  #watchEncryption(): void {
    const transports = new Set(this.connection.getTransceivers().map(({ receiver }) => receiver.transport));
    for (const transport of transports) {
      transport?.addEventListener('statechange', () => {
        if (transport.state !== 'closed') return;
        this.#closedByServer = true;
        this.#recover({ kind: 'transport', state: 'closed' });
      });
    }
  }

  #localSdp(): string {
    return this.connection.localDescription?.sdp ?? '';
  }

  #candidate(candidate: RTCIceCandidate | null): void {
    this.#trickle.add(candidate && { candidate: candidate.candidate, mid: candidate.sdpMid });
    void this.#sendTrickle();
  }

  async #sendTrickle(): Promise<void> {
    const { endpoint } = this.#config;
    // During a restart the credentials of these candidates are not the server's yet.
    while (this.#grant !== null && this.#etag !== null && !this.#closed && !this.#restarting) {
      const fragment = this.#trickle.next(this.#localSdp());
      if (fragment === null) return;
      try {
        await patchSession(endpoint, this.#grant.sessionUrl, fragment, this.#etag);
      } catch {
        // The server learns our address from the checks themselves, so a lost PATCH costs nothing.
      } finally {
        this.#trickle.done();
      }
    }
  }

  #recover(input: RecoveryInput): void {
    this.#drive((core, nowMs) => core.handle(nowMs, input));
  }

  #drive(step: (core: RecoveryCore, nowMs: number) => ReturnType<RecoveryCore['handle']>): void {
    const core = this.#recovery;
    if (core === null || this.#closed) return;
    const outputs = step(core, Date.now());
    clearTimeout(this.#timer);
    if (core.deadlineMs !== null) {
      const wait = Math.max(0, core.deadlineMs - Date.now());
      this.#timer = setTimeout(() => this.#drive((due, nowMs) => due.handleDeadline(nowMs)), wait);
    }
    for (const output of outputs) {
      if (output === 'restart') void this.#restartIce();
      else if (output === 'lost') this.#lose();
      else this.emit(output, undefined);
    }
  }

  async #restartIce(): Promise<void> {
    if (this.#grant === null || this.#etag === null)
      return this.#recover({ kind: 'restart-refused', final: true });
    this.#restarting = true;
    try {
      const final = await this.#offerRestart(this.#grant);
      if (final === null) this.emit('restarted', undefined);
      this.#recover(final === null ? { kind: 'restart-answered' } : { kind: 'restart-refused', final });
    } catch {
      this.#recover({ kind: 'restart-refused', final: false });
    } finally {
      this.#restarting = false;
      void this.#sendTrickle();
    }
  }

  async #offer(options: RTCOfferOptions): Promise<void> {
    const offer = await this.connection.createOffer(options);
    const edited: RTCSessionDescriptionInit = { type: 'offer', sdp: withAudioNack(offer.sdp ?? '') };
    // A browser that takes no edited offer sends and receives sound without repair.
    await this.connection.setLocalDescription(edited).catch(() => this.connection.setLocalDescription(offer));
  }

  /** `null` when the server took it, else whether the refusal is final. */
  async #offerRestart(grant: Grant): Promise<boolean | null> {
    const before = this.connection.currentRemoteDescription?.sdp ?? '';
    // A restart that the server never answered leaves its offer pending; it is taken back before the next one.
    if (this.connection.signalingState === 'have-local-offer') {
      await this.connection.setLocalDescription({ type: 'rollback' });
    }
    this.#trickle.reset();
    await this.#offer({ iceRestart: true });
    const ice = iceCredentialsOf(this.#localSdp());
    if (ice === null) return true;
    const sections = mediaSectionsOf(this.#localSdp());
    const fragment = buildFragment({ ice, sections, candidates: [], complete: false });
    const result = await patchSession(this.#config.endpoint, grant.sessionUrl, fragment, '*');
    const answer = result.status === 200 ? withRestartedIce(before, result.fragment) : null;
    if (answer === null) return result.status >= 400 && result.status < 500 && result.status !== 429;
    this.#etag = result.etag ?? this.#etag;
    await this.connection.setRemoteDescription({
      type: 'answer',
      sdp: keepCandidates(answer, this.#config.transport),
    });
    return null;
  }

  #lose(): void {
    const lost = new SessionFailure('lost', 'the media connection broke');
    const ended = this.#end();
    // A publisher that was taken over must not take the stream back by itself, or two would do so for ever.
    if (!this.#closedByServer || this.#config.endpoint.role !== 'whip') this.emit('lost', lost);
    else void ended.then((reason) => this.emit('lost', reason ?? lost));
  }
}
