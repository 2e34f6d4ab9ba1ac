import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['e2e/**/*.e2e.ts'],
    // Real browsers and encoders on few cores: one file at a time, or their figures disturb each other.
    fileParallelism: false,
    // Ends a run that hangs; every wait inside is for a state.
    testTimeout: 240_000,
    hookTimeout: 60_000,
  },
});
