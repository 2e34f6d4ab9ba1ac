/** Ticks at the rate that it is told. In a worker, because timers of a hidden tab are slowed to one a second. */

let timer: ReturnType<typeof setInterval> | undefined;

addEventListener('message', ({ data }: MessageEvent<number>) => {
  clearInterval(timer);
  timer = setInterval(() => postMessage(null), 1000 / data);
});
