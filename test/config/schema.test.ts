// The JSON Schema for editors.

import { describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config/schema.ts';

describe('the JSON Schema', () => {
  const schema = configSchema();

  it('is plain JSON, of the version it names, and knows no other settings', () => {
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
    expect(schema).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'Sidegate',
      additionalProperties: false,
    });
  });

  it('tells defaults, bounds and what a value must be', () => {
    expect(schema).toMatchObject({
      properties: {
        max_lag: {
          type: 'string',
          default: '10s',
          'x-minimum': '300ms',
          'x-maximum': '10m',
          description: expect.stringMatching(/^a duration/),
        },
        watch: { properties: { ring: { type: 'integer', minimum: 16, maximum: 1_048_576, default: 8_192 } } },
      },
    });
  });
});
