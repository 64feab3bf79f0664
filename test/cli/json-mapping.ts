// Holds JSON against the API's own descriptors: names, enums, and how numbers, times and spans are written.
import { join } from 'node:path';
import { loadSync } from '@grpc/proto-loader';

interface Field {
  readonly name: string;
  readonly jsonName: string;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

const definition = loadSync(join(import.meta.dirname, '..', '..', 'proto', 'sidegate', 'v1', 'token_service.proto'));
const typeOf = (name: string) => (definition[`sidegate.v1.${name}`] as unknown as { readonly type: object } | undefined)?.type ?? {};
const camelCase = (name: string) => name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** What in `value` is not as the JSON mapping of `message` writes it; a sentence each. */
export function misfits(value: unknown, message: string): readonly string[] {
  if (typeof value !== 'object' || value === null) return [`${message} is no object`];
  const fields = (typeOf(message) as { readonly field?: readonly Field[] }).field ?? [];
  if (fields.length === 0) return [`there is no message ${message}`];
  return Object.entries(value).flatMap(([name, inner]) => {
    const field = fields.find((one) => camelCase(one.name) === name);
    if (field === undefined) return [`${message} has no field ${name}`];
    const values: unknown[] = field.label === 'LABEL_REPEATED' ? (inner as unknown[]) : [inner];
    return values.flatMap((one) => misfitsOfField(one, field, `${message}.${name}`));
  });
}

function misfitsOfField(value: unknown, { type, typeName }: Field, where: string): readonly string[] {
  const wrong = (fits: boolean) => (fits ? [] : [`${where} is written ${JSON.stringify(value)}`]);
  const name = typeName.split('.').at(-1) ?? '';
  switch (type) {
    case 'TYPE_MESSAGE':
      if (name === 'Timestamp') return wrong(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/.test(String(value)));
      return name === 'Duration' ? wrong(/^\d+(\.\d{1,9})?s$/.test(String(value))) : misfits(value, name);
    case 'TYPE_ENUM':
      return wrong((typeOf(name) as { readonly value: readonly { readonly name: string }[] }).value.some((one) => one.name === value));
    case 'TYPE_UINT64':
    case 'TYPE_FIXED64':
      return wrong(typeof value === 'string' && /^\d+$/.test(value));
    case 'TYPE_BOOL':
      return wrong(typeof value === 'boolean');
    default:
      return wrong(typeof value === 'string');
  }
}
