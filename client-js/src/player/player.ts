/** Plays one stream: waits for it to go live, plays it, and comes back by itself after any break. */

import { Emitter, type Unsubscribe } from '../emitter.ts';
import { Bearer, type TokenSource } from '../session/bearer.ts';
import type { Endpoint } from '../session/endpoint.ts';
import { SessionFailure } from '../session/failure.ts';
import { watchNetwork, watchPage } from '../session/network-watch.ts';
import type { TransportChoice } from '../session/sdp.ts';
import { SessionKeeper } from '../session/session-keeper.ts';
import { WhipWhepSession } from '../session/whip-whep-session.ts';
import { type PlaybackSample, readPlayback } from '../stats/playback-sample.ts';
import { StatsSampler } from '../stats/sampler.ts';
import { type Flow, StallWatch } from '../stats/stall.ts';
import { HoldBack } from './hold-back.ts';
import { judgePlayer } from './judge.ts';
import { LayerChoice } from './layer-choice.ts';
import { type ExtensionNegotiation, wantLayerDescriptors } from './layer-descriptors.ts';
import { mediaArrival } from './media-arrival.ts';
import { OnAir } from './on-air.ts';
import { readWish, type VideoLayer } from './video-layer.ts';
import { type OpenEventSource, ViewerEvents } from './viewer-events.ts';

/**
 * - `waiting`: the stream is not live; the player asks again by itself
 * - `playing`: media flows
 * - `stalled`: the connection is up and nothing comes (any more): the publisher is away
 * - `reconnecting`: the path broke
 */
export type PlayerState =
  | 'idle'
  | 'connecting'
  | 'waiting'
  | 'playing'
  | 'stalled'
  | 'reconnecting'
  | 'failed'
  | 'closed';

/** What to play from where. */
export interface PlayerOptions {
  /** The WHEP endpoint, e.g. `https://host/whep/room`. */
  readonly url: string;
  /** What the server lets this viewer in with, or a function that gets it, asked again once whenever the server answers 401. */
  readonly token?: TokenSource;
  readonly iceServers?: readonly RTCIceServer[];
  readonly transport?: TransportChoice;
  readonly fetch?: typeof fetch;
  readonly createConnection?: (configuration: RTCConfiguration) => RTCPeerConnection;
  readonly createEventSource?: OpenEventSource;
}

/** What a player tells. */
export interface PlayerEvents {
  state: PlayerState;
  /** The media of a new session, for `video.srcObject`. */
  stream: MediaStream;
  /**
   * Milliseconds to the first decoded frame from {@link Player.start} or the loss of the session before; where the stream was
   * not live then, from the attempt that found it.
   */
  firstframe: { readonly elapsedMs: number };
  stats: PlaybackSample;
  /** Whether the picture moves. */
  flow: Flow;
  /** The layers that may be chosen, best first; none where there is no choice. See {@link Player.selectLayer}. */
  layers: readonly VideoLayer[];
  /** Whether sound comes alone, as the network here carries no picture beside it. */
  soundOnly: boolean;
  /** How many watch; `null` while the server does not tell by itself. */
  viewers: number | null;
  /** The player plays from another server now, or with another connection, because the server asked it to. */
  moved: undefined;
  /** The network path was mended by an ICE restart. */
  restarted: undefined;
  /** An attempt failed or a session was lost; `retryMs` is `null` when the player gave up. */
  failure: { readonly failure: SessionFailure; readonly retryMs: number | null };
}

/**
 * A first offer waits so long for the answer whether the stream is live: as long as over a short path, and no longer than nobody
 * notices. Over a long one it goes out first, and may be refused once.
 */
const FIRST_ANSWER_MS = 50;

/** How often, and how long apart, a player tries to move when the server asks it to, before it lets things happen. */
const MOVE_TRIES = 6;
const MOVE_RETRY_MS = 400;

/** Make it, listen to `stream`, {@link start} it, {@link stop} it. */
export class Player extends Emitter<PlayerEvents> {
  readonly #options: PlayerOptions;
  readonly #keeper: SessionKeeper;
  #sampler: StatsSampler<PlaybackSample> | null = null;
  #watches: Unsubscribe[] = [];
  /** Where to ask for a session: where the page said, or where the server has sent us since. */
  #url: string;
  readonly #bearer: Bearer;
  readonly #mediaOf = new WeakMap<WhipWhepSession, MediaStream>();
  #events: ViewerEvents | null = null;
  #noticed = true;
  #layers: readonly VideoLayer[] = [];
  #soundOnly = false;
  readonly #choice = new LayerChoice(() => this.emit('layers', this.#layers));
  readonly #onAir = new OnAir();
  #moving = false;
  /** Whether the server said that nobody publishes at the moment. */
  #offAir = false;
  #state: PlayerState = 'idle';
  #flow: Flow = 'flowing';
  #media: MediaStream | null = null;
  #waitingSinceMs: number | null = null;
  /** Whether media came in this session, and in any since the stream was last off air. */
  #mediaCame = false;
  #mediaEverCame = false;

  constructor(options: PlayerOptions) {
    super();
    this.#options = options;
    this.#url = options.url;
    this.#bearer = new Bearer(options.token);
    this.#keeper = new SessionKeeper({ open: (signal) => this.#attempt(signal), judge: judgePlayer });
    this.#keeper.on('session', (session) => this.#adopt(session));
    this.#keeper.on('state', () => this.#update());
    this.#keeper.on('failure', (failure) => {
      // The wait for a broadcast is nobody's delay: the clock begins with the attempt that finds it live.
      this.#waitingSinceMs =
        failure.failure.kind === 'not-live' ? null : (this.#waitingSinceMs ?? performance.now());
      this.emit('failure', failure);
    });
  }

  get state(): PlayerState {
    return this.#state;
  }

  /** The media of the present session. */
  get stream(): MediaStream | null {
    return this.#media;
  }

  /** Whether sound comes alone, as the network here carries no picture beside it. */
  get soundOnly(): boolean {
    return this.#soundOnly;
  }

  /** The layers that may be chosen, best first. */
  get layers(): readonly VideoLayer[] {
    return this.#layers;
  }

  /** The layer that was chosen, by its id; `null` leaves the choice to the server. */
  get selectedLayer(): string | null {
    return this.#choice.chosen?.id ?? null;
  }

  /** Asks for a layer, in this session and those that follow; `null` leaves the choice to the server. */
  async selectLayer(id: string | null): Promise<void> {
    await this.#choice.choose(id === null ? null : { id, wish: readWish(id) });
  }

  /**
   * Whether a person hears it, or sees it in a window of its own, while the page is hidden. One that nobody notices does not hear
   * from its server then, and follows a move only after a break. `true` unless the page knows better.
   */
  get noticed(): boolean {
    return this.#noticed;
  }

  set noticed(noticed: boolean) {
    this.#noticed = noticed;
    if (this.#events !== null) this.#events.noticed = noticed;
  }

  /** Starts, or starts again after `failed` or `closed`. */
  start(): void {
    if (this.#watches.length === 0) {
      this.#watches = [
        watchNetwork(() => this.#keeper.networkChanged()),
        watchPage(
          () => this.#keeper.stop(),
          () => this.#keeper.start(),
        ),
      ];
    }
    this.#waitingSinceMs = performance.now();
    this.#keeper.start();
  }

  /** Stops playing and tells the server. */
  stop(): void {
    for (const unwatch of this.#watches) unwatch();
    this.#watches = [];
    this.#keeper.stop();
  }

  /**
   * A frame was shown: whoever has the video element reports each session's first one, for {@link
   * PlayerEvents.firstframe}. More than one report does no harm.
   */
  frameShown(): void {
    this.#mediaFlows();
    if (this.#waitingSinceMs === null) return;
    const elapsedMs = performance.now() - this.#waitingSinceMs;
    this.#waitingSinceMs = null;
    this.emit('firstframe', { elapsedMs });
  }

  async #attempt(signal: AbortSignal): Promise<WhipWhepSession> {
    this.#waitingSinceMs ??= performance.now();
    // The question is on its way while the browser makes its offer, so that it hardly delays who finds the stream live.
    const answer = this.#onAir.ask(this.#endpoint(), signal);
    const admitted = async (told: Promise<boolean | null>) => {
      if ((await told) === false)
        throw new SessionFailure('not-live', 'nobody publishes there at the moment');
    };
    if (this.#keeper.state === 'waiting') await admitted(answer);
    const patience = () => new Promise<null>((resolve) => setTimeout(() => resolve(null), FIRST_ANSWER_MS));
    return this.#open(signal, () => admitted(Promise.race([answer, patience()])));
  }

  #endpoint(): Endpoint {
    const { fetch = globalThis.fetch } = this.#options;
    return { url: this.#url, role: 'whep', bearer: this.#bearer, fetch };
  }

  async #open(signal: AbortSignal, admitted = async () => {}): Promise<WhipWhepSession> {
    const { transport, iceServers, createConnection } = this.#options;
    const media = new MediaStream();
    const session = await WhipWhepSession.open(
      {
        endpoint: this.#endpoint(),
        admitted,
        transport: transport ?? 'any',
        iceServers: iceServers ?? [],
        ...(createConnection === undefined ? {} : { createConnection }),
      },
      (connection) => {
        connection.addEventListener('track', ({ track }) => media.addTrack(track));
        connection.addTransceiver('audio', { direction: 'recvonly' });
        const video = connection.addTransceiver('video', { direction: 'recvonly' });
        wantLayerDescriptors(video as ExtensionNegotiation);
      },
      signal,
    );
    this.#mediaOf.set(session, media);
    return session;
  }

  #adopt(session: WhipWhepSession): void {
    this.#media = this.#mediaOf.get(session) ?? null;
    this.#sampler?.stop();
    this.#flow = 'flowing';
    this.#mediaCame = false;
    this.#listen(session);
    const stall = new StallWatch(Date.now());
    const holdBack = new HoldBack();
    const hasVideo = this.#media?.getVideoTracks().length !== 0;
    this.#sampler = new StatsSampler(session.connection, readPlayback, (sample) => {
      this.emit('stats', sample);
      const { atMs, packets, nacks, framesDecoded } = sample.counters;
      const { roundTripMs, freezeCount } = sample;
      hold(
        session.connection,
        holdBack.observe(atMs, { packets, nacks, roundTripMs, freezes: freezeCount ?? 0 }),
      );
      if (packets > 0) this.#mediaFlows();
      this.#flowed(stall.observe(atMs, { packets, frames: hasVideo ? framesDecoded : null }));
    });
    session.on('restarted', () => this.emit('restarted', undefined));
    if (this.#media !== null) this.emit('stream', this.#media);
  }

  /** Hears what the server tells of the session from now on. */
  #listen(session: WhipWhepSession): void {
    this.#deafen();
    this.#choice.adopt(session);
    const { events: url, layer } = session.extensions ?? { events: null, layer: null };
    if (url === null) return;
    const events = new ViewerEvents(this.#noticed, this.#options.createEventSource);
    this.#events = events;
    events.on('open', (open) => {
      if (open) return;
      // What it said last may be long past.
      this.#offAir = false;
      this.#setSoundOnly(false);
      this.emit('viewers', null);
      this.#update();
    });
    events.on('viewers', (viewers) => this.emit('viewers', viewers));
    events.on('live', (live) => {
      this.#offAir = !live;
      this.#update();
    });
    events.on('soundOnly', (soundOnly) => this.#setSoundOnly(soundOnly));
    // One layer is no choice.
    if (layer !== null) events.on('layers', (layers) => this.#showLayers(layers.length > 1 ? layers : []));
    events.on('reconnect', (target) => void this.#move(target));
    void events.start(session.endpoint, url);
  }

  #deafen(): void {
    if (this.#events === null) return;
    const events = this.#events;
    this.#events = null;
    this.#offAir = false;
    events.close();
    this.#setSoundOnly(false);
    this.#showLayers([]);
  }

  #setSoundOnly(soundOnly: boolean): void {
    if (soundOnly === this.#soundOnly) return;
    this.#soundOnly = soundOnly;
    this.emit('soundOnly', soundOnly);
  }

  #showLayers(layers: readonly VideoLayer[]): void {
    if (layers.length === 0 && this.#layers.length === 0) return;
    this.#layers = layers;
    this.emit('layers', layers);
  }

  /** Plays from `url` before it stops playing from where it does, so that nothing is missed. */
  async #move(url: string | null): Promise<void> {
    this.#url = url ?? this.#url;
    if (this.#moving) return;
    this.#moving = true;
    for (let tries = 0; tries < MOVE_TRIES && this.#keeper.session !== null; tries += 1) {
      const moved = await this.#keeper.handOver((signal) => this.#open(signal), mediaArrival);
      if (moved) {
        this.emit('moved', undefined);
        break;
      }
      // Until it works, or until the server ends this session and a new one is made as after any loss.
      await new Promise((resolve) => setTimeout(resolve, MOVE_RETRY_MS * (1 + Math.random())));
    }
    this.#moving = false;
  }

  #mediaFlows(): void {
    if (this.#mediaCame) return;
    this.#mediaCame = true;
    this.#mediaEverCame = true;
    this.#update();
  }

  #flowed(flow: Flow): void {
    if (flow === this.#flow) return;
    this.#flow = flow;
    this.emit('flow', flow);
    this.#update();
  }

  /**
   * A publisher that vanished leaves a stream that can be joined for a while although nothing comes. Silence is waited out
   * for as long as the session stands: how long a publisher may be away is configured at the server, which ends the
   * session after that; and a server that has forgotten it no longer answers for the path.
   */
  #connectedState(): PlayerState {
    if (!this.#mediaCame) return this.#mediaEverCame ? 'stalled' : 'connecting';
    return this.#flow === 'silent' || this.#offAir ? 'stalled' : 'playing';
  }

  #update(): void {
    const keeper = this.#keeper.state;
    // What comes after a stream that was off air is a beginning, not the end of a pause.
    if (keeper === 'waiting') this.#mediaEverCame = false;
    if (this.#keeper.session === null) {
      this.#sampler?.stop();
      this.#flow = 'flowing';
      this.#deafen();
      this.#choice.adopt(null);
    }
    const state = keeper === 'connected' ? this.#connectedState() : PLAYER_STATES[keeper];
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', state);
  }
}

/** Tells every receiver how long to hold media back; a browser that cannot be told goes on as it was. */
function hold(connection: RTCPeerConnection, targetMs: number | null): void {
  for (const receiver of connection.getReceivers()) {
    if ('jitterBufferTarget' in receiver && receiver.jitterBufferTarget !== targetMs) {
      receiver.jitterBufferTarget = targetMs;
    }
  }
}

const PLAYER_STATES: Record<Exclude<SessionKeeper['state'], 'connected'>, PlayerState> = {
  idle: 'idle',
  connecting: 'connecting',
  waiting: 'waiting',
  interrupted: 'reconnecting',
  reconnecting: 'reconnecting',
  failed: 'failed',
  closed: 'closed',
};
