/** A page of somebody else, on another origin, publishes and plays with the `whip-whep` library from npm. */

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { WHEPClient } from 'whip-whep/whep';
import type { WHIPClient } from 'whip-whep/whip';
import { openPage, pictureMoves, startBrowser, waitUntil } from './browser.ts';
import { type Server, startServer } from './server.ts';

/** What the third party's page keeps between two steps of a test. */
interface ThirdParty extends Window {
  readonly WHIPClient: typeof WHIPClient;
  readonly WHEPClient: typeof WHEPClient;
  connection: RTCPeerConnection;
  client: WHIPClient | WHEPClient;
  loudness(): number;
}

let server: Server;
let browser: Browser;
let thirdParty: HttpServer;

beforeAll(async () => {
  // The node is open, so pages of other origins may use it only if it is told so.
  server = await startServer({ AFORO__HTTP__CORS_ORIGINS: '*' });
  thirdParty = await startThirdParty();
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  thirdParty?.close();
  await server?.stop();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});

/** Two seconds of picture: more than the first keyframe and what comes with it. */
const FRAMES = 60;

const PAGE = `<!doctype html><script type="module">
  import { WHIPClient } from '/whip.js';
  import { WHEPClient } from '/whep.js';
  Object.assign(window, { WHIPClient, WHEPClient });
</script>`;

/** Serves {@link PAGE} and the library from a port, and so an origin, of its own. */
async function startThirdParty(): Promise<HttpServer> {
  const libraries = new Map<string | undefined, string>();
  for (const name of ['whip', 'whep']) {
    const file = new URL(`../node_modules/whip-whep/${name}.js`, import.meta.url);
    libraries.set(`/${name}.js`, await readFile(file, 'utf8'));
  }
  const http = createServer((request, response) => {
    const library = libraries.get(request.url);
    response.setHeader('content-type', library === undefined ? 'text/html' : 'text/javascript');
    response.end(library ?? PAGE);
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  return http;
}

/** A page that has loaded the library. */
async function openThirdParty(): Promise<Page> {
  const { port } = thirdParty.address() as AddressInfo;
  const page = await openPage(browser, `http://127.0.0.1:${port}/`);
  await page.waitForFunction(() => 'WHEPClient' in window);
  return page;
}

/** The status of every answer to a request of this method. */
function statuses(page: Page, method: string): number[] {
  const found: number[] = [];
  page.on('response', (response) => {
    if (response.request().method() === method) found.push(response.status());
  });
  return found;
}

const publish = (page: Page, url: string) =>
  page.evaluate(async (endpoint) => {
    const own = window as unknown as ThirdParty;
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    own.connection = new RTCPeerConnection();
    for (const track of stream.getTracks()) {
      own.connection.addTransceiver(track, { direction: 'sendonly', streams: [stream] });
    }
    const client = new own.WHIPClient();
    own.client = client;
    await client.publish(own.connection, endpoint);
  }, url);

const play = (page: Page, url: string) =>
  page.evaluate(async (endpoint) => {
    const own = window as unknown as ThirdParty;
    own.connection = new RTCPeerConnection();
    const analyser = new AudioContext().createAnalyser();
    const samples = new Float32Array(analyser.fftSize);
    own.loudness = () => {
      analyser.getFloatTimeDomainData(samples);
      return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
    };
    own.connection.ontrack = ({ track }) => {
      const element = Object.assign(document.createElement('video'), { autoplay: true });
      element.srcObject = new MediaStream([track]);
      document.body.append(element);
      if (track.kind !== 'audio') return;
      const source = (analyser.context as AudioContext).createMediaStreamSource(element.srcObject);
      source.connect(analyser);
    };
    own.connection.addTransceiver('audio', { direction: 'recvonly' });
    own.connection.addTransceiver('video', { direction: 'recvonly' });
    const client = new own.WHEPClient();
    own.client = client;
    await client.view(own.connection, endpoint);
  }, url);

/** Waits until the page has decoded {@link FRAMES} frames that differ, and hears something. */
async function expectSeenAndHeard(page: Page): Promise<void> {
  await waitUntil(page, seesAndHears, FRAMES);
  await waitUntil(page, pictureMoves, FRAMES);
}

/** Whether so many frames were decoded and something is heard. Runs in the page. */
async function seesAndHears(frames: number): Promise<boolean> {
  const own = window as unknown as ThirdParty;
  let seen = 0;
  for (const entry of (await own.connection.getStats()).values()) {
    if (entry.type === 'inbound-rtp' && entry.kind === 'video') seen = entry.framesDecoded;
  }
  return seen >= frames && own.loudness() > 0.01;
}

const stop = (page: Page) => page.evaluate(() => (window as unknown as ThirdParty).client.stop());

const isLive = async (name: string) => {
  const { rooms } = (await (await fetch(`${server.url}/v1/rooms`)).json()) as {
    rooms: Array<{ name: string; live: boolean }>;
  };
  return rooms.some((room) => room.name === name && room.live);
};

test('whip-whep publishes, trickles and ends; its viewer sees and hears', async () => {
  const publisher = await openThirdParty();
  const [patched, deleted] = [statuses(publisher, 'PATCH'), statuses(publisher, 'DELETE')];
  await publish(publisher, `${server.url}/whip/library`);
  await expect.poll(() => isLive('library'), { timeout: 30_000 }).toBe(true);
  // Its candidates go out by PATCH, with the entity tag of the 201: another origin's script must be able to read it.
  await expect.poll(() => patched[0], { timeout: 30_000 }).toBe(204);

  const viewer = await openThirdParty();
  const ended = statuses(viewer, 'DELETE');
  await play(viewer, `${server.url}/whep/library`);
  await expectSeenAndHeard(viewer);

  expect(patched.filter((status) => status !== 204)).toEqual([]);

  // The library closes its connection before it asks for the session's end: the farewell of DTLS may win, then the
  // session is not there any more.
  await stop(viewer);
  expect([[200], [404]]).toContainEqual(ended);
  await stop(publisher);
  expect([[200], [404]]).toContainEqual(deleted);
  await expect.poll(() => isLive('library'), { timeout: 30_000 }).toBe(false);
});
