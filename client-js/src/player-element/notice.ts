/** What the player says over the picture when there is none, or when it stands still. */

import type { PlayerState } from '../player/player.ts';
import type { FailureKind } from '../session/failure.ts';

/** A headline, a sentence, and how it looks. */
export interface Notice {
  readonly headline: string;
  readonly detail: string;
  /** `busy` turns a wheel, `calm` waits, `error` offers to try again. */
  readonly mood: 'busy' | 'calm' | 'error';
}

/** What a notice depends on. */
export interface NoticeSituation {
  readonly state: PlayerState;
  /** Whether this session has shown a frame, and whether any session has. */
  readonly shown: boolean;
  readonly everShown: boolean;
  /** Whether media comes but no picture does. */
  readonly pictureless: boolean;
  /** Whether the server sends sound alone, as the network here carries no picture. */
  readonly soundOnly?: boolean;
  readonly failure: { readonly kind: FailureKind; readonly message: string } | null;
}

/** The notice for a situation, or `null` when the picture speaks for itself. */
export function noticeFor({
  state,
  shown,
  everShown,
  pictureless,
  soundOnly,
  failure,
}: NoticeSituation): Notice | null {
  switch (state) {
    case 'idle':
    case 'closed':
      return { headline: 'Stopped', detail: 'Nothing is being played.', mood: 'calm' };
    case 'connecting':
      return { headline: 'Connecting…', detail: '', mood: 'busy' };
    case 'waiting':
      return everShown
        ? {
            headline: 'Off air for now',
            detail: 'If the broadcast comes back, it plays here by itself.',
            mood: 'calm',
          }
        : {
            headline: 'Not live yet',
            detail: 'It starts here by itself as soon as the broadcast begins.',
            mood: 'calm',
          };
    case 'playing':
      if (soundOnly === true)
        return {
          headline: 'Sound only',
          detail: 'Your network is too slow for the picture. It comes back by itself.',
          mood: 'calm',
        };
      if (shown) return null;
      return pictureless
        ? { headline: 'No picture so far', detail: 'It appears here as soon as there is one.', mood: 'calm' }
        : { headline: 'Almost there…', detail: 'Waiting for the first picture.', mood: 'busy' };
    case 'stalled':
      return {
        headline: 'The broadcast has paused or ended',
        detail: 'If it goes on, it plays on here by itself.',
        mood: 'calm',
      };
    case 'reconnecting':
      return { headline: 'Reconnecting…', detail: reconnectDetail(failure?.kind), mood: 'busy' };
    case 'failed':
      return failureNotice(failure);
  }
}

function reconnectDetail(kind: FailureKind | undefined): string {
  if (kind === 'overloaded') return 'The server is full at the moment.';
  if (kind === 'unreachable') return 'The server cannot be reached. Check your network.';
  return 'The connection broke.';
}

function failureNotice(failure: NoticeSituation['failure']): Notice {
  switch (failure?.kind) {
    case 'no-common-codec':
      return {
        headline: 'This browser cannot play it',
        detail: 'The broadcast uses a video format that is missing here. Another browser may have it.',
        mood: 'error',
      };
    case 'unauthorized':
      return { headline: 'No access', detail: 'You need an invitation to watch this.', mood: 'error' };
    default:
      return { headline: 'This cannot be played', detail: sentence(failure?.message ?? ''), mood: 'error' };
  }
}

/** A server's remark as a sentence. */
function sentence(text: string): string {
  if (text === '') return 'The server gave no reason.';
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
