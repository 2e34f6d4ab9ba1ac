/** The player's face: builds the shadow tree and shows what it is told; decides nothing. */

import { type IconName, icon } from '../icons.ts';
import type { Notice } from './notice.ts';
import css from './player.css?inline';
import { type QualityChoice, QualityMenu } from './quality-menu.ts';

/** What a person did. */
export interface ViewActions {
  readonly unmute: () => void;
  readonly toggleMute: () => void;
  readonly setVolume: (volume: number) => void;
  readonly togglePictureInPicture: () => void;
  readonly toggleFullscreen: () => void;
  readonly retry: () => void;
  /** `null` leaves the choice to the server. */
  readonly chooseQuality: (id: string | null) => void;
}

/** How long the controls stay after the last sign of a pointer. */
const QUIET_AFTER_MS = 2_800;

/** One per element; lives as long as it does. */
export class PlayerView {
  readonly video = document.createElement('video');
  readonly #frame = element('div', 'frame');
  readonly #notice = element('div', 'notice');
  readonly #headline = document.createElement('strong');
  readonly #detail = document.createElement('p');
  readonly #again: HTMLButtonElement;
  readonly #sound: HTMLButtonElement;
  readonly #badge = element('div', 'badge');
  readonly #bar = element('div', 'bar');
  readonly #mute: HTMLButtonElement;
  readonly #volume = document.createElement('input');
  readonly #quality: QualityMenu;
  readonly #pip: HTMLButtonElement;
  readonly #fullscreen: HTMLButtonElement;
  #quietTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(root: ShadowRoot, actions: ViewActions) {
    this.#again = button('again', 'Try again', actions.retry);
    this.#again.textContent = 'Try again';
    this.#sound = button('sound', 'Turn the sound on', actions.unmute, 'soundOff');
    this.#sound.append('Tap for sound');
    this.#mute = button('mute', 'Mute', actions.toggleMute, 'soundOn');
    this.#quality = new QualityMenu(actions.chooseQuality);
    this.#pip = button('pip', 'Picture in picture', actions.togglePictureInPicture, 'pictureInPicture');
    this.#fullscreen = button('fullscreen', 'Full screen', actions.toggleFullscreen, 'fullscreen');
    this.#volume.type = 'range';
    this.#volume.min = '0';
    this.#volume.max = '100';
    this.#volume.ariaLabel = 'Volume';
    this.#volume.addEventListener('input', () => actions.setVolume(Number(this.#volume.value) / 100));
    this.#assemble(root);
    this.#watchPointer();
  }

  /** Shows `notice` over the last picture (`over`) or instead of one; `null` shows the picture. */
  showNotice(notice: Notice | null, over: boolean): void {
    this.#notice.hidden = notice === null;
    // Without a picture there is nothing to mute or enlarge.
    this.#bar.hidden = notice !== null && !over;
    if (notice === null) return;
    this.#notice.className = `notice ${notice.mood}${over ? ' over' : ''}`;
    // Set only on change, so that a screen reader says it once.
    if (this.#headline.textContent !== notice.headline) this.#headline.textContent = notice.headline;
    if (this.#detail.textContent !== notice.detail) this.#detail.textContent = notice.detail;
    this.#again.hidden = notice.mood !== 'error';
  }

  showLive(live: boolean): void {
    this.#badge.hidden = !live;
  }

  /** `offer` shows the large button that turns the sound on. */
  showSound(muted: boolean, volume: number, offer: boolean): void {
    this.#sound.hidden = !offer;
    setIcon(this.#mute, muted ? 'soundOff' : 'soundOn', muted ? 'Unmute' : 'Mute');
    const percent = muted ? 0 : Math.round(volume * 100);
    this.#volume.value = String(percent);
    this.#volume.style.setProperty('--level', `${percent}%`);
  }

  showQuality(choices: readonly QualityChoice[]): void {
    this.#quality.show(choices);
  }

  showFullscreen(active: boolean): void {
    setIcon(
      this.#fullscreen,
      active ? 'fullscreenExit' : 'fullscreen',
      active ? 'Leave full screen' : 'Full screen',
    );
  }

  #assemble(root: ShadowRoot): void {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    root.adoptedStyleSheets = [sheet];
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.muted = true;
    this.#notice.setAttribute('role', 'status');
    this.#notice.append(element('div', 'mark'), this.#headline, this.#detail, this.#again);
    this.#badge.textContent = 'LIVE';
    this.#badge.hidden = true;
    this.#sound.hidden = true;
    this.#pip.hidden = !document.pictureInPictureEnabled;
    this.#fullscreen.hidden = !document.fullscreenEnabled;
    const [gap, quality] = [element('span', 'gap'), this.#quality.element];
    this.#bar.append(this.#mute, this.#volume, gap, quality, this.#pip, this.#fullscreen);
    this.#frame.append(this.video, this.#notice, this.#sound, this.#badge, this.#bar);
    root.append(this.#frame);
  }

  #watchPointer(): void {
    const stir = () => {
      this.#frame.classList.remove('quiet');
      clearTimeout(this.#quietTimer);
      this.#quietTimer = setTimeout(() => this.#frame.classList.add('quiet'), QUIET_AFTER_MS);
    };
    for (const name of ['pointermove', 'pointerdown', 'keydown'] as const)
      this.#frame.addEventListener(name, stir);
    stir();
  }
}

function element(tag: 'div' | 'span', className: string): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

function button(className: string, label: string, action: () => void, name?: IconName): HTMLButtonElement {
  const made = document.createElement('button');
  made.type = 'button';
  made.className = className;
  if (name !== undefined) setIcon(made, name, label);
  else made.ariaLabel = label;
  made.addEventListener('click', action);
  return made;
}

function setIcon(target: HTMLButtonElement, name: IconName, label: string): void {
  if (target.dataset.shown === name) return;
  target.dataset.shown = name;
  target.querySelector('.icon')?.remove();
  target.prepend(icon(name));
  target.ariaLabel = label;
  target.title = label;
}
