/** The large picture of the studio: the program, or what has to happen before there is one. */

import { type IconName, icon } from '../../icons.ts';
import { byId, setText } from '../dom.ts';
import type { MediaProblem } from './media-problem.ts';

/** Why there is no picture. */
export type Cover =
  | { readonly kind: 'setup' }
  | { readonly kind: 'asking' }
  | { readonly kind: 'problem'; readonly problem: MediaProblem }
  /** A microphone alone. */
  | { readonly kind: 'no-camera' };

interface CoverText extends MediaProblem {
  readonly icon: IconName;
}

function coverText(cover: Cover): CoverText {
  switch (cover.kind) {
    case 'setup':
      return {
        icon: 'camera',
        headline: 'Set the scene first',
        detail:
          'Turn on your camera and microphone and see how you look. Nobody else does until you go live.',
        action: 'Turn on camera and microphone',
      };
    case 'asking':
      return {
        icon: 'camera',
        headline: 'Allow the camera and microphone',
        detail: 'Your browser is asking, at the top of this window.',
        action: null,
      };
    case 'no-camera':
      return {
        icon: 'microphone',
        headline: 'No camera found',
        detail: 'You can go live with sound alone, or choose “Screen” to share your screen.',
        action: null,
      };
    case 'problem':
      return { icon: 'camera', ...cover.problem };
  }
}

/** Bound to the page's elements. */
export class Stage {
  readonly #stage = byId('stage');
  readonly #preview = byId<HTMLVideoElement>('preview');
  readonly #badge = byId('preview-badge');
  readonly #cover = byId('cover');
  readonly #mark = byId('cover-mark');
  readonly #action = byId<HTMLButtonElement>('cover-action');

  /** `act` is called when a person presses the cover's button. */
  constructor(act: () => void) {
    this.#action.addEventListener('click', act);
  }

  /** `mirrored` for a camera alone: people know themselves from mirrors. Viewers never see it mirrored. */
  showPicture(track: MediaStreamTrack | null, mirrored: boolean): void {
    this.#stage.classList.toggle('mirrored', mirrored);
    const current = (this.#preview.srcObject as MediaStream | null)?.getVideoTracks()[0] ?? null;
    if (current === track) return;
    this.#preview.srcObject = track === null ? null : new MediaStream([track]);
    if (track !== null) void this.#preview.play().catch(() => undefined);
  }

  showCover(cover: Cover | null): void {
    this.#cover.hidden = cover === null;
    this.#badge.hidden = cover !== null;
    this.#stage.dataset.cover = cover?.kind ?? 'none';
    if (cover === null) return;
    const text = coverText(cover);
    this.#mark.replaceChildren(icon(text.icon));
    this.#mark.classList.toggle('wrong', cover.kind === 'problem');
    const headline = byId('cover-headline');
    const changed = headline.textContent !== text.headline;
    setText(headline, text.headline);
    setText(byId('cover-detail'), text.detail);
    this.#action.hidden = text.action === null;
    setText(this.#action, text.action ?? '');
    // The button that had the focus is gone: say what came instead.
    if (changed && cover.kind !== 'setup') headline.focus();
  }

  showOnAir(onAir: boolean): void {
    this.#stage.classList.toggle('onair', onAir);
    this.#badge.classList.toggle('on', onAir);
    setText(this.#badge, onAir ? 'LIVE' : 'PREVIEW');
  }
}
