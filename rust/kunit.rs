// SPDX-License-Identifier: GPL-2.0

//! KUnit suites.
//!
//! They run when the module is loaded into a kernel with CONFIG_KUNIT=y. Such a kernel has debug
//! assertions and overflow checks, so the suites run with these, too. The suite of the eventfds needs some
//! from the process that loads the module; see `kernel_ext::kunit_support`. Other tests that need eventfds run
//! in userspace.

// The macro kunit_tests gives the suite the name of its module, which is in a file of that name.
#![allow(clippy::module_inception)]

mod array;
mod context;
mod deferred;
mod eventfd;
mod handoff_lock;
mod line;
mod moderation;
mod wait_queue;
