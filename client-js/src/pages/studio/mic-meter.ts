/** Listens to the microphone and moves the meter. */

import { setText } from '../dom.ts';
import { meterLevel, rootMeanSquare } from './mic-level.ts';

/** Below this for {@link QUIET_MS}, a person probably speaks into the wrong microphone. */
const QUIET_LEVEL = 0.12;
const QUIET_MS = 6_000;

/** A meter falls slower than it rises, or nobody can read it: share kept from one picture to the next. */
const FALL = 0.9;

/** Bound to the meter's element and the hint below it. */
export class MicMeter {
  #context: AudioContext | null = null;
  #source: MediaStreamAudioSourceNode | null = null;
  #analyser: AnalyserNode | null = null;
  #samples = new Float32Array(1024);
  #level = 0;
  #lastLoudMs = 0;
  #lastToldMs = 0;
  #running = false;

  constructor(
    private readonly meter: HTMLElement,
    private readonly hint: HTMLElement,
  ) {}

  /** Listens to `track` instead of the one before. */
  listen(track: MediaStreamTrack | null): void {
    this.#source?.disconnect();
    this.#source = null;
    this.#lastLoudMs = performance.now();
    if (track === null) {
      this.#show(0, '');
      return;
    }
    this.#context ??= new AudioContext();
    if (this.#context.state === 'suspended') this.#resumeOnGesture(this.#context);
    this.#analyser ??= this.#makeAnalyser(this.#context);
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
    if (!this.#running) requestAnimationFrame(() => this.#tick());
    this.#running = true;
  }

  #makeAnalyser(context: AudioContext): AnalyserNode {
    const analyser = context.createAnalyser();
    analyser.fftSize = this.#samples.length;
    return analyser;
  }

  #resumeOnGesture(context: AudioContext): void {
    void context.resume();
    addEventListener('pointerdown', () => void context.resume(), { once: true });
  }

  #tick(): void {
    this.#running = this.#source !== null && this.#analyser !== null;
    if (!this.#running) return;
    this.#analyser?.getFloatTimeDomainData(this.#samples);
    this.#level = Math.max(meterLevel(rootMeanSquare(this.#samples)), this.#level * FALL);
    const nowMs = performance.now();
    const muted = !(this.#source?.mediaStream.getAudioTracks()[0]?.enabled ?? true);
    // A context that the browser holds back hears nothing, whatever the microphone does.
    const deaf = this.#context?.state !== 'running';
    if (this.#level > QUIET_LEVEL || muted || deaf) this.#lastLoudMs = nowMs;
    const quiet = nowMs - this.#lastLoudMs > QUIET_MS;
    this.#show(this.#level, muted ? 'Muted' : quiet ? 'Nothing to hear. Is it the right microphone?' : '');
    requestAnimationFrame(() => this.#tick());
  }

  #show(level: number, hint: string): void {
    this.meter.style.setProperty('--level', `${(level * 100).toFixed(1)}%`);
    setText(this.hint, hint);
    // A screen reader that asks gets a number; four a second are enough.
    const nowMs = performance.now();
    if (nowMs - this.#lastToldMs < 250) return;
    this.#lastToldMs = nowMs;
    this.meter.ariaValueNow = String(Math.round(level * 100));
  }
}
