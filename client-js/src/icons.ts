/** The few pictograms of the pages and the player, drawn on a 24 × 24 grid with the text's colour. */

const SHAPES = {
  soundOn: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4Z M15.5 8.8a4.5 4.5 0 0 1 0 6.4 M18.3 6a8.5 8.5 0 0 1 0 12',
  soundOff: 'M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4Z M16 9.5l5 5 M21 9.5l-5 5',
  fullscreen: 'M4 9V4h5 M20 9V4h-5 M4 15v5h5 M20 15v5h-5',
  fullscreenExit: 'M9 4v5H4 M15 4v5h5 M9 20v-5H4 M15 20v-5h5',
  pictureInPicture: 'M3.5 5h17v14h-17Z M12.5 12.5h5v3.5h-5Z',
  play: 'M8 5.5v13l10.5-6.5Z',
  microphone: 'M12 3.5a3 3 0 0 1 3 3v5a3 3 0 0 1-6 0v-5a3 3 0 0 1 3-3Z M5.5 11.5a6.5 6.5 0 0 0 13 0 M12 18v3',
  microphoneOff:
    'M9 9.5v2a3 3 0 0 0 4.5 2.6 M15 11V6.5a3 3 0 0 0-5.7-1.3 M5.5 11.5a6.5 6.5 0 0 0 10 5.5 M18.5 11.5a6.4 6.4 0 0 1-.5 2.5 M12 18v3 M4 4l16 16',
  camera: 'M3.5 7h11v10h-11Z M14.5 10.5l6-3.5v10l-6-3.5',
  screen: 'M3.5 5h17v11h-17Z M9 20h6 M12 16v4',
  both: 'M3.5 5h17v14h-17Z M13 13h5v3.5h-5Z',
  copy: 'M8.5 8.5h11v11h-11Z M15.5 8.5v-4h-11v11h4',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  key: 'M12.2 11.8l8.3-8.3 M17 7l2.6 2.6 M14.2 9.8l2 2 M8.5 11.3a4.3 4.3 0 1 1 0 8.6 4.3 4.3 0 0 1 0-8.6Z',
  eye: 'M2.5 12s3.5-6.5 9.5-6.5 9.5 6.5 9.5 6.5-3.5 6.5-9.5 6.5S2.5 12 2.5 12Z M12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6Z',
  quality: 'M4 7h9 M17 7h3 M4 17h3 M11 17h9 M15 4.5v5 M9 14.5v5',
  chart: 'M4 20V4 M4 20h16 M8.5 16v-4 M13 16V8 M17.5 16v-6',
} as const;

/** Name of a pictogram. */
export type IconName = keyof typeof SHAPES;

const SVG = 'http://www.w3.org/2000/svg';

/** The pictogram as an element; decoration only, so whatever holds it needs a name of its own. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', SHAPES[name]);
  svg.append(path);
  return svg;
}

/** Puts a pictogram into every element below `root` that names one in `data-icon`. */
export function fillIcons(root: ParentNode): void {
  for (const element of root.querySelectorAll<HTMLElement>('[data-icon]')) {
    const name = element.dataset.icon;
    if (name !== undefined && name in SHAPES) element.prepend(icon(name as IconName));
  }
}
