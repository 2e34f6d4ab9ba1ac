/** The menu from which a person chooses the picture's quality. */

import { icon } from '../icons.ts';
import type { VideoLayer } from '../player/video-layer.ts';
import { formatBitrate } from '../stats/format.ts';

/** One entry of the menu. */
export interface QualityChoice {
  /** Of the layer; `null` lets the server choose. */
  readonly id: string | null;
  readonly name: string;
  /** What it takes of the network; empty where that depends. */
  readonly detail: string;
  readonly chosen: boolean;
}

/** What a menu is made from. */
export interface QualitySituation {
  readonly layers: readonly VideoLayer[];
  readonly selected: string | null;
  /** Lines of the picture that is shown; 0 without one. */
  readonly shownHeight: number;
}

/** The entries, automatic first; none where there is nothing to choose. */
export function qualityChoices({ layers, selected, shownHeight }: QualitySituation): QualityChoice[] {
  if (layers.length < 2) return [];
  const now = selected === null && shownHeight > 0 ? `now ${shownHeight}p` : '';
  const automatic = { id: null, name: 'Auto', detail: now, chosen: selected === null };
  return [automatic, ...layers.map((layer, index) => choiceOf(layer, index, layers.length, selected))];
}

function choiceOf(layer: VideoLayer, index: number, count: number, selected: string | null): QualityChoice {
  const { id, bitrateBps } = layer;
  return {
    id,
    name: nameOf(layer, index, count),
    detail: formatBitrate(bitrateBps),
    chosen: id === selected,
  };
}

function nameOf({ width, height, temporalLayerId }: VideoLayer, index: number, count: number): string {
  const place = index === 0 ? 'first' : index === count - 1 ? 'last' : 'between';
  if (temporalLayerId !== null)
    return { first: 'Smooth', between: 'Less smooth', last: 'Least smooth' }[place];
  if (height === null) return { first: 'Best', between: 'Medium', last: 'Lowest' }[place];
  // Of a picture that is held upright, its width is what people call it by.
  return `${Math.min(height, width ?? height)}p`;
}

/** What the button says: the choice, in as few letters as there are. */
export function qualityLabel(choices: readonly QualityChoice[]): string {
  return choices.find(({ chosen }) => chosen)?.name ?? 'Auto';
}

/** A button that opens a list; tells what was chosen. */
export class QualityMenu {
  readonly element = document.createElement('div');
  readonly #button = document.createElement('button');
  readonly #caption = document.createElement('span');
  readonly #list = document.createElement('div');
  readonly #choose: (id: string | null) => void;
  #drawn = '';
  #open = false;
  #redrawing = false;

  constructor(choose: (id: string | null) => void) {
    this.#choose = choose;
    this.element.className = 'quality';
    this.element.hidden = true;
    this.#button.type = 'button';
    this.#button.className = 'quality-button';
    this.#button.append(icon('quality'), this.#caption);
    this.#button.setAttribute('aria-haspopup', 'menu');
    this.#list.className = 'menu';
    this.#list.setAttribute('role', 'menu');
    this.#list.ariaLabel = 'Quality';
    this.#setOpen(false);
    this.#button.addEventListener('click', () => this.#setOpen(!this.#open));
    this.element.addEventListener('keydown', (event) => this.#key(event));
    this.element.addEventListener('focusout', (event) => {
      const inside = this.element.contains(event.relatedTarget as Node | null);
      if (!inside && !this.#redrawing) this.#setOpen(false);
    });
    this.element.append(this.#list, this.#button);
  }

  /** Shows these entries; the menu is gone where there are none. */
  show(choices: readonly QualityChoice[]): void {
    const drawn = JSON.stringify(choices);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    this.element.hidden = choices.length === 0;
    if (choices.length === 0) this.#setOpen(false);
    const label = qualityLabel(choices);
    this.#caption.textContent = label;
    this.#button.ariaLabel = `Quality: ${label}`;
    this.#button.title = 'Quality';
    this.#draw(choices);
  }

  /** Entries that stay are changed where they are: a pointer or the focus may be on them. */
  #draw(choices: readonly QualityChoice[]): void {
    const known = new Map(this.#items().map((item) => [item.dataset.layer, item]));
    const items = choices.map((choice) => {
      const item = known.get(choice.id ?? '') ?? this.#item(choice.id);
      const [title, figure] = item.querySelectorAll('b, i');
      if (title !== undefined) title.textContent = choice.name;
      if (figure !== undefined) figure.textContent = choice.detail;
      item.ariaChecked = String(choice.chosen);
      return item;
    });
    const here = this.#items();
    if (items.length === here.length && items.every((item, index) => item === here[index])) return;
    const focused = here.find((item) => item.matches(':focus'));
    this.#redrawing = true;
    this.#list.replaceChildren(...items);
    this.#redrawing = false;
    if (this.#open && focused !== undefined) (items.includes(focused) ? focused : items[0])?.focus();
  }

  #item(id: string | null): HTMLButtonElement {
    const item = document.createElement('button');
    item.type = 'button';
    item.setAttribute('role', 'menuitemradio');
    item.dataset.layer = id ?? '';
    item.append(icon('check'), document.createElement('b'), document.createElement('i'));
    item.addEventListener('click', () => {
      this.#choose(id);
      this.#setOpen(false);
      this.#button.focus();
    });
    return item;
  }

  #items(): HTMLButtonElement[] {
    return [...this.#list.querySelectorAll('button')];
  }

  #setOpen(open: boolean): void {
    this.#open = open;
    this.#list.hidden = !open;
    this.#button.ariaExpanded = String(open);
    if (open) (this.#items().find((item) => item.ariaChecked === 'true') ?? this.#items()[0])?.focus();
  }

  /** The keys of every menu (WAI-ARIA authoring practices). */
  #key(event: KeyboardEvent): void {
    if (!this.#open) return;
    const items = this.#items();
    const here = items.findIndex((item) => item.matches(':focus'));
    const goTo = (index: number) => items[(index + items.length) % items.length]?.focus();
    if (event.key === 'Escape') {
      this.#setOpen(false);
      this.#button.focus();
    } else if (event.key === 'ArrowDown') goTo(here + 1);
    else if (event.key === 'ArrowUp') goTo(here - 1);
    else if (event.key === 'Home') goTo(0);
    else if (event.key === 'End') goTo(items.length - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
