/** The first page: what is live, a form that opens a room, and lines for other programs. */

import { DEFAULT_STREAM, endpointUrl, NAME_RULE, nameProblem } from '../../name.ts';
import { formatViewers } from '../../stats/format.ts';
import { TokenForm } from '../access/token-form.ts';
import { TokenStore } from '../access/token-store.ts';
import { copyLine } from '../copy-line.ts';
import { byId, make, setText } from '../dom.ts';
import { fetchRooms, pollRooms, type RoomSummary } from '../rooms.ts';
import { curlLine, ffmpegLine } from './publish-lines.ts';

/** Stands in the lines for other programs until a room is named. */
const EXAMPLE_ROOM = 'demo';

function showRooms(rooms: readonly RoomSummary[] | null): void {
  const live = (rooms ?? []).filter((room) => room.live);
  const list = byId('live-list');
  // A person may be about to click or tab through: leave what is unchanged in place.
  const wanted = JSON.stringify(live);
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...live.map(card));
  }
  setText(byId('live-count'), live.length === 0 ? '' : live.length === 1 ? '1 room' : `${live.length} rooms`);
  byId('live-empty').hidden = live.length > 0;
  const reached = rooms !== null;
  setText(byId('empty-title'), reached ? 'Nobody is live' : 'The server does not answer');
  setText(
    byId('empty-detail'),
    reached ? 'Be the first: name a room above.' : 'This list comes back by itself when it does.',
  );
}

function card(room: RoomSummary): HTMLLIElement {
  const main = room.streams.includes(DEFAULT_STREAM) ? DEFAULT_STREAM : room.streams[0];
  const title = make('a', '', room.name);
  title.href = watchPath(room.name, main);
  const made = make(
    'li',
    'card',
    make('header', '', make('span', 'badge on', 'LIVE'), make('span', '', formatViewers(room.viewers))),
    make('h3', '', title),
  );
  const others = room.streams.filter((stream) => stream !== main);
  if (others.length > 0)
    made.append(make('div', 'more', ...others.map((stream) => streamLink(room.name, stream))));
  return made;
}

function streamLink(room: string, stream: string): HTMLAnchorElement {
  const link = make('a', '', stream);
  link.href = watchPath(room, stream);
  return link;
}

function watchPath(room: string, stream: string | undefined): string {
  return stream === undefined || stream === DEFAULT_STREAM
    ? `/watch/${room}`
    : `/watch/${room}?stream=${stream}`;
}

/** Shows what is live; asks for a token where the server wants one for that. */
function showLive(): void {
  const tokens = new TokenStore('list', '');
  const showCurl = copyLine(byId('curl-line'), 'the curl line');
  showCurl(curlLine(location.origin, false));
  const enter = () => {
    form.hide();
    askAgain();
  };
  const form = new TokenForm(byId('token'), 'list', (token) => {
    tokens.keep(token);
    enter();
  });
  const askAgain = pollRooms(
    () => fetchRooms(tokens.token),
    showRooms,
    ({ status }) => {
      byId('live-empty').hidden = true;
      showCurl(curlLine(location.origin, true));
      form.ask(status, tokens.token !== null);
    },
  );
}

function setUpForm(): void {
  const input = byId<HTMLInputElement>('room-name');
  const hint = byId('room-hint');
  const lines = {
    obs: copyLine(byId('obs-line'), 'the WHIP address'),
    ffmpeg: copyLine(byId('ffmpeg-line'), 'the ffmpeg line'),
  };
  const update = (complain: boolean) => {
    const problem = nameProblem(input.value);
    const wrong = problem !== null && (complain || input.value !== '');
    input.setAttribute('aria-invalid', String(wrong));
    hint.classList.toggle('wrong', wrong);
    setText(
      hint,
      wrong ? `${problem} A name is ${NAME_RULE}.` : 'Letters, digits, “_”, “-” and “.” – up to 64 of them.',
    );
    const whip = endpointUrl(location.origin, 'whip', problem === null ? input.value : EXAMPLE_ROOM);
    lines.obs(whip);
    lines.ffmpeg(ffmpegLine(whip));
    return problem === null;
  };
  input.addEventListener('input', () => update(false));
  byId<HTMLFormElement>('room-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const page = (event.submitter as HTMLButtonElement | null)?.value === 'watch' ? 'watch' : 'studio';
    if (update(true)) location.href = `/${page}/${input.value}`;
    else input.focus();
  });
  update(false);
}

setUpForm();
showLive();
