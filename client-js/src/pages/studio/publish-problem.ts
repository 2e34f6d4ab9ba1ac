/** Why a broadcast did not start or ended, in words. */

import type { SessionFailure } from '../../session/failure.ts';

/** A headline and what to do. */
export interface PublishProblem {
  readonly headline: string;
  readonly detail: string;
}

/** What a publisher is answered whose stream somebody else has now, who may. */
const TAKEN_OVER = 410;

/** Explains the failure that ended a broadcast or kept it from beginning. */
export function describePublishProblem(
  failure: Pick<SessionFailure, 'kind' | 'message'> & { readonly status?: number | null },
): PublishProblem {
  if (failure.status === TAKEN_OVER) {
    return {
      headline: 'Another studio has taken over',
      detail: 'The broadcast goes on there. Go live again only to take it back.',
    };
  }
  switch (failure.kind) {
    case 'taken':
      return {
        headline: 'This name is taken: somebody is live in this room',
        detail:
          'Wait until they end, or take another room name. If it was you a moment ago, try again in half a minute.',
      };
    case 'unauthorized':
      return {
        headline: 'You may not go live here',
        detail: 'Ask whoever runs this server for an invitation.',
      };
    case 'no-common-codec':
      return {
        headline: 'The video format was refused',
        detail: 'Choose another video format and try again.',
      };
    case 'overloaded':
      return { headline: 'The server is full', detail: 'Try again in a minute.' };
    case 'unreachable':
      return { headline: 'The server cannot be reached', detail: 'Check your network and try again.' };
    case 'lost':
      return {
        headline: 'No path for the video',
        detail: 'The server answered, but no video gets through to it. A firewall may block it.',
      };
    default:
      return { headline: 'The server refused', detail: `It says: ${failure.message}.` };
  }
}
