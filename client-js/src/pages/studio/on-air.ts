/** From "Go live" to "End": the publisher and all that the page says about it. */

import { DEFAULT_STREAM, endpointUrl } from '../../name.ts';
import type { VideoCodec } from '../../publisher/codec-preference.ts';
import { Publisher, type PublisherState } from '../../publisher/publisher.ts';
import { formatElapsed, formatViewers } from '../../stats/format.ts';
import { describeHealth } from '../../stats/health.ts';
import type { PublishSample } from '../../stats/publish-sample.ts';
import { TokenForm } from '../access/token-form.ts';
import { TokenStore } from '../access/token-store.ts';
import type { PageAddress } from '../address.ts';
import { byId, setText } from '../dom.ts';
import { fetchRoom, pollRooms } from '../rooms.ts';
import { OnAirMark } from './on-air-mark.ts';
import { describePublishProblem, type PublishProblem } from './publish-problem.ts';
import type { Stage } from './stage.ts';

/** What is to be sent, asked for at the moment of going live. */
export interface OnAirSource {
  readonly tracks: () => MediaStreamTrack[];
  readonly codec: () => VideoCodec;
  /** Settings that are fixed while live. */
  readonly lock: (locked: boolean) => void;
}

/** Bound to the page's elements; makes a new {@link Publisher} for each broadcast. */
export class OnAir {
  readonly #button = byId<HTMLButtonElement>('golive');
  readonly #mark = new OnAirMark();
  readonly #tokens: TokenStore;
  readonly #tokenForm: TokenForm;
  #publisher: Publisher | null = null;
  #state: PublisherState = 'idle';
  #startedMs: number | null = null;
  #ready = false;
  /** The server still holds our previous session under our name. */
  #ghost = false;

  constructor(
    private readonly address: PageAddress,
    private readonly stage: Stage,
    private readonly source: OnAirSource,
  ) {
    this.#button.addEventListener('click', () => (this.#busy() ? this.#end() : this.#begin()));
    setInterval(() => this.#showClock(), 250);
    this.#tokens = new TokenStore('publish', address.room);
    this.#tokenForm = new TokenForm(byId('token'), 'publish', (token) => {
      this.#tokens.keep(token);
      askAgain();
      this.#begin();
    });
    const askAgain = pollRooms(
      () => fetchRoom(address.room, this.#tokens.token),
      (room) => {
        byId('viewers').hidden = !room?.live;
        if (room?.live) setText(byId('viewers-text'), formatViewers(room.viewers));
      },
    );
    addEventListener('beforeunload', (event) => {
      if (this.#busy()) event.preventDefault();
    });
  }

  /** Whether there is anything to send. */
  setReady(ready: boolean): void {
    this.#ready = ready;
    this.#render();
  }

  /** Sends `track` from now on. */
  setTrack(kind: 'audio' | 'video', track: MediaStreamTrack | null): void {
    void this.#publisher?.setTrack(kind, track);
  }

  #busy(): boolean {
    return this.#state === 'connecting' || this.#state === 'live' || this.#state === 'reconnecting';
  }

  #begin(): void {
    const { room, stream, transport } = this.address;
    const url = endpointUrl(location.origin, 'whip', room, stream || DEFAULT_STREAM);
    const resumes = this.#mark.read() === url;
    const { token } = this.#tokens;
    const publisher = new Publisher({
      url,
      codec: this.source.codec(),
      transport,
      resumes,
      ...(token === null ? {} : { token }),
    });
    this.#publisher = publisher;
    this.#startedMs = null;
    this.#showProblem(null);
    this.#tokenForm.hide();
    publisher.on('state', (state) => {
      this.#state = state;
      if (state === 'live') {
        this.#startedMs ??= Date.now();
        this.#mark.set(url);
      } else if (state === 'ended' || state === 'failed') this.#mark.clear();
      this.#render();
    });
    publisher.on('stats', (sample) => this.#showHealth(sample));
    publisher.on('failure', ({ failure, retryMs }) => {
      if (failure.kind === 'unauthorized') this.#tokenForm.ask(failure.status, token !== null);
      else if (retryMs === null) this.#showProblem(describePublishProblem(failure));
      this.#ghost = failure.kind === 'taken' && retryMs !== null;
      this.#render();
    });
    publisher.start(new MediaStream(this.source.tracks()));
  }

  #end(): void {
    this.#publisher?.stop();
    this.#publisher = null;
  }

  #render(): void {
    const state = this.#state;
    const busy = this.#busy();
    document.body.dataset.state = state;
    this.#button.disabled = !busy && !this.#ready;
    this.#button.classList.toggle('live', busy && state !== 'connecting');
    this.#button.classList.toggle('primary', !busy);
    setText(this.#button, state === 'connecting' ? 'Cancel' : busy ? 'End broadcast' : 'Go live');
    this.source.lock(busy);
    this.stage.showOnAir(state === 'live' || state === 'reconnecting');
    byId('clock').hidden = !busy || this.#startedMs === null;
    this.#showClock();
    if (state === 'connecting') this.#say('starting', 'Going live…', '');
    else if (state === 'reconnecting') {
      const summary = this.#ghost ? 'Waiting for the previous session to end…' : 'Reconnecting…';
      this.#say('weak', summary, 'Viewers wait and go on by themselves.');
    } else if (state === 'live') this.#say('starting', 'Starting…', '');
    else this.#say('off', this.#ready ? 'Off air' : 'Off air – turn something on to go live', '');
  }

  #showClock(): void {
    if (this.#startedMs !== null && this.#busy())
      setText(byId('elapsed'), formatElapsed(Date.now() - this.#startedMs));
  }

  #showHealth(sample: PublishSample): void {
    if (this.#state !== 'live') return;
    const health = describeHealth(sample);
    this.#say(health.level, health.summary, health.advice ?? '');
  }

  #say(level: string, summary: string, advice: string): void {
    byId('health').dataset.level = level;
    setText(byId('health-summary'), summary);
    setText(byId('health-advice'), advice);
  }

  #showProblem(problem: PublishProblem | null): void {
    byId('problem').hidden = problem === null;
    setText(byId('problem-headline'), problem?.headline ?? '');
    setText(byId('problem-detail'), problem?.detail ?? '');
  }
}
