// SPDX-License-Identifier: GPL-2.0-only

//! `msix-vmm`: checks that nothing is lost or invented while a guest masks MSI-X vectors.

fn main() {}
