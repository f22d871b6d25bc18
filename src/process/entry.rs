//! The way from a function to a number another process can be told, and back. The only unsafe code of this module.
//!
//! Every function is given a *trampoline*: a plain `fn` compiled for its type, which makes the function value out of
//! nothing (it has no size) and runs it. A trampoline's place in the program file is the number that travels. A linker
//! that folds identical code may give two functions one trampoline; the code they share is then the same.
#![expect(
    unsafe_code,
    reason = "a function comes back from the place of its code in the program file"
)]

use std::mem::transmute;
use std::ptr::{NonNull, with_exposed_provenance};

use super::error::SpawnError;
use super::init::Arrival;
use super::program::{Code, Program};
use super::report::Farewell;
use super::target::Target;

/// What a trampoline is.
type Trampoline = fn(Arrival) -> Farewell;

/// The place of the function's trampoline in the program file.
pub(super) fn offset_of<F: Target<A, S>, A, S>(_function: F, _arguments: &A) -> Result<i64, SpawnError> {
    const {
        assert!(
            size_of::<F>() == 0,
            "a process is started from an `fn` or from a closure that captures nothing"
        );
    }
    let trampoline: Trampoline = run_from_nothing::<F, A, S>;
    let code = Code::current().map_err(SpawnError::Exec)?;
    code.offset_of(trampoline as usize).ok_or(SpawnError::ForeignFunction)
}

/// The trampoline at a place in the program file; `None` if no code stands there or the parent runs another file.
pub(super) fn trampoline_at(offset: i64, parents: &Program) -> Option<Trampoline> {
    if Program::current().ok()? != *parents {
        return None;
    }
    let address = Code::current().ok()?.address_at(offset)?;
    let code = with_exposed_provenance::<()>(address);
    // SAFETY: `offset` is what `offset_of` computed in our parent, from a `Trampoline`.
    // - The parent runs the same program file (just compared), whose segments the loader moves as one, so the same
    //   `Trampoline` stands at that distance here.
    // - The address is inside the file's executable mappings, so it is not null.
    // - Only our parent can have said it: privileged programs, whose rights an outsider could want, never get here.
    Some(unsafe { transmute::<*const (), Trampoline>(code) })
}

/// The trampoline of `F`: runs a function value that has no size.
fn run_from_nothing<F: Target<A, S>, A, S>(arrival: Arrival) -> Farewell {
    // SAFETY:
    // - `F` has no size (asserted by `offset_of`, the only place that names this function), so nothing is read and
    //   a dangling pointer, which is aligned, is valid for the read.
    // - The caller of `spawn` had a value of `F`, which is `Copy`, `Send` and `'static`: this is a copy of that value.
    let function = unsafe { NonNull::<F>::dangling().read() };
    function.run(arrival)
}
