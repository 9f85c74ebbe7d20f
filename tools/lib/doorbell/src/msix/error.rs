// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{MAX_VECTORS, Message};
use std::{fmt, io, ops::Range};

pub(super) type Result<T = ()> = std::result::Result<T, Error>;

/// An operation of an [`Msix`](super::Msix) that failed.
///
/// If a write fails, its register has the new value all the same: the guest cannot be told of the failure.
/// The [module](super#failures) describes what happens to the vectors. The next write to the entry of the
/// vector, or to Message Control, tries again.
///
/// # Examples
///
/// ```
/// use doorbell::msix::Error;
///
/// let error = Error::Vectors { vectors: 4096 };
/// assert_eq!(error.to_string(), "4096 vectors: MSI-X has 1 to 2048");
/// assert_eq!(error.errno(), None);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// MSI-X cannot have this number of vectors.
    Vectors {
        /// Number of vectors.
        vectors: u16,
    },
    /// The context does not have the lines.
    NoLines {
        /// The lines of the vectors.
        lines: Range<u64>,
        /// Number of lines of the context.
        nr_lines: u32,
    },
    /// A line is a level line or masks itself. The messages of MSI-X are edges.
    NotEdge {
        /// The line.
        line: u32,
    },
    /// The function does not have this vector.
    NoVector {
        /// The vector.
        vector: u16,
        /// Number of vectors.
        vectors: u16,
    },
    /// The status pages have another number of lines than the context.
    StatusPages {
        /// Number of lines of the status pages.
        nr_lines: u32,
        /// Number of lines of the context.
        expected: u32,
    },
    /// A call on the lines failed. It is returned if routes have failed, too.
    Lines(crate::Error),
    /// A vector could not be routed to its message. The vector stays masked.
    Route {
        /// The vector, the first of those that failed.
        vector: u16,
        /// The message.
        message: Message,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The routes of some vectors could not be committed, each by itself, or were not tried after eight of
    /// them. These vectors stay masked.
    Commit {
        /// The vectors.
        vectors: Vec<u16>,
        /// Cause of the first failure.
        source: io::Error,
    },
    /// A state has an unknown version.
    StateVersion {
        /// The version.
        version: u32,
    },
    /// A state is that of a function with another number of vectors.
    StateVectors {
        /// Number of vectors of the state.
        vectors: usize,
        /// Number of vectors of the function.
        expected: u16,
    },
    /// A state has an address that no table can have.
    StateAddress {
        /// The vector.
        vector: u16,
        /// The address.
        address: u64,
    },
}

impl Error {
    fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::Route { source, .. } | Self::Commit { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Returns the errno, if the cause is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use doorbell::msix::{Error, Message};
    ///
    /// let error = Error::Route {
    ///     vector: 3,
    ///     message: Message { address: 0xfee0_0000, data: 0x41 },
    ///     source: std::io::Error::from_raw_os_error(libc::ENOSPC),
    /// };
    /// assert_eq!(error.errno(), Some(libc::ENOSPC));
    /// assert_eq!(error.to_string(), "route vector 3 to address 0xfee00000, data 0x41");
    /// ```
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Lines(error) => error.errno(),
            _ => self.cause()?.raw_os_error(),
        }
    }

    pub(super) fn is_route(&self) -> bool {
        matches!(self, Self::Route { .. } | Self::Commit { .. })
    }
}

/// Displays vectors: the first ones, and the number of the others.
struct Vectors<'a>(&'a [u16]);

impl fmt::Display for Vectors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        f.write_str(if self.0.len() == 1 {
            "vector"
        } else {
            "vectors"
        })?;
        for (at, vector) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{} {vector}", if at == 0 { "" } else { "," })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Self {
        Self::Lines(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vectors { vectors } => {
                write!(f, "{vectors} vectors: MSI-X has 1 to {MAX_VECTORS}")
            }
            Self::NoLines { lines, nr_lines } => write!(
                f,
                "lines {}..{}: the context has {nr_lines}",
                lines.start, lines.end
            ),
            Self::NotEdge { line } => write!(
                f,
                "line {line} is a level line or masks itself: make it an edge line with set_type()"
            ),
            Self::NoVector { vector, vectors } => {
                write!(f, "vector {vector}: the function has {vectors}")
            }
            Self::StatusPages { nr_lines, expected } => write!(
                f,
                "the status pages have {nr_lines} lines, the context {expected}: map them after set_lines()"
            ),
            Self::Lines(error) => error.fmt(f),
            Self::Route {
                vector, message, ..
            } => write!(f, "route vector {vector} to {message}"),
            Self::Commit { vectors, .. } => {
                write!(f, "commit the route of {}", Vectors(vectors))
            }
            Self::StateVersion { version } => {
                write!(f, "the state has version {version}, which is unknown")
            }
            Self::StateVectors { vectors, expected } => {
                write!(
                    f,
                    "the state has {vectors} vectors, the function {expected}"
                )
            }
            Self::StateAddress { vector, address } => {
                write!(f, "the state has address {address:#x} for vector {vector}")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text is that of the call, so its cause is the next one.
            Self::Lines(error) => error.source(),
            _ => self.cause().map(|cause| cause as _),
        }
    }
}
