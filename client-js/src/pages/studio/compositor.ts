/** Draws camera, screen and title into one picture, thirty times a second. */

import { type FrameSink, frameSink } from './frame-sink.ts';
import { CANVAS, containFit, coverCrop, FULL, insetRect, MARGIN, type Rect, type Source } from './scene.ts';
import TickerWorker from './ticker.worker.ts?worker';

const FRAMES_PER_SECOND = 30;

/** What to draw. */
export interface Layers {
  readonly source: Source;
  readonly camera: MediaStreamTrack | null;
  readonly screen: MediaStreamTrack | null;
  readonly title: string;
}

/** Runs from its making until {@link stop}. */
export class Compositor {
  readonly #context: CanvasRenderingContext2D;
  readonly #sink: FrameSink;
  readonly #ticker = new TickerWorker();
  readonly #camera = trackVideo();
  readonly #screen = trackVideo();
  #layers: Layers = { source: 'camera', camera: null, screen: null, title: '' };

  constructor() {
    const canvas = document.createElement('canvas');
    canvas.width = CANVAS.width;
    canvas.height = CANVAS.height;
    // Every frame is read back for the encoder, so it is best drawn where it will be read.
    const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
    if (context === null) throw new Error('this browser cannot draw');
    this.#context = context;
    this.#sink = frameSink(canvas, FRAMES_PER_SECOND);
    this.#ticker.addEventListener('message', () => this.#draw());
    this.#ticker.postMessage(FRAMES_PER_SECOND);
  }

  /** The composed picture. */
  get track(): MediaStreamTrack {
    return this.#sink.track;
  }

  setLayers(layers: Layers): void {
    this.#layers = layers;
    showTrack(this.#camera, layers.camera);
    showTrack(this.#screen, layers.screen);
    this.#draw();
  }

  stop(): void {
    this.#ticker.terminate();
    this.#sink.stop();
    showTrack(this.#camera, null);
    showTrack(this.#screen, null);
  }

  #draw(): void {
    const { source, title } = this.#layers;
    this.#context.fillStyle = '#0b0d10';
    this.#context.fillRect(0, 0, CANVAS.width, CANVAS.height);
    if (source === 'camera') this.#fill(this.#camera, FULL);
    else this.#fit(this.#screen, FULL);
    if (source === 'both') this.#inset();
    if (title.trim() !== '') this.#title(title.trim());
    this.#sink.push();
  }

  #fill(video: HTMLVideoElement, to: Rect): void {
    if (!ready(video)) return;
    const crop = coverCrop({ width: video.videoWidth, height: video.videoHeight }, to);
    this.#context.drawImage(video, crop.x, crop.y, crop.width, crop.height, to.x, to.y, to.width, to.height);
  }

  #fit(video: HTMLVideoElement, inside: Rect): void {
    if (!ready(video)) return;
    const place = containFit({ width: video.videoWidth, height: video.videoHeight }, inside);
    this.#context.drawImage(video, place.x, place.y, place.width, place.height);
  }

  #inset(): void {
    if (!ready(this.#camera)) return;
    const context = this.#context;
    const place = insetRect();
    context.save();
    context.beginPath();
    context.roundRect(place.x, place.y, place.width, place.height, 14);
    context.clip();
    this.#fill(this.#camera, place);
    context.restore();
    context.strokeStyle = 'rgb(255 255 255 / 85%)';
    context.lineWidth = 3;
    context.stroke();
  }

  /** A lower third: on a plate, because the picture behind it can have any colour. */
  #title(text: string): void {
    const context = this.#context;
    context.font = '600 38px system-ui, "Segoe UI", Roboto, sans-serif';
    context.textBaseline = 'middle';
    const limit = (this.#layers.source === 'both' ? insetRect().x : CANVAS.width) - MARGIN * 2 - 56;
    const width = Math.min(context.measureText(text).width, limit);
    const y = CANVAS.height - MARGIN - 74;
    context.fillStyle = 'rgb(10 12 15 / 82%)';
    context.beginPath();
    context.roundRect(MARGIN, y, width + 56, 74, 12);
    context.fill();
    context.fillStyle = '#ffb454';
    context.fillRect(MARGIN + 18, y + 18, 5, 38);
    context.fillStyle = '#ffffff';
    context.fillText(text, MARGIN + 38, y + 39, limit);
  }
}

function trackVideo(): HTMLVideoElement {
  const video = document.createElement('video');
  video.muted = true;
  video.playsInline = true;
  return video;
}

function showTrack(video: HTMLVideoElement, track: MediaStreamTrack | null): void {
  const current = (video.srcObject as MediaStream | null)?.getVideoTracks()[0] ?? null;
  if (current === track) return;
  video.srcObject = track === null ? null : new MediaStream([track]);
  if (track !== null) void video.play().catch(() => undefined);
}

function ready(video: HTMLVideoElement): boolean {
  return (
    video.srcObject !== null && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && video.videoWidth > 0
  );
}
