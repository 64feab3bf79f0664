// Readers and writers of messages: what cannot be read becomes an error with a reason, where it is handled.

import { SidecarError } from '../core/errors.ts';

/** The request, where it could be read. */
export function orThrow<Message>(request: Message | SidecarError): Message {
  if (request instanceof SidecarError) throw request;
  return request;
}

/** Reads with `codec`; gives INVALID_ARGUMENT / MESSAGE_MALFORMED where that fails. */
export function reader<Message>(codec: { readonly decode: (bytes: Uint8Array) => Message }): (bytes: Buffer) => Message | SidecarError {
  return (bytes) => {
    try {
      return codec.decode(bytes);
    } catch (error) {
      return new SidecarError('INVALID_ARGUMENT', 'the request cannot be read', { reason: 'MESSAGE_MALFORMED', cause: error });
    }
  };
}

/** Writes with `codec`. */
export function writer<Message>(codec: { readonly encode: (message: Message) => { finish(): Uint8Array } }): (message: Message) => Buffer {
  return (message) => asBuffer(codec.encode(message).finish());
}

/** The same bytes. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
