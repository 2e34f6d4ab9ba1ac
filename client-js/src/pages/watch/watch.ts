/** The page on which people watch. */

import { fillIcons } from '../../icons.ts';
import { DEFAULT_STREAM } from '../../name.ts';
import type { PlayerEvents, PlayerState } from '../../player/player.ts';
import { type AforoPlayerElement, defineAforoPlayer } from '../../player-element/aforo-player.ts';
import { formatViewers } from '../../stats/format.ts';
import type { PlaybackSample } from '../../stats/playback-sample.ts';
import { TokenForm } from '../access/token-form.ts';
import { TokenStore } from '../access/token-store.ts';
import { type PageAddress, pageAddress } from '../address.ts';
import { byId, make, setText } from '../dom.ts';
import { fetchRoom, pollRooms } from '../rooms.ts';
import { statLines } from './stat-lines.ts';

/** How long the share button says that it did. */
const CONFIRM_MS = 1_800;

function showPlayer({ room, stream, transport }: PageAddress, token: string | null): AforoPlayerElement {
  const name = stream === DEFAULT_STREAM ? room : `${room} / ${stream}`;
  document.title = `${name} · Aforo`;
  setText(byId('room-name'), room);
  setText(byId('title'), name);
  const player = byId<AforoPlayerElement>('player');
  player.setAttribute('room', room);
  player.setAttribute('stream', stream);
  player.setAttribute('transport', transport);
  if (token !== null) player.setAttribute('token', token);
  defineAforoPlayer();
  return player;
}

function showState(player: AforoPlayerElement): void {
  const badge = byId('live');
  player.addEventListener('aforo-state', (event) => {
    const state = (event as CustomEvent<PlayerState>).detail;
    document.body.dataset.state = state;
    const live = state === 'playing';
    badge.classList.toggle('on', live);
    // Whoever may not watch does not know whether it is live.
    badge.hidden = state === 'failed';
    setText(
      badge,
      live ? 'LIVE' : state === 'reconnecting' || state === 'connecting' ? 'CONNECTING' : 'OFF AIR',
    );
  });
}

/** Who plays is told how many watch; who waits asks. Returns what asks again after a refusal. */
function showViewers(player: AforoPlayerElement, room: string, tokens: TokenStore): () => void {
  let told: number | null = null;
  const show = (viewers: number | null) => {
    byId('viewers').hidden = viewers === null;
    if (viewers !== null) setText(byId('viewers-text'), formatViewers(viewers));
  };
  player.addEventListener('aforo-viewers', (event) => {
    told = (event as CustomEvent<number | null>).detail;
    if (told !== null) show(told);
  });
  return pollRooms(
    async () => (told === null ? await fetchRoom(room, tokens.token) : null),
    (answer) => {
      if (told === null) show(answer?.live ? answer.viewers : null);
    },
  );
}

/** A form takes the player's place while the server wants a token that we do not have. */
function guardRoom(player: AforoPlayerElement, tokens: TokenStore, admitted: () => void): void {
  const enter = () => {
    form.hide();
    player.hidden = false;
    player.setAttribute('token', tokens.token ?? '');
    admitted();
  };
  const form = new TokenForm(byId('token'), 'play', (token) => {
    tokens.keep(token);
    enter();
  });
  player.addEventListener('aforo-failure', (event) => {
    const { failure } = (event as CustomEvent<PlayerEvents['failure']>).detail;
    if (failure.kind !== 'unauthorized') return;
    player.hidden = true;
    form.ask(failure.status, tokens.token !== null);
  });
}

function showStats(player: AforoPlayerElement): void {
  const panel = byId('stats');
  const toggle = byId('stats-toggle');
  let sample: PlaybackSample | null = null;
  let firstFrameMs: number | null = null;
  const render = () => {
    if (panel.hidden) return;
    const rows = statLines(sample, firstFrameMs).map(({ caption, figure, small }) =>
      make('div', '', make('dt', '', caption), make('dd', small ? 'small' : '', figure)),
    );
    byId('stats-list').replaceChildren(...rows);
  };
  toggle.addEventListener('click', () => {
    panel.hidden = !panel.hidden;
    toggle.setAttribute('aria-expanded', String(!panel.hidden));
    render();
    if (!panel.hidden) panel.scrollIntoView({ block: 'nearest' });
  });
  player.addEventListener('aforo-stats', (event) => {
    sample = (event as CustomEvent<PlaybackSample>).detail;
    render();
  });
  player.addEventListener('aforo-firstframe', (event) => {
    firstFrameMs = (event as CustomEvent<PlayerEvents['firstframe']>).detail.elapsedMs;
    render();
  });
  player.addEventListener('aforo-state', (event) => {
    // Old figures beside "not live" would be a lie.
    if ((event as CustomEvent<PlayerState>).detail !== 'waiting') return;
    sample = null;
    firstFrameMs = null;
    render();
  });
}

function setUpShare(): void {
  const caption = byId('share-text');
  let timer: ReturnType<typeof setTimeout> | undefined;
  byId('share').addEventListener('click', async () => {
    const copied = await navigator.clipboard.writeText(location.href).then(
      () => true,
      () => false,
    );
    setText(caption, copied ? 'Link copied' : 'Copy it from the address bar');
    clearTimeout(timer);
    timer = setTimeout(() => setText(caption, 'Copy link'), CONFIRM_MS);
  });
}

const address = pageAddress(byId('main'));
if (address !== null) {
  fillIcons(document);
  const player = byId<AforoPlayerElement>('player');
  // The listeners come first: the player starts as soon as its tag is known.
  showState(player);
  showStats(player);
  const tokens = new TokenStore('play', address.room);
  guardRoom(player, tokens, () => askForViewers());
  showPlayer(address, tokens.token);
  const askForViewers = showViewers(player, address.room, tokens);
  setUpShare();
}
