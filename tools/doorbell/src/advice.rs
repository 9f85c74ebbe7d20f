// SPDX-License-Identifier: GPL-2.0-only

//! Advice on errors of the device, which the command prints below the error.

use doorbell::{Error, Operation};
use std::io;

const NO_LINES: &str = "the context has no lines yet: its owner has to choose how many";

/// Returns the next step after `error`, if there is one.
pub fn advice(error: &Error) -> Option<&'static str> {
    use Operation::*;

    let errno = error.errno()?;
    Some(match (error.operation(), errno) {
        (Open, libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "the module is not loaded: modprobe doorbell, or insmod doorbell.ko as root"
        }
        (Open, libc::EACCES | libc::EPERM) => {
            "with the Debian packages: sudo adduser $USER doorbell, and log in again; without \
             them: run as root, or add a udev rule (\"Permissions\" in Documentation/uapi.rst)"
        }
        (_, libc::ENOTTY) => {
            "the device does not know this request: it is no doorbell, or an older module"
        }
        (SetLines, libc::EEXIST) => "the lines of a context can be chosen once",
        (SetRecords, libc::EEXIST) => "the number of records can be chosen once",
        (SetValues, libc::EEXIST) => "the number of last values can be chosen once",
        (SetRecords, libc::EINVAL) => "it has to be a power of two; doorbell info shows the limit",
        (MapRecords | ReadRecords, libc::ENXIO) => {
            "the context records nothing yet: its owner has to choose how many records"
        }
        (MapValues, libc::ENXIO) => {
            "the context has no last values yet: its owner has to choose how many"
        }
        (
            SetRecords | SetValues | GetRegions | GetBus | MapStatus | WriteBus | Pwrite | Pwritev,
            libc::ENXIO,
        ) => NO_LINES,
        (AssignRegion | DeassignRegion | ChangeRegions, libc::ENXIO) => {
            "there is no such line or slot, or no records or last values: doorbell info"
        }
        (_, libc::ENXIO) => "there is no such line: doorbell info shows how many there are",
        (WriteBus | Pwrite | Pwritev, libc::EOPNOTSUPP) => {
            "no region takes it: address, length and value have to match; doorbell bus list \
             shows what there is"
        }
        (WriteBus | Pwrite | Pwritev, libc::ENOBUFS) => {
            "there is no room to record it: take records out (doorbell bus records)"
        }
        (WriteBus | Pwrite | Pwritev, libc::EINVAL) => {
            "1, 2, 4 or 8 bytes, within the space, of a value that fits them"
        }
        (AssignRegion | ChangeRegions, libc::EBUSY) => {
            "it overlaps another region of a different shape, or another region has its slot: \
             doorbell bus list shows them"
        }
        (AssignRegion | DeassignRegion | ChangeRegions, libc::EINVAL) => {
            "the length is 1, 2, 4 or 8 (or 0: any, without datamatch), within the space, and \
             a datamatch fits it"
        }
        (SetType, libc::EBUSY) => {
            "a message is pending there, the line is asserted, or it has a resamplefd, an ackfd, \
             or a trigger that counts"
        }
        (AssignTrigger | AssignCountingTrigger | AssignSummary, libc::EBUSY) => {
            "the line has waiters (DOORBELL_WAIT), which are its only trigger"
        }
        (AssignWaiters, libc::EBUSY) => "waiters need a line without another trigger",
        (Restore, libc::EBUSY) => {
            "a line is not fresh: it was used, or has a type, waiters or a trigger that counts"
        }
        (AssignIrqfd | AssignResampled | AssignUnmaskfd | AssignAckfd, libc::EBUSY) => {
            "the eventfd is an irqfd already: of this context, of another one or of KVM"
        }
        (ReadEventfd | PeekEventfd, libc::EOPNOTSUPP) => {
            "the module was built without the kernel's BTF: install pahole and rebuild it"
        }
        (AssignCountingTrigger, libc::EOPNOTSUPP) => {
            "a level line cannot count its rings; no line can if the module was built without \
             the kernel's BTF"
        }
        (_, libc::EOPNOTSUPP) => {
            "only a level line can do that; lines are edge lines unless made otherwise"
        }
        (_, libc::EEXIST) => "it is assigned already",
        (Wait, libc::ENOENT) => "the line has no waiters: its owner has to assign them",
        (_, libc::ENOENT) => "it is not assigned",
        (_, libc::ELOOP) => "the line would ring itself",
        (_, libc::ENOSPC) => "that is over a limit: doorbell info shows them",
        (_, libc::EBADF) => "the eventfd is closed already",
        (_, libc::EMFILE) => "too many open files: ulimit -n",
        (_, libc::ENOMEM) => "no memory, or over the memory cgroup's limit",
        _ => return None,
    })
}

/// Returns the error with its causes and, on the next line, the [advice](advice()).
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = device_error(error).and_then(advice);
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        next = next.or_else(|| device_error(error).and_then(advice));
        cause = error.source();
    }
    match next {
        Some(next) => format!("{text}\n  {next}"),
        None => text,
    }
}

/// Returns the error of the client library that `error` is or wraps.
fn device_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    // The source of an io::Error is the source of the wrapped error, not that error.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(|error| error.get_ref())
        .and_then(|error| error.downcast_ref());
    error.downcast_ref().or(wrapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;
    use doorbell::{Access, Context, Region, Space};

    fn source(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    fn on_line(operation: Operation, errno: i32) -> Error {
        Error::Line {
            operation,
            line: 1,
            source: source(errno),
        }
    }

    fn on_context(operation: Operation, errno: i32) -> Error {
        Error::Context {
            operation,
            source: source(errno),
        }
    }

    fn open(errno: i32) -> Error {
        Error::Open {
            path: "/dev/doorbell".into(),
            source: source(errno),
        }
    }

    #[test]
    fn missing_device_says_how_to_load_the_module() {
        let error = Context::open_path("/nonexistent/doorbell").unwrap_err();
        assert!(explain(&error).contains("modprobe doorbell"), "{error}");
    }

    #[test]
    fn other_device_is_told_apart() {
        let context = Context::open_path("/dev/null").unwrap();
        let error = context.info().unwrap_err();
        assert!(explain(&error).contains("no doorbell"), "{error}");
    }

    #[test]
    fn every_errno_of_the_abi_has_advice() {
        for errno in [
            libc::EBADF,
            libc::ENXIO,
            libc::ENOENT,
            libc::EEXIST,
            libc::EBUSY,
            libc::ELOOP,
            libc::ENOSPC,
            libc::ENOMEM,
            libc::ENOTTY,
            libc::EOPNOTSUPP,
        ] {
            let error = on_line(Operation::AssignIrqfd, errno);
            assert!(advice(&error).is_some(), "{}", explain(&error));
        }
    }

    #[test]
    fn chain_of_causes_says_everything_once() {
        let error = Context::open_path("/nonexistent/doorbell").unwrap_err();
        let error = anyhow::Error::from(error).context("measure");
        let text = explain(error.as_ref());
        assert!(text.starts_with("measure: open /nonexistent"), "{text}");
        assert_eq!(text.matches("No such file").count(), 1, "{text}");
        assert_eq!(text.matches("modprobe").count(), 1, "{text}");
    }

    #[test]
    fn error_within_an_io_error_has_its_advice() {
        let error = io::Error::other(on_line(Operation::Ring, libc::ENXIO));
        let error = Err::<(), _>(error).context("send").unwrap_err();
        let text = explain(error.as_ref());
        assert!(
            text.starts_with("send: ring line 1: No such device"),
            "{text}"
        );
        assert!(text.contains("no such line"), "{text}");
    }

    #[test]
    fn permission_denied_names_the_udev_rule() {
        assert!(explain(&open(libc::EACCES)).contains("udev"));
    }

    #[test]
    fn advice_depends_on_what_was_tried() {
        let deassign = on_line(Operation::DeassignIrqfd, libc::ENOENT);
        assert_ne!(advice(&open(libc::ENOENT)), advice(&deassign));
    }

    #[test]
    fn lines_that_are_chosen_already_are_not_assigned() {
        let error = Error::SetLines {
            nr_lines: 16,
            source: source(libc::EEXIST),
        };
        let text = explain(&error);
        assert!(text.starts_with("set 16 lines: File exists"), "{text}");
        assert!(text.contains("chosen once"), "{text}");
        assert!(!text.contains("assigned"), "{text}");
    }

    #[test]
    fn calls_without_a_line_do_not_blame_the_line() {
        for operation in [
            Operation::GetRegions,
            Operation::MapStatus,
            Operation::GetBus,
            Operation::SetRecords,
        ] {
            let text = explain(&on_context(operation, libc::ENXIO));
            assert!(text.contains("no lines yet"), "{text}");
            assert!(!text.contains("no such line"), "{text}");
        }
        let text = explain(&on_context(Operation::MapRecords, libc::ENXIO));
        assert!(text.contains("how many records"), "{text}");
        let text = explain(&on_line(Operation::Ring, libc::ENXIO));
        assert!(text.contains("no such line"), "{text}");
    }

    #[test]
    fn errors_of_the_bus_have_advice_of_their_own() {
        let write = |errno| {
            let access = Access::new(Space::Mmio, 0x1000, 4, 1);
            explain(&Error::Write {
                access,
                source: source(errno),
            })
        };
        assert!(write(libc::EOPNOTSUPP).contains("no region takes it"));
        assert!(write(libc::ENOBUFS).contains("take records out"));
        let region = |operation, errno| {
            explain(&Error::Region {
                operation,
                region: Region::mmio(0x1000, 4),
                source: source(errno),
            })
        };
        assert!(region(Operation::AssignRegion, libc::EBUSY).contains("overlaps"));
        assert!(region(Operation::DeassignRegion, libc::ENOENT).contains("it is not assigned"));
        let again = Error::SetRecords {
            nr_records: 64,
            source: source(libc::EEXIST),
        };
        assert!(explain(&again).contains("once"));
    }

    #[test]
    fn busy_eventfd_and_busy_line_are_told_apart() {
        let irqfd = explain(&on_line(Operation::AssignIrqfd, libc::EBUSY));
        assert!(irqfd.contains("irqfd already"), "{irqfd}");
        let line = explain(&Error::SetType {
            line: 1,
            line_type: doorbell::LineType::Level,
            source: source(libc::EBUSY),
        });
        assert!(line.contains("pending"), "{line}");
    }
}
