// Unix sockets as tests find them: one that answers, and one that a killed process has left.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';

/** Somebody who listens on `path`, until the server is closed. */
export async function listenOn(path: string): Promise<Server> {
  const server = createServer((socket) => socket.end());
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** As `kill -9` leaves one: the name is there, nobody listens. */
export async function leaveSocketAt(path: string): Promise<void> {
  const code = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', code], { stdio: 'ignore' }), 'exit');
}
