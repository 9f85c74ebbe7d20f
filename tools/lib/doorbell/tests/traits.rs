// SPDX-License-Identifier: MIT OR Apache-2.0

//! Asserts the traits that users of the types depend on.

use doorbell::*;
use std::{
    fmt::Debug,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

fn is_shared<T: Send + Sync + Debug + 'static>() {}

#[test]
fn types_can_be_shared_between_threads() {
    is_shared::<Context>();
    is_shared::<EventFd>();
    is_shared::<StatusPages>();
    is_shared::<SpinningWait<Arc<StatusPages>, Arc<EventFd>>>();
    is_shared::<RecordRing>();
    is_shared::<LineSet>();
    is_shared::<MaskReasons>();
    is_shared::<Changes<'static>>();
    is_shared::<Target<'static>>();
    is_shared::<Error>();
}

#[cfg(feature = "msix")]
#[test]
fn msix_can_be_shared_between_threads() {
    is_shared::<msix::Msix<()>>();
    is_shared::<msix::MsixState>();
    is_shared::<msix::FnRoute<fn()>>();
    fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    is_error::<msix::Error>();
}

fn is_descriptor<T: AsFd + AsRawFd + From<OwnedFd> + Into<OwnedFd>>() {}

#[test]
fn descriptors_convert_to_std_types_and_back() {
    is_descriptor::<Context>();
    is_descriptor::<EventFd>();
    let context = Context::open_path("/dev/null").unwrap();
    let raw = context.as_raw_fd();
    let context = Context::from(OwnedFd::from(context));
    assert_eq!(context.as_fd().as_raw_fd(), raw);
}

#[test]
fn error_is_a_boxable_error() {
    fn is_error<T: std::error::Error + Send + Sync + 'static>() {}
    is_error::<Error>();
}

#[cfg(feature = "serde")]
#[test]
fn state_can_be_serialized() {
    fn is_serialize<T: serde::Serialize>() {}
    is_serialize::<Info>();
    is_serialize::<LineQuery>();
    is_serialize::<LineStatus>();
    is_serialize::<BusInfo>();
    is_serialize::<RegionInfo>();
    is_serialize::<Record>();
    #[cfg(feature = "msix")]
    is_serialize::<msix::MsixState>();
}
