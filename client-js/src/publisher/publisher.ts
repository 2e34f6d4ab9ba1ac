/** Publishes one stream: a picture and a sound, kept on air through network changes and server restarts. */

import { type BackoffBounds, backoffMs, DEFAULT_BACKOFF, politeDelayMs } from '../backoff.ts';
import { Emitter, type Unsubscribe } from '../emitter.ts';
import { Bearer, type TokenSource } from '../session/bearer.ts';
import type { SessionFailure } from '../session/failure.ts';
import { watchNetwork, watchPage } from '../session/network-watch.ts';
import type { TransportChoice } from '../session/sdp.ts';
import { type Judge, SessionKeeper } from '../session/session-keeper.ts';
import { WhipWhepSession } from '../session/whip-whep-session.ts';
import { type PublishSample, readPublish } from '../stats/publish-sample.ts';
import { StatsSampler } from '../stats/sampler.ts';
import { orderCodecs, redundantFirst, type VideoCodec } from './codec-preference.ts';
import { type Encoding, videoEncodings, worthScaling, worthSimulcast } from './encodings.ts';

/** - `live`: the server receives us. The others are those of {@link SessionKeeper}; a publisher never waits. */
export type PublisherState = 'idle' | 'connecting' | 'live' | 'reconnecting' | 'failed' | 'ended';

/** What to publish where. */
export interface PublisherOptions {
  /** The WHIP endpoint, e.g. `https://host/whip/room`. */
  readonly url: string;
  /** What the server lets us in with, or a function that gets it, asked again once whenever the server answers 401. */
  readonly token?: TokenSource;
  /** Preferred video codec; H264 unless told otherwise, because every device decodes it. */
  readonly codec?: VideoCodec;
  /** Most that the video may take, in bit/s; 2.5 Mbit/s unless told otherwise. */
  readonly maxBitrateBps?: number;
  /**
   * Sends each frame of sound twice (RFC 2198), in browsers that can; on unless told otherwise. What is lost on its way
   * to the server comes with the next packet then, not a round trip later or never, for all viewers; it costs as much again as
   * the sound, which is little beside any picture.
   */
  readonly redundantAudio?: boolean;
  /** Sends three sizes instead of one (RFC 8853); see {@link worthSimulcast} for when, unless told otherwise. */
  readonly simulcast?: boolean;
  /**
   * The layers within one stream of VP9 or AV1 (W3C WebRTC-SVC), e.g. `L3T3_KEY`, `L1T1` for none; where nobody says so and
   * `simulcast` is not set, see {@link worthScaling}. A browser that does not know the mode sends one size.
   */
  readonly scalabilityMode?: string;
  /**
   * The page was on air here and ended without a farewell, as after a crash: the server may hold that session for a
   * while, so a name that is `taken` is waited for as it is after a loss. Off unless told otherwise.
   */
  readonly resumes?: boolean;
  readonly iceServers?: readonly RTCIceServer[];
  readonly transport?: TransportChoice;
  readonly fetch?: typeof fetch;
  readonly createConnection?: (configuration: RTCConfiguration) => RTCPeerConnection;
}

/** What a publisher tells. */
export interface PublisherEvents {
  state: PublisherState;
  stats: PublishSample;
  /** The network path was mended by an ICE restart. */
  restarted: undefined;
  /** An attempt failed or a session was lost; `retryMs` is `null` when the publisher gave up. */
  failure: { readonly failure: SessionFailure; readonly retryMs: number | null };
}

/** Enough for 720p30 of a talking head with a screen behind it. */
export const DEFAULT_MAX_BITRATE_BPS = 2_500_000;

/** Music-safe and small beside any video. */
const AUDIO_MAX_BITRATE_BPS = 64_000;

/**
 * Make it, {@link start} it with tracks, exchange tracks at any time with {@link setTrack}, {@link stop} it.
 * A kind of track that is missing at the start can still be set later: both kinds are always offered.
 */
export class Publisher extends Emitter<PublisherEvents> {
  readonly #options: PublisherOptions;
  readonly #bearer: Bearer;
  readonly #keeper: SessionKeeper;
  readonly #tracks: Record<'audio' | 'video', MediaStreamTrack | null> = { audio: null, video: null };
  #sampler: StatsSampler<PublishSample> | null = null;
  #watches: Unsubscribe[] = [];
  #state: PublisherState = 'idle';

  constructor(options: PublisherOptions) {
    super();
    this.#options = options;
    this.#bearer = new Bearer(options.token);
    this.#keeper = new SessionKeeper({
      open: (signal) => this.#open(signal),
      judge: judgePublisher(options.resumes),
    });
    this.#keeper.on('session', (session) => this.#sample(session));
    this.#keeper.on('state', () => this.#update());
    this.#keeper.on('failure', (failure) => this.emit('failure', failure));
  }

  get state(): PublisherState {
    return this.#state;
  }

  /** Goes live with the tracks of `stream`; they stay the caller's to stop. */
  start(stream: MediaStream): void {
    this.#tracks.audio = stream.getAudioTracks()[0] ?? null;
    this.#tracks.video = stream.getVideoTracks()[0] ?? null;
    this.#watches = [
      watchNetwork(() => this.#keeper.networkChanged()),
      watchPage(
        () => this.stop(),
        () => undefined,
      ),
    ];
    this.#keeper.start();
  }

  /** Sends `track` instead of the present one of its kind, without a new negotiation; `null` sends nothing. */
  async setTrack(kind: 'audio' | 'video', track: MediaStreamTrack | null): Promise<void> {
    this.#tracks[kind] = track;
    const transceivers = this.#keeper.session?.connection.getTransceivers() ?? [];
    const sender = transceivers.find((transceiver) => transceiver.receiver.track.kind === kind)?.sender;
    await sender?.replaceTrack(track);
  }

  /** Ends the broadcast. */
  stop(): void {
    for (const unwatch of this.#watches) unwatch();
    this.#watches = [];
    this.#keeper.stop();
  }

  async #open(signal: AbortSignal): Promise<WhipWhepSession> {
    const { url, transport, iceServers, createConnection } = this.#options;
    const maxBitrateBps = this.#options.maxBitrateBps ?? DEFAULT_MAX_BITRATE_BPS;
    const { fetch = globalThis.fetch } = this.#options;
    return WhipWhepSession.open(
      {
        endpoint: { url, role: 'whip', bearer: this.#bearer, fetch },
        transport: transport ?? 'any',
        iceServers: iceServers ?? [],
        startBitrateKbps: Math.round(maxBitrateBps / 2000),
        ...(createConnection === undefined ? {} : { createConnection }),
      },
      (connection) => this.#prepare(connection, maxBitrateBps),
      signal,
    );
  }

  #prepare(connection: RTCPeerConnection, maxBitrateBps: number): void {
    const streams = [new MediaStream()];
    const audio = connection.addTransceiver(this.#tracks.audio ?? 'audio', {
      direction: 'sendonly',
      streams,
      sendEncodings: [{ maxBitrate: AUDIO_MAX_BITRATE_BPS }],
    });
    const sounds = RTCRtpSender.getCapabilities?.('audio')?.codecs;
    const redundant = this.#options.redundantAudio === false ? null : redundantFirst(sounds ?? []);
    if (redundant !== null && 'setCodecPreferences' in audio) audio.setCodecPreferences(redundant);
    const codec = this.#options.codec ?? 'H264';
    const video = this.#addVideo(connection, streams, maxBitrateBps, codec);
    const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs;
    if (codecs !== undefined && 'setCodecPreferences' in video) {
      video.setCodecPreferences(orderCodecs(codecs, codec));
    }
  }

  #addVideo(
    connection: RTCPeerConnection,
    streams: MediaStream[],
    maxBitrateBps: number,
    codec: VideoCodec,
  ): RTCRtpTransceiver {
    const track = this.#tracks.video;
    const simulcast = this.#options.simulcast ?? worthSimulcast(track, codec);
    const worth = this.#options.simulcast === undefined ? worthScaling(track, codec) : null;
    const scalabilityMode = this.#options.scalabilityMode ?? worth;
    const add = (mode: string | null) => {
      const sendEncodings: Encoding[] = videoEncodings(maxBitrateBps, simulcast, mode);
      return connection.addTransceiver(track ?? 'video', { direction: 'sendonly', streams, sendEncodings });
    };
    try {
      return add(scalabilityMode);
    } catch (error) {
      // What browsers say that know modes, but not this one.
      if (scalabilityMode === null || !(error instanceof DOMException)) throw error;
      return add(null);
    }
  }

  #sample(session: WhipWhepSession): void {
    this.#sampler?.stop();
    this.#sampler = new StatsSampler(session.connection, readPublish, (sample) => this.emit('stats', sample));
    session.on('restarted', () => this.emit('restarted', undefined));
  }

  #update(): void {
    const state = PUBLISHER_STATES[this.#keeper.state];
    if (this.#keeper.session === null) this.#sampler?.stop();
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', state);
  }
}

const PUBLISHER_STATES: Record<SessionKeeper['state'], PublisherState> = {
  idle: 'idle',
  connecting: 'connecting',
  waiting: 'reconnecting',
  connected: 'live',
  interrupted: 'reconnecting',
  reconnecting: 'reconnecting',
  failed: 'failed',
  closed: 'ended',
};

/** The server gives a name free 30 s after the last sign of life of who held it (RFC 7675), and needs a moment to. */
const OWN_GHOST_MAX_MS = 35_000;

/** A name that becomes free is taken again soon: viewers wait for it. */
const OWN_GHOST_BACKOFF: BackoffBounds = { firstMs: 300, maxMs: 4_000 };

/**
 * Before the first connection only an overloaded server is asked again: a person waits for the answer. Once on air,
 * everything but a clear no is. A `taken` name is our own old session's then, or when the publisher `resumes` one,
 * until the server must have noticed its end; a name still taken is somebody else's.
 */
export function judgePublisher(resumes = false): Judge {
  return (failure, { attempt, everConnected, sameKindMs }) => {
    const polite = failure.retryAfterMs === null ? 0 : politeDelayMs(failure.retryAfterMs, Math.random);
    if (failure.kind === 'taken') {
      if (!(everConnected || resumes) || sameKindMs >= OWN_GHOST_MAX_MS) return 'give-up';
      const own = backoffMs(attempt, OWN_GHOST_BACKOFF, Math.random);
      return { state: 'reconnecting', delayMs: Math.max(own, polite) };
    }
    const final =
      failure.kind === 'unauthorized' || failure.kind === 'refused' || failure.kind === 'no-common-codec';
    if (final || (!everConnected && (failure.kind !== 'overloaded' || attempt >= 3))) return 'give-up';
    const own = backoffMs(attempt, DEFAULT_BACKOFF, Math.random);
    return { state: 'reconnecting', delayMs: failure.retryAfterMs === null ? own : polite };
  };
}
