// SPDX-License-Identifier: GPL-2.0

//! The bindings that bindgen generated from `bindings_helper.h`.
//!
//! Types that the kernel crate has are imported from there, so that its `File` and this one are one
//! type.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unsafe_op_in_unsafe_fn,
    unreachable_pub
)]

#[cfg(CONFIG_TRACEPOINTS)]
use kernel::bindings::tracepoint;
use kernel::bindings::{
    atomic_t,
    file,
    iov_iter,
    irq_work,
    ktime_t,
    llist_head,
    llist_node,
    poll_table_struct,
    // begin out of tree
    spinlock_t,
    // end out of tree
    swait_queue,
    swait_queue_head,
    user_struct,
    // begin out of tree
    vm_flags_t,
    // end out of tree
    wait_queue_entry,
    wait_queue_head,
    work_struct, //
};

type __poll_t = u32;
type __u32 = u32;
type __s32 = i32;
type s32 = i32;
type __u64 = u64;
type u32_ = u32;
type u64_ = u64;
type bool_ = bool;

include!(concat!(
    env!("DOORBELL_OBJ"),
    "/rust/bindings/bindings_generated.rs"
));
