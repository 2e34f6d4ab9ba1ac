/** What the token form says. */

import type { TokenUse } from './token-store.ts';

/** A headline, where tokens come from, and the button. */
export interface TokenWords {
  readonly headline: string;
  readonly detail: string;
  readonly action: string;
}

/** The words for each use. */
export const TOKEN_WORDS: Record<TokenUse, TokenWords> = {
  publish: {
    headline: 'Going live here needs a token',
    detail: 'Whoever runs this server gives it to you. It stays in this tab.',
    action: 'Continue',
  },
  play: {
    headline: 'This room is private',
    detail: 'Paste the access token that came with your invitation. It stays in this tab.',
    action: 'Watch',
  },
  list: {
    headline: 'The rooms here are private',
    detail: 'With an access token you see who is live. It stays in this tab.',
    action: 'Show rooms',
  },
};

/** What was wrong with a token that the server refused with `status`; empty when none was sent. */
export function tokenProblem(use: TokenUse, status: number | null, sent: boolean): string {
  if (!sent) return '';
  if (status !== 403) return 'The server does not know this token. Did you paste all of it?';
  return use === 'publish'
    ? 'This token is for watching, not for going live.'
    : 'This token is for going live, not for watching.';
}
