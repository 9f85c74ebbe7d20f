// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{
    Error, Message,
    error::Result,
    registers::{Entry, Registers},
};

/// The registers of an [`Msix`](super::Msix), to restore another one.
///
/// With the feature `serde` it is `Serialize` and `Deserialize`. It has no pending messages: these belong to a
/// [`Snapshot`](crate::Snapshot).
///
/// # Examples
///
/// See [`Msix::save`](super::Msix::save).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MsixState {
    version: u32,
    enabled: bool,
    function_masked: bool,
    vectors: Vec<VectorState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct VectorState {
    message: Message,
    masked: bool,
}

impl MsixState {
    /// Version of the format.
    const VERSION: u32 = 1;

    pub(super) fn of(registers: &Registers) -> Self {
        let vector = |entry: &Entry| VectorState {
            message: entry.message,
            masked: entry.masked,
        };
        Self {
            version: Self::VERSION,
            enabled: registers.enabled,
            function_masked: registers.function_masked,
            vectors: registers.entries.iter().map(vector).collect(),
        }
    }

    /// Returns the registers of a function with `vectors` vectors.
    pub(super) fn to_registers(&self, vectors: u16) -> Result<Registers> {
        if self.version != Self::VERSION {
            return Err(Error::StateVersion {
                version: self.version,
            });
        }
        if self.vectors.len() != usize::from(vectors) {
            return Err(Error::StateVectors {
                vectors: self.vectors.len(),
                expected: vectors,
            });
        }
        let addresses = self.vectors.iter().map(|vector| vector.message.address);
        for (vector, address) in (0..).zip(addresses) {
            if address % 4 != 0 {
                return Err(Error::StateAddress { vector, address });
            }
        }
        let entry = |vector: &VectorState| Entry {
            message: vector.message,
            masked: vector.masked,
        };
        Ok(Registers {
            entries: self.vectors.iter().map(entry).collect(),
            enabled: self.enabled,
            function_masked: self.function_masked,
        })
    }
}
