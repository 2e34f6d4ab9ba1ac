/** Decides which video track goes on air: a source's own one where that is enough, else a composed one. */

import { Emitter } from '../../emitter.ts';
import { Compositor } from './compositor.ts';
import { needsComposing, type Source } from './scene.ts';

/** What a program tells. */
export interface ProgramEvents {
  /** The track that viewers should see now; `null` when the chosen source has none. */
  track: MediaStreamTrack | null;
}

/** What a program is made of. */
export interface ProgramParts {
  readonly source: Source;
  readonly camera: MediaStreamTrack | null;
  readonly screen: MediaStreamTrack | null;
  readonly title: string;
}

/** Change it with {@link set}. */
export class Program extends Emitter<ProgramEvents> {
  #parts: ProgramParts = { source: 'camera', camera: null, screen: null, title: '' };
  #compositor: Compositor | null = null;
  #track: MediaStreamTrack | null = null;

  get parts(): ProgramParts {
    return this.#parts;
  }

  /** The track on air. */
  get track(): MediaStreamTrack | null {
    return this.#track;
  }

  set(change: Partial<ProgramParts>): void {
    this.#parts = { ...this.#parts, ...change };
    const { source, camera, screen, title } = this.#parts;
    const own = source === 'camera' ? camera : screen;
    const compose = needsComposing(source, title) && (own !== null || (source === 'both' && camera !== null));
    if (compose) {
      this.#compositor ??= new Compositor();
      this.#compositor.setLayers(this.#parts);
      this.#put(this.#compositor.track);
      return;
    }
    this.#put(own);
    // After the exchange, so that the encoder never holds an ended track.
    this.#compositor?.stop();
    this.#compositor = null;
  }

  #put(track: MediaStreamTrack | null): void {
    if (track === this.#track) return;
    this.#track = track;
    this.emit('track', track);
  }
}
