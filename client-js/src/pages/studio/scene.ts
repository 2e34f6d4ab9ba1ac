/** Where things go in the composed picture. Pure geometry, in pixels of the canvas. */

/** What viewers see. */
export type Source = 'camera' | 'screen' | 'both';

/** A size in pixels. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** A size at a place. */
export interface Rect extends Size {
  readonly x: number;
  readonly y: number;
}

/** Size of every composed picture. */
export const CANVAS: Size = { width: 1280, height: 720 };

/** The whole canvas. */
export const FULL: Rect = { x: 0, y: 0, ...CANVAS };

/** Distance of the camera's inset and of the title from the edge: inside what any screen shows. */
export const MARGIN = 36;

/** Share of the width that the camera takes beside a screen: a face stays readable, the screen too. */
const INSET_SHARE = 0.24;

/** The largest part of `from` with the shape of `to`, from its middle: fills `to` without bars. */
export function coverCrop(from: Size, to: Size): Rect {
  const scale = Math.min(from.width / to.width, from.height / to.height);
  const width = to.width * scale;
  const height = to.height * scale;
  return { x: (from.width - width) / 2, y: (from.height - height) / 2, width, height };
}

/** The largest place for all of `from` inside `to`, in its middle: shows everything, with bars. */
export function containFit(from: Size, to: Rect): Rect {
  const scale = Math.min(to.width / from.width, to.height / from.height);
  const width = from.width * scale;
  const height = from.height * scale;
  return { x: to.x + (to.width - width) / 2, y: to.y + (to.height - height) / 2, width, height };
}

/** The camera's place beside a screen: the lower right corner. */
export function insetRect(): Rect {
  const width = Math.round(CANVAS.width * INSET_SHARE);
  const height = Math.round((width * 9) / 16);
  return { x: CANVAS.width - MARGIN - width, y: CANVAS.height - MARGIN - height, width, height };
}

/** Whether a picture must be composed at all: one source without a title goes out untouched, at no cost. */
export function needsComposing(source: Source, title: string): boolean {
  return source === 'both' || title.trim() !== '';
}
