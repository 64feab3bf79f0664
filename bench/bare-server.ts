// The baseline: a grpc-js server that answers the same fixed bytes to everything. argv: the answer, base64.

import { Server, ServerCredentials } from '@grpc/grpc-js';
import { serve } from './children.js';

const answer = Buffer.from(process.argv[2] ?? '', 'base64');
const server = new Server({ 'grpc.enable_channelz': 0 });
server.addService(
  {
    validate: {
      path: '/sidegate.v1.TokenService/Validate',
      requestStream: false,
      responseStream: false,
      requestSerialize: (value: Buffer) => value,
      requestDeserialize: (value: Buffer) => value,
      responseSerialize: (value: Buffer) => value,
      responseDeserialize: (value: Buffer) => value,
    },
  },
  { validate: (_call: unknown, callback: (error: null, value: Buffer) => void) => callback(null, answer) },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  serve({ address: `127.0.0.1:${port}` });
});
