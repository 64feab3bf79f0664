// A TCP proxy in front of Keystone that can be open, hang, or be shut: the same faults for whoever asks through it.

import { createServer, connect as dial, type Server, type Socket } from 'node:net';

/** `hanging`: connections are taken, nothing is answered; `shut`: the port is closed. */
export type GateState = 'open' | 'hanging' | 'shut';

/** The running gate. */
export interface Gate {
  readonly port: number;
  /** Resolves when it is so; connections that were open are cut. */
  become(state: GateState): Promise<void>;
  close(): Promise<void>;
}

/** Starts one in front of a port of loopback, open. */
export async function startGate(target: number): Promise<Gate> {
  const open = new Set<Socket>();
  let state: GateState = 'open';
  const keep = (socket: Socket, end: () => void): void => {
    open.add(socket);
    // Cut by either side, or by us.
    socket.on('error', end);
    socket.on('close', () => {
      open.delete(socket);
      end();
    });
  };
  const server: Server = createServer((near) => {
    if (state === 'hanging') {
      keep(near, () => near.destroy());
      near.resume();
      return;
    }
    const far = dial({ port: target, host: '127.0.0.1', noDelay: true });
    near.setNoDelay(true);
    keep(near, () => far.destroy());
    keep(far, () => near.destroy());
    near.pipe(far);
    far.pipe(near);
  });
  const listen = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of open) socket.destroy();
  };
  const shut = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      cut();
    });
  await listen(0);
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the gate has no port');
  return {
    port: address.port,
    async become(next) {
      state = next;
      cut();
      if (next === 'shut' && server.listening) await shut();
      if (next !== 'shut' && !server.listening) await listen(address.port);
    },
    close: () => (server.listening ? shut() : Promise.resolve()),
  };
}
