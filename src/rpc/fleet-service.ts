// The calls of sidecars that follow this one: records of the fleet's log, up and down.

import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { SidecarError } from '../core/errors.ts';
import { AppendRecordsRequest, AppendRecordsResponse, ReadRecordsRequest, ReadRecordsResponse } from '../gen/sidegate/v1/token_service.ts';
import type { LogRecord, Telemetry } from '../ports.ts';
import { Callers } from '../service/callers.ts';
import type { Lending } from '../service/fleet/lending.ts';
import { rejectUnknownFields } from '../wire/unknown-fields.ts';
import { type Call, type GrpcAdapter, methodWith } from './grpc.ts';
import { orThrow, reader, writer } from './messages.ts';
import { outcomeOf } from './validate-meter.ts';

/** What the service serves. */
export interface FleetServiceParts {
  readonly lending: Lending;
  readonly callers: Callers;
  readonly telemetry: Telemetry;
  readonly monotonicMs: () => number;
}

const path = (method: string): string => `/sidegate.v1.FleetService/${method}`;
/** In one message; clients take 4 MiB where nothing else is said. A record is never split. */
const longestMessageBytes = 262_144;
const mostInMessage = 512;
/** What one call may append; longer records are nobody's (core/fleet-record). */
const mostAppended = 1_024;
const longestRecordBytes = 262_144;
/** How long a stream's caller is believed. */
const judgedAgainMs = 5000;

/** The definition with readers of ours: messages of a broken shape become errors with a reason. */
export const fleetServiceDefinition: ServiceDefinition = {
  appendRecords: methodWith(path('AppendRecords'), reader(AppendRecordsRequest), writer(AppendRecordsResponse)),
  readRecords: methodWith(path('ReadRecords'), reader(ReadRecordsRequest), writer(ReadRecordsResponse), true),
};

/** The handlers of one listener. */
export function fleetService(parts: FleetServiceParts, adapter: GrpcAdapter): UntypedServiceImplementation {
  return {
    appendRecords: adapter.unary('AppendRecords', (request: AppendRecordsRequest | SidecarError, call) => append(parts, request, call)),
    readRecords: adapter.serverStream('ReadRecords', (request: ReadRecordsRequest | SidecarError, call) => read(parts, request, call)),
  };
}

async function append(parts: FleetServiceParts, request: AppendRecordsRequest | SidecarError, call: Call): Promise<AppendRecordsResponse> {
  const message = orThrow(request);
  rejectUnknownFields(message);
  await requireAllowed(parts, call);
  const { records } = message;
  if (records.length > mostAppended || records.some(({ length }) => length > longestRecordBytes)) {
    const limits = `at most ${mostAppended} records are appended at once, of at most ${longestRecordBytes} bytes`;
    throw new SidecarError('INVALID_ARGUMENT', limits, { reason: 'RECORDS_TOO_LARGE' });
  }
  await parts.lending.append(records);
  return {};
}

async function* read(
  parts: FleetServiceParts,
  request: ReadRecordsRequest | SidecarError,
  call: Call,
): AsyncGenerator<ReadRecordsResponse> {
  const message = orThrow(request);
  rejectUnknownFields(message);
  await requireAllowed(parts, call);
  const { monotonicMs, lending } = parts;
  let judgedMs = monotonicMs();
  for await (const batch of lending.read(positionIn(message), call.signal())) {
    // What the caller may do ends with its certificate, also in the middle of a stream.
    if (monotonicMs() - judgedMs > judgedAgainMs) {
      await requireAllowed(parts, call);
      judgedMs = monotonicMs();
    }
    yield* messagesOf(batch);
  }
}

/**
 * An empty batch is an empty message. Of a record that is too long to be anybody's so much is told that it is too long there as well: whoever may
 * write to a broker could stop all who follow by one that no client takes.
 */
function* messagesOf(batch: readonly LogRecord[]): Generator<ReadRecordsResponse> {
  let records: ReadRecordsResponse['records'] = [];
  let sizeBytes = 0;
  for (const { position, bytes: written } of batch) {
    const bytes = written.subarray(0, longestRecordBytes + 1);
    if (records.length >= mostInMessage || (records.length > 0 && sizeBytes + bytes.length > longestMessageBytes)) {
      yield { records };
      records = [];
      sizeBytes = 0;
    }
    records.push({ position: BigInt(position), content: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) });
    sizeBytes += bytes.length;
  }
  yield { records };
}

function positionIn({ from }: ReadRecordsRequest): number | undefined {
  if (from === undefined || from <= BigInt(Number.MAX_SAFE_INTEGER)) return from === undefined ? undefined : Number(from);
  throw new SidecarError('INVALID_ARGUMENT', 'no log has such a position', { reason: 'POSITION_MALFORMED' });
}

/** A refusal is written down. */
async function requireAllowed({ callers, telemetry }: FleetServiceParts, call: Call): Promise<void> {
  if (callers.allows(call, 'fleet')) return;
  try {
    await callers.authorise(call, 'fleet', call.signal());
  } catch (error) {
    telemetry.audit({ act: 'refused', actor: Callers.actorOf(call).name, outcome: `fleet: ${outcomeOf(error)}` });
    throw error;
  }
}
