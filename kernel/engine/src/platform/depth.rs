//! How much of its stack a process may fill.
//!
//! Owns [`limit_stack`]. wasmtime has one bound for all stores, and sets it where wasm is entered
//! from outside; a bound that is there already it leaves alone, since then wasm has called wasm
//! through the host. So a process's own is put there first. Where that is, the crate says that
//! tells wasmtime's compiler where its code is to look, of the same version.

use wasmtime::{AsContextMut, Func};
use wasmtime_environ::{HostPtr, PtrSize};

/// Lets the wasm of a store have `bytes` of stack below the caller, who is about to call `function`
/// of an instance in it. It holds until this is called again.
pub(crate) fn limit_stack(store: impl AsContextMut, function: &Func, bytes: usize) {
    let here = 0_u8;
    let limit = (&raw const here as usize).saturating_sub(bytes);
    let reference: *mut u8 = function.to_raw(store).cast();
    let vmctx = usize::from(HostPtr.vm_func_ref().vmctx());
    // SAFETY: wasmtime's reference to a function has at this offset, which its own crate of
    // layouts gives, the context of the instance that the function is of. Both live as long as the
    // store, which is borrowed.
    let context = unsafe { field::<*mut u8>(reference, vmctx).read() };
    let store_context = usize::from(HostPtr.vmctx_store_context());
    // SAFETY: as above: every instance's context has a pointer to its store's at this offset.
    let store_context = unsafe { field::<*mut u8>(context, store_context).read() };
    let place =
        field::<usize>(store_context, usize::from(HostPtr.vm_store_context().stack_limit()));
    // SAFETY: as above: a cell that compiled code reads and wasmtime writes, neither now. Any value
    // is a bound: this one lies within the stack that the caller runs on.
    unsafe { place.write(limit) };
}

/// Where a field is.
fn field<T>(of: *mut u8, offset: usize) -> *mut T {
    of.wrapping_add(offset).cast()
}
