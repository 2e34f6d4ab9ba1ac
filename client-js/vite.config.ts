import { fileURLToPath } from 'node:url';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** Serves `/studio/{room}` and `/watch/{room}` in development as the server does in production. */
function roomAddresses(): Plugin {
  return {
    name: 'room-addresses',
    configureServer({ middlewares }) {
      middlewares.use((request, _response, next) => {
        const page = /^\/(studio|watch)\/[^/?]*/.exec(request.url ?? '')?.[1];
        if (page !== undefined) request.url = `/${page}.html`;
        next();
      });
    },
  };
}

/** Where `npm run dev` finds a running `aforo dev`. */
const server = process.env.AFORO_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [roomAddresses()],
  server: { proxy: Object.fromEntries(['/whip', '/whep', '/v1'].map((path) => [path, server])) },
  build: {
    // As old as the browsers that have every WebRTC feature we use.
    target: ['chrome111', 'firefox114', 'safari16.4'],
    // No data: addresses and no inline code, so that a strict content security policy fits.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ['index', 'studio', 'watch'].map((page) =>
        fileURLToPath(new URL(`${page}.html`, import.meta.url)),
      ),
    },
  },
  worker: { format: 'es' },
  test: { include: ['src/**/*.test.ts'], exclude: [] },
});
