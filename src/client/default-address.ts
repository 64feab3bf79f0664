// Where a sidecar is looked for when nobody says where it listens.

import { connect } from 'node:net';

/** The socket of a sidecar that is not told otherwise, and its port on this machine. */
export const defaultSocket = '/run/sidegate/sidegate.sock';
export const defaultPort = '127.0.0.1:8471';

/** An open socket answers at once; who is as slow as this is no sidecar. */
const longestProbeMs = 1000;

/**
 * `unix:///path` where somebody listens on `socket` and we may open it, else `port`: a socket that is a leftover, or not for us,
 * must not hide the listener beside it. Takes a second at the most; never rejects.
 */
export function addressThatListens(socket: string = defaultSocket, port: string = defaultPort): Promise<string> {
  return new Promise((found) => {
    const probe = connect(socket);
    const end = (address: string): void => {
      probe.destroy();
      found(address);
    };
    probe.setTimeout(longestProbeMs, () => end(port));
    probe.once('connect', () => end(`unix://${socket}`));
    probe.once('error', () => end(port));
  });
}
