//! Direct objects in shared memory: what they do, between processes, when processes are killed, and when peers misbehave. Also what else takes
//! a victim that is traced: deliveries through rings, and the system calls of a call.
//!
//! | variable | meaning |
//! |---|---|
//! | `BYPROXY_KILL_POINTS=all` | processes are killed at every instruction, of long ways as well |
//! | `BYPROXY_SHM_OBJECTS=1000000` | the long form of the objects that come and go |
#![expect(
    unsafe_code,
    reason = "the tests fork, single-step and kill processes, and scribble over their memory"
)]

mod between;
mod fork;
mod hostile;
#[cfg(target_arch = "x86_64")]
mod killed_deliveries;
#[cfg(target_arch = "x86_64")]
mod killed_locks;
#[cfg(target_arch = "x86_64")]
mod killed_values;
mod leftovers;
mod locks;
mod signals;
mod support;
#[cfg(target_arch = "x86_64")]
mod system_calls;
mod values;
#[cfg(target_arch = "x86_64")]
mod victim;
#[cfg(target_arch = "x86_64")]
mod way;

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/served.rs"]
mod served;
#[path = "../support/watchdog.rs"]
mod watchdog;

byproxy::test_support!();
