// A TCP server that speaks as much of memcached's binary protocol as a test lets it, and misbehaves exactly as told.

import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

/** One request as it arrived. */
export interface HostileRequest {
  readonly socket: Socket;
  readonly opcode: number;
  readonly opaque: number;
  readonly key: string;
  readonly value: Buffer;
  /** From 1: which connection, and which request on it. */
  readonly connection: number;
  readonly nth: number;
}

/** A server in the hands of a test, on a port of its own. */
export interface Hostile {
  readonly host: string;
  readonly port: number;
  /** How many connections there were. */
  readonly connections: number;
  /** Every request so far. */
  readonly requests: readonly HostileRequest[];
  /** Sockets that the other side has neither closed nor destroyed: found by writing to each of them. */
  stillOpen(): Promise<number>;
  close(): Promise<void>;
}

/** What an answer says; what is left out is as memcached would send it. */
export interface Answer {
  readonly opaque: number;
  readonly opcode: number;
  readonly status?: number;
  readonly extras?: Buffer;
  readonly key?: Buffer;
  readonly value?: Buffer;
  readonly magic?: number;
  readonly dataType?: number;
  readonly keyLength?: number;
  readonly extrasLength?: number;
  readonly bodyLength?: number;
}

const headerBytes = 24;

/** The bytes of an answer. */
export function answer(said: Answer): Buffer {
  const { extras = Buffer.alloc(0), key = Buffer.alloc(0), value = Buffer.alloc(0) } = said;
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(said.magic ?? 0x81, 0);
  header.writeUInt8(said.opcode, 1);
  header.writeUInt16BE(said.keyLength ?? key.length, 2);
  header.writeUInt8(said.extrasLength ?? extras.length, 4);
  header.writeUInt8(said.dataType ?? 0, 5);
  header.writeUInt16BE(said.status ?? 0, 6);
  header.writeUInt32BE(said.bodyLength ?? extras.length + key.length + value.length, 8);
  header.writeUInt32BE(said.opaque, 12);
  return Buffer.concat([header, extras, key, value]);
}

/** A good answer to `request`: a get finds `value`, everything else has worked. */
export function goodAnswer(
  { opaque, opcode }: Pick<HostileRequest, 'opaque' | 'opcode'>,
  value: Uint8Array = Buffer.from('value'),
): Buffer {
  return opcode === 0 ? answer({ opaque, opcode, extras: Buffer.alloc(4), value: Buffer.from(value) }) : answer({ opaque, opcode });
}

/** As memcached says that there is nothing. */
export function missingAnswer({ opaque, opcode }: Pick<HostileRequest, 'opaque' | 'opcode'>): Buffer {
  return answer({ opaque, opcode, status: 1, value: Buffer.from('Not found') });
}

/**
 * Starts one that calls `onRequest` for each request and does nothing of itself: what is not written is not answered, and what the other
 * side half closes stays half open, as with a server that hangs. `onConnect`: for each connection, with its number from 1.
 */
export async function startHostile(
  onRequest: (request: HostileRequest) => void,
  onConnect: (socket: Socket, connection: number) => void = () => undefined,
): Promise<Hostile> {
  const sockets = new Set<Socket>();
  const requests: HostileRequest[] = [];
  let connections = 0;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    connections += 1;
    const connection = connections;
    let nth = 0;
    let bytes = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // A client that has gone is what many of these tests are about.
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (;;) {
        if (bytes.length < headerBytes || bytes.length < headerBytes + bytes.readUInt32BE(8)) return;
        const end = headerBytes + bytes.readUInt32BE(8);
        const keyAt = headerBytes + bytes.readUInt8(4);
        const valueAt = keyAt + bytes.readUInt16BE(2);
        nth += 1;
        const request: HostileRequest = {
          socket,
          opcode: bytes.readUInt8(1),
          opaque: bytes.readUInt32BE(12),
          key: bytes.toString('latin1', keyAt, valueAt),
          value: Buffer.from(bytes.subarray(valueAt, end)),
          connection,
          nth,
        };
        bytes = bytes.subarray(end);
        requests.push(request);
        onRequest(request);
      }
    });
    onConnect(socket, connection);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    host: '127.0.0.1',
    port: typeof address === 'object' && address !== null ? address.port : 0,
    get connections() {
      return connections;
    },
    requests,
    async stillOpen() {
      // The first byte to a socket that is gone is answered with a reset, which the second meets.
      for (let round = 0; round < 3; round++) {
        for (const socket of sockets) socket.write(Buffer.alloc(1));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return sockets.size;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/**
 * Starts one that keeps what it is given, as memcached does, but for what `misbehave` takes upon itself: it is told the request and the
 * answer that would be right, and answers true where it has seen to it.
 */
export function startHostileStore(
  misbehave: (request: HostileRequest, right: Buffer) => boolean,
  onConnect?: (socket: Socket, connection: number) => void,
): Promise<Hostile> {
  const kept = new Map<string, Buffer>();
  return startHostile((request) => {
    const { opcode, key, value, socket } = request;
    const found = kept.get(key);
    const right = opcode === 0 ? (found ? goodAnswer(request, found) : missingAnswer(request)) : goodAnswer(request);
    if (misbehave(request, right)) return;
    if (opcode === 1) kept.set(key, value);
    socket.write(right);
  }, onConnect);
}
