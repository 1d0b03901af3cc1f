//! Help for tests with real machines.
//!
//! Owns finding the kernel under test and showing a failed machine's log. Used by `qemu/tests` and
//! by the tests of the tool.
