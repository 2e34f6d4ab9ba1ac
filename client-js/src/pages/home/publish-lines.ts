/** Ready lines for publishing from other programs. */

/** A test picture and a tone to `whipUrl`; baseline without B-frames, which is what browsers decode in real time. */
export function ffmpegLine(whipUrl: string): string {
  return [
    'ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440',
    '-c:v libx264 -preset veryfast -tune zerolatency -profile:v baseline -pix_fmt yuv420p -b:v 1500k -g 60',
    `-c:a libopus -ar 48000 -ac 2 -f whip ${whipUrl}`,
  ].join(' ');
}

/** Asks the server what is live. */
export function curlLine(origin: string, guarded: boolean): string {
  const authorization = guarded ? "-H 'Authorization: Bearer TOKEN' " : '';
  return `curl ${authorization}${origin}/v1/rooms`;
}
