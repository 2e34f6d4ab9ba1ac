/** The main job, end to end: a person goes live in the studio, others watch, in real browsers over the real server. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  expectMovingPicture,
  expectSound,
  framesDecoded,
  goLive,
  nextSample,
  openPage,
  pageErrors,
  pictureMoves,
  startBrowser,
  waitForState,
} from './browser.ts';
import { AES_GCM, newestCipher } from './encryption.ts';
import { type Server, startServer } from './server.ts';

let server: Server;
let browser: Browser;
let room = 0;

beforeAll(async () => {
  server = await startServer();
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});

/** Rooms are never shared between tests, so none depends on how fast another's sessions end. */
function nextRoom(): string {
  room += 1;
  return `e2e-${room}`;
}

const studio = (name: string, query = '') => openPage(browser, `${server.url}/studio/${name}${query}`);
const watch = (name: string, query = '') => openPage(browser, `${server.url}/watch/${name}${query}`);

/** Counts the connections that the page makes from now on. */
function rememberConnection(): void {
  const native = window.RTCPeerConnection;
  Object.assign(window, { connectionsMade: 0 });
  window.RTCPeerConnection = class extends native {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      (window as unknown as { connectionsMade: number }).connectionsMade += 1;
    }
  };
}

const hasSameConnection = () => (window as unknown as { connectionsMade: number }).connectionsMade === 0;

/** Leaves as a person does who closes the tab; playwright's own close would skip the page's farewell. */
async function leave(page: Page): Promise<void> {
  page.on('dialog', (dialog) => void dialog.accept());
  await page.goto('about:blank');
  await page.close();
}

test.each([
  'H264',
  'VP8',
] as const)('%s: three viewers see and hear, and play on when the publisher returns', async (codec) => {
  const name = nextRoom();
  const early = await watch(name);
  await waitForState(early, 'waiting');

  const publisher = await studio(name);
  await goLive(publisher, codec);
  expect(await publisher.evaluate(newestCipher)).toMatch(AES_GCM);
  const viewers = [early, await watch(name), await watch(name)];
  for (const viewer of viewers) {
    await waitForState(viewer, 'playing');
    await expectMovingPicture(viewer);
    await expectSound(viewer);
  }
  for (const viewer of viewers) {
    const sample = await nextSample(viewer, { videoCodec: codec });
    expect(sample.audioCodec).toBe('opus');
    expect(sample.srtpCipher).toMatch(AES_GCM);
    expect(sample.protocol).toBe('udp');
  }
  await publisher.waitForFunction(
    () => document.querySelector('#viewers-text')?.textContent === '3 watching',
  );

  for (const viewer of viewers) await viewer.evaluate(rememberConnection);
  await leave(publisher);
  for (const viewer of viewers) {
    await waitForState(viewer, 'stalled');
    await viewer.getByText('The broadcast has paused or ended').waitFor();
  }
  const returned = await studio(name);
  await goLive(returned, codec);
  for (const viewer of viewers) {
    await waitForState(viewer, 'playing');
    await expectMovingPicture(viewer);
    await expectSound(viewer);
    expect(await viewer.evaluate(hasSameConnection)).toBe(true);
  }
  expect([...viewers, returned].flatMap(pageErrors)).toEqual([]);
});

test('who waits for a broadcast offers nothing meanwhile, and is in as soon as it begins', async () => {
  const name = nextRoom();
  const viewer = await openPage(browser, 'about:blank');
  const complaints: string[] = [];
  viewer.on('console', (line) => line.type() === 'error' && complaints.push(line.text()));
  const offers: number[] = [];
  viewer.on('response', (response) => {
    if (response.request().method() === 'POST' && response.url().includes('/whep/'))
      offers.push(response.status());
  });
  let questions = 0;
  const asked = new Promise<void>((resolve) => {
    viewer.on('request', (request) => {
      if (request.url().endsWith(`/v1/rooms/${name}`) && ++questions === 6) resolve();
    });
  });
  await viewer.goto(`${server.url}/watch/${name}`);
  await waitForState(viewer, 'waiting');
  await asked;
  // The first offer does not wait for an answer that is slow to come, as it may be on a busy machine.
  const early = offers.length;
  expect(early).toBeLessThan(2);
  const publisher = await studio(name);
  await goLive(publisher, 'VP8');
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  expect(offers[early]).toBe(201);
  expect(complaints.length).toBe(early);
});

test.each(['VP9', 'AV1'] as const)('%s reaches a viewer', async (codec) => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, codec);
  const viewer = await watch(name);
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  await nextSample(viewer, { videoCodec: codec });
  expect([publisher, viewer].flatMap(pageErrors)).toEqual([]);
});

/**
 * Frames of sound that came again behind those that were there, and how the page's newest connection offered sound. Chromium
 * throws away every copy that it has no need of.
 */
async function redundancy(): Promise<{ again: number; offered: string }> {
  const kept = (window as unknown as { keptConnections: RTCPeerConnection[] }).keptConnections;
  const connection = kept[kept.length - 1];
  const reports = [...((await connection?.getStats()) ?? new Map()).values()];
  const sound = reports.find((report) => report.type === 'inbound-rtp' && report.kind === 'audio');
  const offered = connection?.localDescription?.sdp.match(/^m=audio .*$/m)?.[0] ?? '';
  return { again: sound?.packetsDiscarded ?? 0, offered };
}

test('every frame of sound reaches a viewer twice', async () => {
  const name = nextRoom();
  const viewer = await watch(name);
  await waitForState(viewer, 'waiting');
  const publisher = await studio(name);
  await goLive(publisher, 'VP8');
  await waitForState(viewer, 'playing');
  await expectSound(viewer);
  expect((await publisher.evaluate(redundancy)).offered).toMatch(/ 63 111 /);
  expect((await viewer.evaluate(redundancy)).offered).toMatch(/ 63 /);
  await expect
    .poll(async () => (await viewer.evaluate(redundancy)).again, { timeout: 20_000 })
    .toBeGreaterThan(50);
  await nextSample(viewer, { audioCodec: 'opus' });
  expect([publisher, viewer].flatMap(pageErrors)).toEqual([]);
});

test('the studio tells in plain words how the broadcast goes, and ends it', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'H264');
  await publisher.waitForFunction(() =>
    /^(Excellent|Good) · .*bit\/s, \d+ fps, no loss$/.test(
      document.querySelector('#health-summary')?.textContent ?? '',
    ),
  );
  const viewer = await watch(name);
  await waitForState(viewer, 'playing');
  // The server hears the DELETE before the connection says goodbye, and so knows that the end was meant.
  const deleted = async () => {
    const metrics = await (await fetch(`${server.admin}/metrics`)).text();
    const line = /^aforo_session_ends_total\{reason="deleted",role="publisher"\} (\d+)$/m;
    return Number(line.exec(metrics)?.[1] ?? 0);
  };
  const before = await deleted();
  await publisher.click('#golive');
  await waitForState(publisher, 'ended');
  await waitForState(viewer, 'stalled');
  await expect.poll(deleted).toBe(before + 1);
  const rooms = (await (await fetch(`${server.url}/v1/rooms`)).json()) as {
    rooms: Array<{ name: string; live: boolean }>;
  };
  expect(rooms.rooms.filter((entry) => entry.name === name && entry.live)).toEqual([]);
});

test('a title and a change of source reach the viewers without a new session', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'VP8');
  const viewer = await watch(name);
  await expectMovingPicture(viewer);
  const before = await framesDecoded(viewer);
  await publisher.fill('#title', 'Ada Lovelace');
  // The composed picture has another size than the camera's while the bitrate is still low, so size tells nothing:
  // the plate behind the title is dark where the fake camera is green.
  await viewer.waitForFunction(() => {
    const video = document.querySelector('aforo-player')?.video;
    const context = Object.assign(document.createElement('canvas'), { width: 160, height: 90 }).getContext(
      '2d',
    );
    if (!video || !context) return false;
    context.drawImage(video, 0, 0, 160, 90);
    const [red = 255, green = 255, blue = 255] = context.getImageData(5, 80, 1, 1).data;
    return red + green + blue < 150 && green < 90;
  });
  await publisher.check('input[value=both]');
  await expectMovingPicture(viewer);
  expect(await framesDecoded(viewer)).toBeGreaterThan(before);
});

test('without UDP, media flows over ICE-TCP', async () => {
  const name = nextRoom();
  const publisher = await studio(name, '?transport=tcp');
  await goLive(publisher, 'H264');
  const viewer = await watch(name, '?transport=tcp');
  await expectMovingPicture(viewer);
  await expectSound(viewer);
  expect((await nextSample(viewer)).protocol).toBe('tcp');
});

test('an ICE restart keeps the session, the picture and the sound', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'H264');
  const viewer = await watch(name);
  await expectMovingPicture(viewer);
  const before = await framesDecoded(viewer);
  const posts: string[] = [];
  viewer.on('request', (request) => request.method() === 'POST' && posts.push(request.url()));
  await viewer.evaluate(
    () =>
      new Promise<void>((resolve) => {
        document.querySelector('aforo-player')?.player?.once('restarted', resolve);
        window.dispatchEvent(new Event('online'));
      }),
  );
  await expectMovingPicture(viewer);
  await expectSound(viewer);
  expect(await framesDecoded(viewer)).toBeGreaterThan(before);
  await waitForState(viewer, 'playing');
  expect(posts).toEqual([]);
});

test('a server that crashes and returns finds its publisher and its viewers again', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'VP8');
  const viewer = await watch(name);
  await expectMovingPicture(viewer);
  await server.crashAndRestart();
  await waitForState(publisher, 'reconnecting');
  await waitForState(publisher, 'live');
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
});

test('a viewer whose publisher vanished without a word plays on when there is another', async () => {
  const name = nextRoom();
  const other = await startBrowser();
  const publisher = await openPage(other, `${server.url}/studio/${name}`);
  await goLive(publisher, 'VP8');
  const viewer = await watch(name);
  await expectMovingPicture(viewer);
  // A crashed renderer sends no DELETE and no DTLS alert: the server learns of it by some seconds without media.
  publisher.goto('chrome://crash').catch(() => undefined);
  await waitForState(viewer, 'stalled');
  await other.close();
  await viewer.evaluate(rememberConnection);
  const isLive = async () => {
    const answer = await fetch(`${server.url}/v1/rooms/${name}`);
    return ((await answer.json()) as { live: boolean }).live;
  };
  await expect.poll(isLive, { timeout: 60_000 }).toBe(false);
  await goLive(await studio(name), 'VP8');
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  expect(await viewer.evaluate(hasSameConnection)).toBe(true);
});

test('a viewer behind mDNS names connects', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'H264');
  const guarded = await startBrowser({ mdns: true });
  try {
    const viewer = await openPage(guarded, 'about:blank');
    const fragments: string[] = [];
    viewer.on(
      'request',
      (request) => request.method() === 'PATCH' && fragments.push(request.postData() ?? ''),
    );
    await viewer.goto(`${server.url}/watch/${name}`);
    await expectMovingPicture(viewer);
    expect(fragments.join('')).toContain('.local ');
  } finally {
    await guarded.close();
  }
});

test('a blocked camera is explained and can be tried again', async () => {
  const strict = await startBrowser({ blocked: true });
  try {
    const page = await openPage(strict, `${server.url}/studio/${nextRoom()}`);
    await page.click('#cover-action');
    await page.waitForSelector('#stage[data-cover=problem]');
    expect(await page.textContent('#cover-headline')).toContain('blocked');
    expect(await page.isVisible('#cover-action')).toBe(true);
    expect(await page.isDisabled('#golive')).toBe(true);
  } finally {
    await strict.close();
  }
});

test('a name that is none gets the rule', async () => {
  const answer = await fetch(`${server.url}/watch/${encodeURIComponent('two words')}`);
  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain('A-Z');
  const page = await openPage(browser, 'about:blank');
  expect((await page.goto(`${server.url}/studio/${encodeURIComponent('two words')}`))?.status()).toBe(400);
  await page.getByRole('heading', { name: 'This cannot be a room name' }).waitFor();
  await page.getByRole('link', { name: 'Choose another name' }).click();
  await page.waitForURL(`${server.url}/`);
  const home = await openPage(browser, server.url);
  await home.fill('#room-name', 'two words');
  await home.click('button[value=studio]');
  expect(await home.textContent('#room-hint')).toContain('space');
  expect(new URL(home.url()).pathname).toBe('/');
});

test('the first page lists what is live, and nothing is loaded from elsewhere', async () => {
  const name = nextRoom();
  const publisher = await studio(name);
  await goLive(publisher, 'VP8');
  const home = await openPage(browser, 'about:blank');
  const elsewhere: string[] = [];
  home.on('request', (request) => !request.url().startsWith(server.url) && elsewhere.push(request.url()));
  await home.goto(server.url);
  await home.click(`.card a[href="/watch/${name}"]`);
  await waitForState(home, 'playing');
  await expectMovingPicture(home);
  expect(elsewhere).toEqual([]);
  expect(pageErrors(home)).toEqual([]);
});

test('a still picture is not taken for a moving one', async () => {
  const page = await watch(nextRoom());
  await page.evaluate(async () => {
    const video = document.querySelector('aforo-player')?.video;
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 180 });
    const context = canvas.getContext('2d');
    if (!video || !context) throw new Error('no player');
    setInterval(() => context.fillRect(0, 0, 320, 180), 30);
    video.srcObject = canvas.captureStream(30);
    await video.play();
  });
  expect(await page.evaluate(pictureMoves, 10)).toBe(false);
});
