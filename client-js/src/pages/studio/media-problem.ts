/** Why there is no camera or microphone, in words that say what to do. */

/** What the stage shows instead of a picture. */
export interface MediaProblem {
  readonly headline: string;
  readonly detail: string;
  /** Caption of the button that asks again, or `null` where asking again cannot help. */
  readonly action: string | null;
}

/** Explains what `getUserMedia` threw; `secure` is whether the page may use devices at all. */
export function describeMediaProblem(error: unknown, secure: boolean): MediaProblem {
  if (!secure) {
    return {
      headline: 'This page needs HTTPS',
      detail:
        'Browsers hand out cameras and microphones only to pages on HTTPS or on this very computer (localhost).',
      action: null,
    };
  }
  switch ((error as { name?: string } | null)?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return {
        headline: 'Camera and microphone are blocked',
        detail: 'Click the camera or lock sign beside the address, allow both for this page, and try again.',
        action: 'Try again',
      };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return {
        headline: 'No camera or microphone found',
        detail: 'Plug one in and try again, or choose “Screen” below to share your screen.',
        action: 'Try again',
      };
    case 'NotReadableError':
    case 'AbortError':
      return {
        headline: 'The camera is busy',
        detail: 'Another program seems to be using it. Close that program and try again.',
        action: 'Try again',
      };
    default:
      return {
        headline: 'The camera could not be started',
        detail: `The browser says: ${(error as { message?: string } | null)?.message || 'nothing more'}.`,
        action: 'Try again',
      };
  }
}

/** Whether `error` only means that one of the two devices is missing, so that the other is worth asking for alone. */
export function isMissingDevice(error: unknown): boolean {
  const name = (error as { name?: string } | null)?.name;
  return name === 'NotFoundError' || name === 'OverconstrainedError';
}
