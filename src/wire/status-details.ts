// google.rpc.Status with ErrorInfo and RetryInfo, by hand: our proto imports nothing but google/protobuf.

import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { durationFromMs, msFromDuration } from './time.ts';

/** The trailer that carries it. */
export const statusDetailsKey = 'grpc-status-details-bin';

/** ErrorInfo.domain of everything that we say. */
export const errorDomain = 'sidegate';

const errorInfoUrl = 'type.googleapis.com/google.rpc.ErrorInfo';
const retryInfoUrl = 'type.googleapis.com/google.rpc.RetryInfo';

/** What the trailer tells. */
export interface StatusDetails {
  /** Upper snake case, as SidecarError.reason. */
  readonly reason?: string;
  /** When asking again is worth it. */
  readonly retryAfterMs?: number;
}

/** The trailer's bytes. `code` is the number of the gRPC status. */
export function encodeStatusDetails(status: StatusDetails & { readonly code: number; readonly message: string }): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.Varint).int32(status.code);
  writer.tag(2, WireType.LengthDelimited).string(status.message);
  if (status.reason !== undefined) {
    const info = new BinaryWriter();
    info.tag(1, WireType.LengthDelimited).string(status.reason);
    info.tag(2, WireType.LengthDelimited).string(errorDomain);
    writeAny(writer, errorInfoUrl, info.finish());
  }
  if (status.retryAfterMs !== undefined) {
    const { seconds, nanos } = durationFromMs(status.retryAfterMs);
    const delay = new BinaryWriter();
    delay.tag(1, WireType.Varint).int64(seconds);
    delay.tag(2, WireType.Varint).int32(nanos);
    const info = new BinaryWriter();
    info.tag(1, WireType.LengthDelimited).bytes(delay.finish());
    writeAny(writer, retryInfoUrl, info.finish());
  }
  return Buffer.from(writer.finish());
}

/**
 * What the bytes tell; nothing where they cannot be read. Details of other types, and ErrorInfo of another domain, are skipped.
 */
export function decodeStatusDetails(bytes: Uint8Array): StatusDetails {
  try {
    let details: StatusDetails = {};
    for (const any of fieldsOf(bytes).get(3) ?? []) {
      const fields = fieldsOf(any);
      const url = textOf(fields.get(1)?.at(-1));
      const value = fields.get(2)?.at(-1) ?? new Uint8Array();
      if (url === errorInfoUrl) {
        const info = fieldsOf(value);
        if (textOf(info.get(2)?.at(-1)) === errorDomain) details = { ...details, reason: textOf(info.get(1)?.at(-1)) };
      } else if (url === retryInfoUrl) {
        details = { ...details, retryAfterMs: readDelay(fieldsOf(value).get(1)?.at(-1)) };
      }
    }
    return details;
  } catch (error) {
    // Bytes of a foreign server or a proxy: the status itself has been read, so what they might add is let go.
    void error;
    return {};
  }
}

function writeAny(writer: BinaryWriter, url: string, value: Uint8Array): void {
  const any = new BinaryWriter();
  any.tag(1, WireType.LengthDelimited).string(url);
  any.tag(2, WireType.LengthDelimited).bytes(value);
  writer.tag(3, WireType.LengthDelimited).bytes(any.finish());
}

/** The length-delimited fields of a message, by number. Throws where the bytes are no message. */
function fieldsOf(bytes: Uint8Array): Map<number, Uint8Array[]> {
  const reader = new BinaryReader(bytes);
  const fields = new Map<number, Uint8Array[]>();
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    const values = fields.get(number);
    if (values === undefined) fields.set(number, [reader.bytes()]);
    else values.push(reader.bytes());
  }
  return fields;
}

function textOf(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? '' : Buffer.from(bytes).toString('utf8');
}

function readDelay(bytes: Uint8Array | undefined): number {
  const reader = new BinaryReader(bytes ?? new Uint8Array());
  let seconds = 0n;
  let nanos = 0;
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (number === 1 && wireType === WireType.Varint) seconds = BigInt(reader.int64());
    else if (number === 2 && wireType === WireType.Varint) nanos = reader.int32();
    else reader.skip(wireType, number);
  }
  return msFromDuration({ seconds, nanos }, 'retry_delay') ?? 0;
}
