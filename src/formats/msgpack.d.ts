// A type of the DOM that the declarations of @msgpack/msgpack name, and that this project does not have.

type BufferSource = ArrayBufferView | ArrayBuffer;
