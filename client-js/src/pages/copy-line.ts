/** A line of text with a button that copies it. */

import { icon } from '../icons.ts';
import { make, setText } from './dom.ts';

/** How long the button says that it did. */
const CONFIRM_MS = 1_800;

/** Fills `host` (an element with class `copyline`) and returns what changes its text. */
export function copyLine(host: HTMLElement, what: string): (text: string) => void {
  const code = make('code');
  code.tabIndex = 0;
  const caption = make('span', '', 'Copy');
  const button = make('button');
  button.type = 'button';
  button.ariaLabel = `Copy ${what}`;
  button.append(icon('copy'), caption);
  let timer: ReturnType<typeof setTimeout> | undefined;
  button.addEventListener('click', async () => {
    const copied = await copyText(code);
    setText(caption, copied ? 'Copied' : 'Selected');
    button.classList.toggle('done', copied);
    clearTimeout(timer);
    timer = setTimeout(() => {
      setText(caption, 'Copy');
      button.classList.remove('done');
    }, CONFIRM_MS);
  });
  host.replaceChildren(code, button);
  // A break after a slash reads better than one in the middle of a word; it is not part of what is copied.
  return (text) => code.replaceChildren(...text.split(/(?<=\/)/).flatMap((part) => [part, make('wbr')]));
}

/** Copies, or selects where the page may not write to the clipboard, so that a key press does the rest. */
async function copyText(code: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(code.textContent ?? '');
    return true;
  } catch {
    getSelection()?.selectAllChildren(code);
    return false;
  }
}
