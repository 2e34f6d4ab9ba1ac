/** `<aforo-player>`: a player for any page, in one tag. */

import { DEFAULT_STREAM, endpointUrl } from '../name.ts';
import { Player } from '../player/player.ts';
import type { TokenSource } from '../session/bearer.ts';
import type { SessionFailure } from '../session/failure.ts';
import type { TransportChoice } from '../session/sdp.ts';
import type { Flow } from '../stats/stall.ts';
import { noticeFor } from './notice.ts';
import { qualityChoices } from './quality-menu.ts';
import { PlayerView } from './view.ts';

/**
 * Attributes: `src` (a WHEP endpoint), or `room` and optionally `stream` on `server` (this page's own unless given);
 * `token`; `transport` (`any`, `udp`, `tcp`). A change of any starts it anew; leaving the document stops it.
 *
 * Events: `aforo-state`, `aforo-stats`, `aforo-firstframe`, `aforo-layers`, `aforo-viewers`, `aforo-moved` and
 * `aforo-failure`, each with the payload of the event of
 * {@link Player} as its `detail`. The sound is off until a person turns it on, because browsers play nothing else
 * unasked. `--aforo-accent`, `--aforo-live` and `--aforo-radius` fit it to the page.
 */
export class AforoPlayerElement extends HTMLElement {
  static readonly observedAttributes = ['src', 'room', 'stream', 'server', 'token', 'transport'];

  readonly #view: PlayerView;
  #player: Player | null = null;
  #shown = false;
  #everShown = false;
  #failure: SessionFailure | null = null;
  #flow: Flow = 'flowing';
  #soundWanted = false;
  #inWindow = false;
  #placed = false;
  #token: TokenSource | null = null;
  #restartQueued = false;

  constructor() {
    super();
    this.#view = new PlayerView(this.attachShadow({ mode: 'open' }), {
      unmute: () => this.#setMuted(false),
      toggleMute: () => this.#setMuted(!this.video.muted),
      setVolume: (volume) => this.#setVolume(volume),
      togglePictureInPicture: () => void this.#togglePictureInPicture(),
      toggleFullscreen: () => void this.#toggleFullscreen(),
      retry: () => this.#restart(),
      chooseQuality: (id) => void this.#chooseQuality(id),
    });
    this.video.addEventListener('volumechange', () => {
      this.#tellNoticed();
      this.#render();
    });
    for (const inWindow of [true, false]) {
      this.video.addEventListener(inWindow ? 'enterpictureinpicture' : 'leavepictureinpicture', () => {
        this.#inWindow = inWindow;
        this.#tellNoticed();
      });
    }
    this.video.addEventListener('resize', () => this.#showQuality());
    this.addEventListener('fullscreenchange', () =>
      this.#view.showFullscreen(document.fullscreenElement === this),
    );
    this.addEventListener('keydown', (event) => this.#key(event));
  }

  /** The video element inside, e.g. for `requestVideoFrameCallback`. */
  get video(): HTMLVideoElement {
    return this.#view.video;
  }

  /** The player at work, or `null` outside a document. */
  get player(): Player | null {
    return this.#player;
  }

  /** The `token` attribute, or a function that gets one: see {@link Player}. Set, it takes the attribute's place. */
  get token(): TokenSource | null {
    return this.#token ?? this.getAttribute('token');
  }

  set token(token: TokenSource | null) {
    this.#token = token;
    this.attributeChangedCallback();
  }

  connectedCallback(): void {
    this.#placed = true;
    this.#restart();
  }

  disconnectedCallback(): void {
    this.#placed = false;
    this.#player?.stop();
    this.#player = null;
  }

  attributeChangedCallback(): void {
    // A tag that is upgraded hears of its attributes before it hears that it is in a document.
    if (!this.#placed || this.#restartQueued) return;
    // Several attributes set in a row are one change.
    this.#restartQueued = true;
    queueMicrotask(() => {
      this.#restartQueued = false;
      if (this.#placed) this.#restart();
    });
  }

  #restart(): void {
    this.#player?.stop();
    this.#player = null;
    this.#failure = null;
    this.#shown = false;
    const url = this.#endpoint();
    if (url === null) {
      this.#render();
      return;
    }
    const token = this.#token ?? this.getAttribute('token');
    const player = new Player({ url, transport: this.#transport(), ...(token === null ? {} : { token }) });
    this.#player = player;
    player.on('state', (state) => {
      if (state === 'playing') this.#failure = null;
      this.#changed(player, 'aforo-state', state);
    });
    player.on('stream', (stream) => this.#play(player, stream));
    player.on('stats', (sample) => this.#announce('aforo-stats', sample));
    player.on('flow', (flow) => {
      this.#flow = flow;
      this.#render();
    });
    player.on('layers', (layers) => {
      this.#showQuality();
      this.#announce('aforo-layers', layers);
    });
    player.on('soundOnly', () => this.#render());
    player.on('viewers', (viewers) => this.#announce('aforo-viewers', viewers));
    player.on('moved', () => this.#announce('aforo-moved', undefined));
    player.on('firstframe', (detail) => this.#announce('aforo-firstframe', detail));
    player.on('failure', (detail) => {
      this.#failure = detail.failure;
      this.#changed(player, 'aforo-failure', detail);
    });
    this.#tellNoticed();
    player.start();
    this.#showQuality();
    this.#render();
  }

  #showQuality(): void {
    const { layers = [], selectedLayer = null } = this.#player ?? {};
    const shownHeight = Math.min(this.video.videoHeight, this.video.videoWidth);
    this.#view.showQuality(qualityChoices({ layers, selected: selectedLayer, shownHeight }));
  }

  async #chooseQuality(id: string | null): Promise<void> {
    const wished = this.#player?.selectLayer(id);
    this.#showQuality();
    await wished;
    this.#showQuality();
  }

  #endpoint(): string | null {
    const src = this.getAttribute('src');
    if (src !== null) return new URL(src, location.href).href;
    const room = this.getAttribute('room');
    if (room === null || room === '') return null;
    const stream = this.getAttribute('stream') || DEFAULT_STREAM;
    return endpointUrl(this.getAttribute('server') ?? location.origin, 'whep', room, stream);
  }

  #transport(): TransportChoice {
    const value = this.getAttribute('transport');
    return value === 'udp' || value === 'tcp' ? value : 'any';
  }

  #play(player: Player, stream: MediaStream): void {
    this.#shown = false;
    this.#flow = 'flowing';
    this.video.srcObject = stream;
    const first = () => {
      if (player !== this.#player || player.stream !== stream) return;
      this.#shown = true;
      this.#everShown = true;
      player.frameShown();
      this.#render();
    };
    // Sound alone has no frames, and older browsers do not tell of them: the first sign is then that the element plays.
    const tellsFrames = 'requestVideoFrameCallback' in this.video && stream.getVideoTracks().length > 0;
    if (tellsFrames) this.video.requestVideoFrameCallback(first);
    else this.video.addEventListener('playing', first, { once: true });
    void this.video.play().catch(() => {
      // Refused with sound: the person has not touched this page yet. Silent playing is always allowed.
      this.video.muted = true;
      void this.video.play().catch(() => this.#render());
    });
    this.#render();
  }

  #changed(player: Player, name: string, detail: unknown): void {
    if (player !== this.#player) return;
    this.#render();
    this.#announce(name, detail);
  }

  #announce(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #render(): void {
    const state = this.#player?.state ?? 'idle';
    const pictureless = !this.#shown && this.#flow === 'frozen';
    const soundOnly = this.#player?.soundOnly ?? false;
    const notice = noticeFor({
      state,
      shown: this.#shown,
      everShown: this.#everShown,
      pictureless,
      soundOnly,
      failure: this.#failure,
    });
    const stands = this.#shown && (state === 'stalled' || state === 'reconnecting');
    // Sound can be muted, too.
    this.#view.showNotice(notice, stands || soundOnly);
    const hasSound = (this.#player?.stream?.getAudioTracks().length ?? 0) > 0;
    const playing = notice === null || (state === 'playing' && (pictureless || soundOnly));
    this.#view.showLive(playing);
    const offer = playing && hasSound && this.video.muted && !this.#soundWanted;
    this.#view.showSound(this.video.muted, this.video.volume, offer);
  }

  /** Sound and a window of its own outlive a page that is hidden. */
  #tellNoticed(): void {
    const audible = !this.video.muted && this.video.volume > 0;
    if (this.#player !== null) this.#player.noticed = audible || this.#inWindow;
  }

  #setMuted(muted: boolean): void {
    // Whoever muted on purpose is not asked again by the large button.
    this.#soundWanted = true;
    this.video.muted = muted;
    if (!muted && this.video.volume === 0) this.video.volume = 1;
    void this.video.play().catch(() => undefined);
    this.#render();
  }

  #setVolume(volume: number): void {
    this.video.volume = volume;
    this.#soundWanted = true;
    this.video.muted = volume === 0;
  }

  async #togglePictureInPicture(): Promise<void> {
    if (document.pictureInPictureElement !== null) await document.exitPictureInPicture();
    else await this.video.requestPictureInPicture().catch(() => undefined);
  }

  async #toggleFullscreen(): Promise<void> {
    if (document.fullscreenElement === this) await document.exitFullscreen();
    else await this.requestFullscreen().catch(() => undefined);
  }

  /** The keys of every video site, while the focus is in the player. */
  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'm') this.#setMuted(!this.video.muted);
    else if (event.key === 'f') void this.#toggleFullscreen();
    else return;
    event.preventDefault();
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'aforo-player': AforoPlayerElement;
  }
}

/** Registers `<aforo-player>`; more than one call does no harm. */
export function defineAforoPlayer(): void {
  if (customElements.get('aforo-player') === undefined)
    customElements.define('aforo-player', AforoPlayerElement);
}
