// The bytes of one connection as answers of memcached's binary protocol; everything is refused that no server should send.

import { Header, type Response } from 'memjs';

/** Takes what one connection received, piece by piece, and answers the messages that are whole now. Throws ProtocolError, then is of no use. */
export type Parser = (chunk: Buffer) => readonly Response[];

/** Bytes that are no answer of memcached. Its message holds none of them. */
export class ProtocolError extends Error {}

const headerBytes = 24;
const answerMagic = 0x81;

/** A parser for one connection, never for two. A body is at most `maxBodyBytes`, so what it keeps is less than that and a chunk. */
export function createParser(maxBodyBytes: number): Parser {
  let chunks: Buffer[] = [];
  let received = 0;
  /** Nothing can be done with less. */
  let needed = headerBytes;

  return (chunk) => {
    chunks.push(chunk);
    received += chunk.length;
    // Joined only when it tells something new: a body that comes in many pieces would otherwise be copied as often.
    if (received < needed) return [];
    let rest = chunks.length === 1 ? chunk : Buffer.concat(chunks, received);
    const messages: Response[] = [];
    for (;;) {
      needed = neededBytes(rest, maxBodyBytes);
      if (rest.length < needed) break;
      messages.push(messageOf(rest.subarray(0, needed)));
      rest = rest.subarray(needed);
    }
    chunks = rest.length === 0 ? [] : [rest];
    received = rest.length;
    return messages;
  };
}

/** The length of the first message in `bytes`, or of a header while there is no more to tell it by. */
function neededBytes(bytes: Buffer, maxBodyBytes: number): number {
  if (bytes.length < headerBytes) return headerBytes;
  const { magic, dataType, keyLength, extrasLength, totalBodyLength } = Header.fromBuffer(bytes);
  if (magic !== answerMagic || dataType !== 0) throw new ProtocolError('the server speaks another protocol');
  if (totalBodyLength > maxBodyBytes) throw new ProtocolError(`an answer is larger than ${maxBodyBytes} bytes`);
  if (keyLength + extrasLength > totalBodyLength) throw new ProtocolError('the lengths in an answer contradict one another');
  return headerBytes + totalBodyLength;
}

function messageOf(bytes: Buffer): Response {
  const header = Header.fromBuffer(bytes);
  const keyAt = headerBytes + header.extrasLength;
  const valueAt = keyAt + header.keyLength;
  return { header, extras: bytes.subarray(headerBytes, keyAt), key: bytes.subarray(keyAt, valueAt), val: bytes.subarray(valueAt) };
}
