// What jco asks of WASI while it turns a component into JavaScript: nothing. It reads no file, no clock and no environment for
// that; these are the names that its module wants to find.

const nothing = () => undefined;

class Stream {
  blockingWriteAndFlush() {}
  checkWrite() { return 65536n; }
  write() {}
  blockingFlush() {}
}

export class InputStream extends Stream {}
export class OutputStream extends Stream {}

const stream = new OutputStream();

export const environment = { getEnvironment: () => [] };
export const exit = { exit(status) { throw new Error(`jco has given up (${status?.tag ?? status})`); } };
export const stdin = { getStdin: () => new InputStream() };
export const stdout = { getStdout: () => stream };
export const stderr = { getStderr: () => stream };
export const terminalInput = { TerminalInput: class TerminalInput {} };
export const terminalOutput = { TerminalOutput: class TerminalOutput {} };
export const terminalStdin = { getTerminalStdin: nothing };
export const terminalStdout = { getTerminalStdout: nothing };
export const terminalStderr = { getTerminalStderr: nothing };
export const preopens = { getDirectories: () => [] };
export const types = { Descriptor: class Descriptor {}, DirectoryEntryStream: class DirectoryEntryStream {}, filesystemErrorCode: nothing };
export const error = { Error: class WasiError {} };
export const streams = { InputStream, OutputStream };
export const random = { getRandomBytes: (length) => crypto.getRandomValues(new Uint8Array(Number(length))) };
