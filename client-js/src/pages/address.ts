/** Reads a page's address: `/studio/{room}`, `/watch/{room}`, with `?stream=` and `?transport=`. */

import { DEFAULT_STREAM, NAME_RULE, nameProblem } from '../name.ts';
import type { TransportChoice } from '../session/sdp.ts';
import { make } from './dom.ts';

/** What a page's address says. */
export interface PageAddress {
  readonly room: string;
  readonly stream: string;
  /** `?transport=tcp` forces ICE-TCP, to see what a network without UDP gets. */
  readonly transport: TransportChoice;
}

/** A good address, or what is wrong with which name. */
export type AddressResult =
  | { readonly address: PageAddress }
  | { readonly problem: string; readonly text: string; readonly what: 'room' | 'stream' };

/** Reads `pathname` (`/studio/room`) and `search`. */
export function readAddress(pathname: string, search: string): AddressResult {
  const query = new URLSearchParams(search);
  const room = decode(pathname.split('/')[2] ?? '');
  const stream = query.get('stream') ?? DEFAULT_STREAM;
  const roomProblem = nameProblem(room);
  if (roomProblem !== null) return { problem: roomProblem, text: room, what: 'room' };
  const streamProblem = nameProblem(stream);
  if (streamProblem !== null) return { problem: streamProblem, text: stream, what: 'stream' };
  const wanted = query.get('transport');
  return { address: { room, stream, transport: wanted === 'tcp' || wanted === 'udp' ? wanted : 'any' } };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** This page's address; with a wrong name, `main` shows the rule instead of the page and the result is `null`. */
export function pageAddress(main: HTMLElement): PageAddress | null {
  const result = readAddress(location.pathname, location.search);
  if ('address' in result) return result.address;
  const given = make(
    'p',
    '',
    `You asked for the ${result.what} `,
    make('code', '', result.text || '(nothing)'),
    '.',
  );
  const back = make('a', 'button primary', 'Choose another name');
  back.href = '/';
  main.replaceChildren(
    make(
      'section',
      'wrongname',
      make('h1', '', `This cannot be a ${result.what} name`),
      given,
      make('p', '', `${result.problem} A name is ${NAME_RULE}.`),
      back,
    ),
  );
  document.title = `Not a ${result.what} name · Aforo`;
  return null;
}
