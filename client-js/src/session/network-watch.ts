/** Tells when the browser says that its network came back or changed. */

import type { Unsubscribe } from '../emitter.ts';

/** `navigator.connection` (Network Information), where there is one. */
type WithConnection = Navigator & { readonly connection?: EventTarget };

/** Calls `changed` on each change until unsubscribed. */
export function watchNetwork(changed: () => void): Unsubscribe {
  const sources: Array<[EventTarget, string]> = [[window, 'online']];
  const connection = (navigator as WithConnection).connection;
  if (connection !== undefined) sources.push([connection, 'typechange']);
  for (const [target, name] of sources) target.addEventListener(name, changed);
  return () => {
    for (const [target, name] of sources) target.removeEventListener(name, changed);
  };
}

/**
 * Calls `leaving` when the page goes away, and `returned` when the browser brings it back out of its back-forward
 * cache.
 */
export function watchPage(leaving: () => void, returned: () => void): Unsubscribe {
  const shown = (event: PageTransitionEvent) => {
    if (event.persisted) returned();
  };
  window.addEventListener('pagehide', leaving);
  window.addEventListener('pageshow', shown);
  return () => {
    window.removeEventListener('pagehide', leaving);
    window.removeEventListener('pageshow', shown);
  };
}
