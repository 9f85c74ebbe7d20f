// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that the kernel crate does not have (yet), and the only place with `unsafe`.
//!
//! No file here depends on doorbell. Each file can be used without the files that it does not name,
//! and could be submitted upstream as it is.

pub(crate) mod alloc;
pub(crate) mod batch;
pub(crate) mod budget;
pub(crate) mod callback;
pub(crate) mod compat;
pub(crate) mod coverage;
pub(crate) mod deferred;
pub(crate) mod eventfd;
pub(crate) mod fetch_or;
pub(crate) mod handoff_lock;
pub(crate) mod iov;
pub(crate) mod kept_file;
#[cfg(CONFIG_DOORBELL_KUNIT_TEST)]
pub(crate) mod kunit_support;
pub(crate) mod lazy_timer;
pub(crate) mod lazy_vec;
pub(crate) mod memlock;
pub(crate) mod misc_file;
pub(crate) mod mmap_pages;
pub(crate) mod nospec;
pub(crate) mod owner_lock;
pub(crate) mod owner_work;
pub(crate) mod pinned;
pub(crate) mod poll_queue;
pub(crate) mod preempt;
pub(crate) mod read_domain;
pub(crate) mod read_once;
pub(crate) mod shared_array;
pub(crate) mod shared_list;
pub(crate) mod single_writer_counter;
pub(crate) mod sort;
pub(crate) mod swait_queue;
pub(crate) mod task;
pub(crate) mod tracepoint;
pub(crate) mod uaccess;
pub(crate) mod wait;
pub(crate) mod wait_queue;
