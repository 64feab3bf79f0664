// A unary load over plain HTTP/2: the bytes of one request again and again over one connection, so that the loader costs little.

import { type ClientHttp2Session, connect } from 'node:http2';

/** A request that is always the same. */
export interface Load {
  readonly address: string;
  readonly path: string;
  readonly body: Uint8Array;
}

/** A connection that stays open between measurements: making one costs the server more than a request does. */
export interface Loader {
  /** Sends `count` requests, `concurrency` at once. Throws unless every one is answered with status 0. Answers the last body. */
  send(count: number, concurrency: number): Promise<Buffer>;
  close(): void;
}

export function open({ address, path, body }: Load): Loader {
  const session = connect(`http://${address}`);
  const frame = Buffer.concat([Buffer.from([0]), Buffer.alloc(4), body]);
  frame.writeUInt32BE(body.length, 1);
  return {
    send: async (count, concurrency) => {
      let left = count;
      let last: Buffer = Buffer.alloc(0);
      const worker = async (): Promise<void> => {
        while (left > 0) {
          left -= 1;
          last = await one(session, path, frame);
        }
      };
      await Promise.all(Array.from({ length: concurrency }, worker));
      return last.subarray(5);
    },
    close: () => session.close(),
  };
}

function one(session: ClientHttp2Session, path: string, frame: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
    const parts: Buffer[] = [];
    let status: unknown;
    stream.on('trailers', (trailers) => {
      status = trailers['grpc-status'];
    });
    stream.on('response', (headers) => {
      status ??= headers['grpc-status'];
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', reject);
    stream.on('end', () => (String(status) === '0' ? resolve(Buffer.concat(parts)) : reject(new Error(`grpc-status ${status}`))));
    stream.end(frame);
  });
}
