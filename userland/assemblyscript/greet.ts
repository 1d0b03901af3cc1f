// Says from AssemblyScript what it was given, to the console of the run and to the node's log.
//
//     npm install assemblyscript
//     npx asc greet.ts -o greet.wasm --runtime stub --exportStart _initialize --use abort=
//     craton run greet.wasm you
//
// The imports are those of docs/abi.md; this program needs three of them.

// @ts-ignore: decorator
@external("craton", "argument_read")
declare function argumentRead(to: usize, len: u32): u32;
// @ts-ignore: decorator
@external("craton", "send")
declare function send(to: usize, tag: u64, message: usize, len: u32, timeout: i64): i32;
// @ts-ignore: decorator
@external("craton", "log")
declare function log(level: i32, text: usize, len: u32): void;

const INFO: i32 = 2;
const TAG_OUT: u64 = (1 << 63) + 1;
/// A run's argument: console, standard input, the number of arguments, each after its length.
const CONSOLE: usize = 0;
const COUNT: usize = 48;
const FIRST: usize = 52;
/// Of the run's argument; the arguments behind it are not seen.
const ARGUMENT_BYTES: u32 = 4096;

export function main(): void {
  const run = heap.alloc(ARGUMENT_BYTES);
  const end = run + argumentRead(run, ARGUMENT_BYTES);
  const names: string[] = [];
  let at = run + FIRST;
  for (let count = load<u32>(run, COUNT); count > 0 && at + 4 <= end; count--) {
    const len = load<u32>(at);
    if (at + 4 + len > end) break;
    names.push(String.UTF8.decodeUnsafe(at + 4, len));
    at += 4 + len;
  }
  const text = String.UTF8.encode("hello, " + names.join(" and ") + ", from AssemblyScript\n");
  const bytes = changetype<usize>(text);
  send(run + CONSOLE, TAG_OUT, bytes, text.byteLength, i64.MAX_VALUE);
  log(INFO, bytes, text.byteLength - 1);
}
