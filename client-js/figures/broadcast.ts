/** A broadcast whose media passes through a {@link Link}: a server, the link before it, and a browser. */

import type { Browser, Page } from 'playwright-core';
import { openPage, startBrowser } from '../e2e/browser.ts';
import { type Server, startServer } from '../e2e/server.ts';
import { Link } from './link.ts';

const SERVER_ADDRESS = '127.0.0.1';
const LINK_ADDRESS = '127.0.0.2';

/** What a figure works with. */
export interface Broadcast {
  readonly server: Server;
  readonly link: Link;
  readonly browser: Browser;
  studio(room: string): Promise<Page>;
  watch(room: string): Promise<Page>;
  end(): Promise<void>;
}

/** Starts all of it; `seed` decides which datagrams are lost, `environment` configures the server. */
export async function startBroadcast(
  seed: number,
  environment: Record<string, string> = {},
): Promise<Broadcast> {
  const server = await startServer(environment, LINK_ADDRESS, SERVER_ADDRESS);
  const link = await Link.open({ address: LINK_ADDRESS, server: SERVER_ADDRESS, ports: server.ports, seed });
  const browser = await startBrowser();
  return {
    server,
    link,
    browser,
    studio: (room) => openPage(browser, `${server.url}/studio/${room}`),
    watch: (room) => openPage(browser, `${server.url}/watch/${room}`),
    async end() {
      await browser.close();
      link.close();
      await server.stop();
    },
  };
}

/** Resolves once `room` can be watched. */
export async function live(server: Server, room: string): Promise<void> {
  for (;;) {
    const answer = await fetch(`${server.url}/v1/rooms/${room}`);
    if (answer.ok && ((await answer.json()) as { live: boolean }).live) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Packets of a room's tracks that no repair brought to the server. */
export async function lostOnIngest(server: Server, room: string): Promise<number> {
  const answer = await fetch(`${server.url}/v1/rooms/${room}`);
  const { streams } = (await answer.json()) as { streams: Array<{ tracks: Array<{ lost?: number }> }> };
  return streams.flatMap((stream) => stream.tracks).reduce((sum, track) => sum + (track.lost ?? 0), 0);
}
