// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ivshmem`, and `doorbell ivshmem-server`, the same as `doorbell ivshmem serve`.

use crate::{duration, print, service, wide_table};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use doorbell::uapi;
use doorbell_tools::{
    ivshmem::{
        guest::{self, Job},
        keeper, memory,
        operator::{self, Setup, Snapshot},
        server, vm, Server,
    },
    output, share, sys,
};
use serde_json::json;
use std::{
    fs, io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The default socket of QEMU's ivshmem-server.
const SOCKET: &str = "/tmp/ivshmem_socket";

pub const HELP: &str = "\
Examples:
  doorbell ivshmem serve --vectors 2
  doorbell ivshmem peers
  doorbell ivshmem make-guest /tmp/a.bin --rings 1";

pub const SERVE_HELP: &str = "\
Each vector of each peer is a line of one context: a masked line holds its
message. Vector V of peer P is line P * VECTORS + V.

The short options are those of QEMU's ivshmem-server. -F is accepted: the server
always stays in the foreground. Without -M and -m the shared memory has no name.

A service manager may pass the peers' socket (sd_listen_fds), which replaces the
path of -S, and is notified when the server is ready (sd_notify).

Examples:
  doorbell ivshmem serve --vectors 2 --keep
  doorbell ivshmem-server -S /tmp/ivshmem_socket -l 4M -n 2
  qemu-system-x86_64 \\
      -chardev socket,path=/tmp/ivshmem_socket,id=peers \\
      -device ivshmem-doorbell,chardev=peers,vectors=2 ...

Examples for the operator:
  doorbell ivshmem peers
  doorbell mask 3 --socket /tmp/ivshmem_socket.control";

#[derive(Args)]
pub struct ServerArgs {
    /// Accept peers at the UNIX socket PATH
    #[arg(short = 'S', long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Accept the operator at the UNIX socket PATH [default: the peers' one + ".control"]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Give each peer N vectors
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2048))]
    vectors: u32,
    /// Accept at most N peers at a time; N times the vectors must not exceed 65536
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
    max_peers: u32,
    /// Share SIZE bytes (64K, 4M, 1G), rounded up to a power of two
    #[arg(short = 'l', long, value_name = "SIZE", default_value = "4M", value_parser = size)]
    shm_size: u64,
    /// Share the POSIX shared memory object NAME
    ///
    /// Other processes can open it, and it stays when the server ends. An object that exists must
    /// have SIZE bytes.
    #[arg(short = 'M', long, value_name = "NAME", conflicts_with = "shm_dir")]
    shm_name: Option<String>,
    /// Share a file in DIR, for example of a hugetlbfs
    #[arg(short = 'm', long, value_name = "DIR")]
    shm_dir: Option<PathBuf>,
    /// Keep the peers and their rings when the server ends, even by SIGKILL
    ///
    /// A second process stores them for the next server of this socket.
    #[arg(long)]
    keep: bool,
    /// Disconnect a peer that reads nothing for DURATION
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Write the process ID to FILE
    #[arg(short = 'p', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Log each peer that connects or leaves, not only those that are disconnected
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Stay in the foreground, as always
    #[arg(short = 'F', long, hide = true)]
    foreground: bool,
}

/// Parses a size as QEMU does.
fn size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = number.parse().ok().filter(|&number| number > 0);
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    // The size of a file is signed.
    let size = size
        .and_then(memory::round)
        .filter(|size| i64::try_from(*size).is_ok());
    size.ok_or_else(|| "not a size: write 65536, 64K, 4M or 1G".into())
}

pub fn serve(device: &Path, args: &ServerArgs) -> anyhow::Result<()> {
    // From here on a signal ends the server, and everything is cleaned up.
    let end = sys::termination()?;
    let passed = service::listener()?;
    let socket = passed.as_ref().map_or(&args.socket, |(_, path)| path);
    let shm_place = match (&args.shm_name, &args.shm_dir) {
        (Some(name), _) => memory::Place::Named(name.clone()),
        (_, Some(directory)) => memory::Place::Directory(directory.clone()),
        _ => memory::Place::Anonymous,
    };
    let control = args.control.clone();
    let control = control.unwrap_or_else(|| operator::path_beside(socket, "control"));
    let keeper = keeper::Options {
        socket: operator::path_beside(socket, "keeper"),
        start: start_keeper,
    };
    let options = server::Options {
        socket: socket.clone(),
        control: control.clone(),
        vectors: args.vectors,
        max_peers: args.max_peers,
        shm_size: args.shm_size,
        shm_place,
        patience: args.timeout,
        device: device.to_owned(),
        keeper: args.keep.then_some(keeper),
    };
    let socket = socket.clone();
    let listener = match passed {
        Some((listener, _)) => share::Server::from_listener(listener)?,
        None => operator::open(&socket)?,
    };
    let verbose = args.verbose;
    let server = Server::new(
        options,
        listener,
        Box::new(move |important, text| {
            if important || verbose {
                doorbell_tools::note!("{text}");
            }
        }),
    )?;
    if let Some(path) = &args.pid_file {
        fs::write(path, format!("{}\n", std::process::id()))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let keeper = server.keeper();
    print(&format!(
        "peers: {}, operator: {}{}\n",
        socket.display(),
        control.display(),
        keeper.map_or_else(String::new, |pid| format!(", keeper: process {pid}"))
    ))?;
    service::ready()?;
    let result = server.run(end.as_fd());
    service::stopping();
    if let Some(path) = &args.pid_file {
        let _ = fs::remove_file(path);
    }
    result
}

/// Starts the keeper: a process that survives this one and its terminal.
fn start_keeper(socket: &Path) -> io::Result<Child> {
    service::hide_from(&mut Command::new("/proc/self/exe"))
        .args(["ivshmem", "keep", "--socket"])
        .arg(std::path::absolute(socket)?)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
}

#[derive(Subcommand)]
pub enum Ivshmem {
    /// Serve QEMU guests that have an ivshmem-doorbell device
    #[command(after_help = SERVE_HELP)]
    Serve(ServerArgs),
    /// Show the peers of a server and the lines of their vectors
    #[command(after_help = "\
Column 'set-up':
  sending   the peer has to read before the server can send the rest
  unread    all messages are sent, and not all of them read
  complete  the peer has read all messages
  cut off   a server was killed while it sent a message; it gets no more

Columns of a vector:
  state     m: masked, p: a message is pending
  untaken   deliveries that QEMU or KVM has not read from the eventfd yet

Examples:
  doorbell ivshmem peers
  doorbell ivshmem peers --json | jq '.peers[].pid'
  doorbell mask 3 --socket /tmp/ivshmem_socket.control")]
    Peers {
        /// Connect to the server's control socket at PATH
        ///
        /// The server must run as root, as this user, or as the owner of the socket's directory.
        #[arg(
            long,
            value_name = "PATH",
            default_value = "/tmp/ivshmem_socket.control"
        )]
        socket: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Store the descriptors of an 'ivshmem serve --keep', which starts this
    #[command(hide = true)]
    Keep {
        /// Accept servers at the UNIX socket PATH
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Write a guest that rings a peer on each interrupt, and print its QEMU command
    #[command(after_help = "\
The guest is firmware without kernel and disk. It starts when its serial port,
the standard input of QEMU, has a byte. QEMU must have read the server's
messages by then: 'doorbell ivshmem peers' shows the set-up as complete. Two
guests that ring each other go on for ever when one of them is rung.

Examples:
  doorbell ivshmem serve &
  doorbell ivshmem make-guest /tmp/a.bin --rings 1
  doorbell ivshmem make-guest /tmp/b.bin --rings 0
  (sleep 2; echo; sleep 1d) | qemu-system-x86_64 ...   a.bin as peer 0,
  (sleep 2; echo; sleep 1d) | qemu-system-x86_64 ...   then b.bin as 1
  doorbell ring 0 --socket /tmp/ivshmem_socket.control")]
    MakeGuest {
        /// Write the firmware to FILE
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Ring the peer PEER
        #[arg(long, value_name = "PEER")]
        rings: u16,
        /// Ring its vector VECTOR
        #[arg(long, value_name = "VECTOR", default_value_t = 0)]
        vector: u16,
        /// Have QEMU connect to the server's socket at PATH
        #[arg(long, value_name = "PATH", default_value = SOCKET)]
        socket: PathBuf,
        /// Print JSON: the file and the command's arguments
        #[arg(long)]
        json: bool,
    },
}

pub fn ivshmem(device: &Path, args: &Ivshmem) -> anyhow::Result<()> {
    match args {
        Ivshmem::Serve(args) => serve(device, args),
        Ivshmem::Peers { socket, json } => {
            let snapshot = operator::query(socket)?;
            print(&match json {
                true => format!("{:#}\n", serde_json::to_value(&snapshot)?),
                false => peers(&snapshot),
            })
        }
        Ivshmem::Keep { socket } => keeper::run(socket, sys::termination()?.as_fd()),
        Ivshmem::MakeGuest {
            file,
            rings,
            vector,
            socket,
            json,
        } => {
            let image = guest::image(Job::Answer, *rings, *vector)
                .context("this machine is not an x86_64: there is no guest for it")?;
            fs::write(file, image).with_context(|| format!("write {}", file.display()))?;
            let mut command = vec!["qemu-system-x86_64", "-accel", "kvm", "-accel", "tcg"];
            let arguments = vm::arguments(file, socket, u32::from(*vector) + 1, true);
            command.extend(arguments.iter().map(String::as_str));
            print(&match json {
                true => format!("{}\n", json!({ "file": file, "command": command })),
                false => format!("{}\n", command.join(" ")),
            })
        }
    }
}

/// Formats the peers and their vectors as two tables.
fn peers(snapshot: &Snapshot) -> String {
    let mut peers = output::new_table(&["peer", "process", "set-up"], 0);
    let header = [
        "peer",
        "vector",
        "line",
        "rings",
        "delivered",
        "coalesced",
        "dropped",
        "state",
        "untaken",
    ];
    let mut vectors = wide_table(&header, 0);
    for peer in &snapshot.peers {
        let setup = match peer.setup {
            Setup::Sending => format!("sending, {} left", peer.unsent),
            Setup::Unread => "unread".into(),
            Setup::Complete => "complete".into(),
            Setup::CutOff => "cut off".into(),
        };
        peers.add_row([peer.id.to_string(), peer.pid.to_string(), setup]);
        for vector in &peer.vectors {
            let counts = [
                peer.id.into(),
                vector.vector.into(),
                vector.line.into(),
                vector.rings,
                vector.deliveries,
                vector.coalesced,
                vector.dropped,
            ];
            let mut row = Vec::from(counts.map(|count| count.to_string()));
            let bits = [(vector.masked, 'm'), (vector.pending, 'p')];
            let letters = bits.map(|(set, letter)| if set { letter } else { '-' });
            row.push(letters.into_iter().collect());
            row.push(vector.untaken.to_string());
            vectors.add_row(row);
        }
    }
    let keeper = snapshot.keeper;
    let keeper = keeper.map_or_else(String::new, |pid| format!(", kept by process {pid}"));
    format!(
        "{}: {} of at most {} peers\n\
         {} vectors per peer, {} KiB shared{keeper}\n\
         {} peers connected so far, {} were disconnected, {} refused\n\
         {peers}\n\n{vectors}\n",
        output::printable(&snapshot.socket),
        snapshot.peers.len(),
        snapshot.max_peers,
        snapshot.vectors,
        snapshot.shm_size / 1024,
        snapshot.came,
        snapshot.thrown_out,
        snapshot.refused,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbell_tools::ivshmem::operator::{PeerInfo, VectorInfo};

    #[test]
    fn sizes_are_as_qemu_takes_them() {
        assert_eq!(size("4M"), Ok(4 << 20));
        assert_eq!(size("64k"), Ok(1 << 16));
        assert_eq!(size("5000"), Ok(8192));
        assert_eq!(size("1"), Ok(4096));
        for bad in ["", "0", "M", "-1", "4T", "1.5M", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn table_has_a_row_per_vector() {
        let vector = |vector| VectorInfo {
            vector,
            line: 6 + vector,
            rings: 11,
            deliveries: 7,
            coalesced: 2,
            dropped: 1,
            masked: true,
            pending: vector == 1,
            untaken: 4,
        };
        let text = peers(&Snapshot {
            pid: 1,
            keeper: Some(4321),
            socket: "/s\x1b[2J".into(),
            vectors: 2,
            max_peers: 9,
            shm_size: 1 << 20,
            came: 5,
            thrown_out: 1,
            refused: 0,
            peers: vec![PeerInfo {
                id: 3,
                pid: 1234,
                uid: 0,
                seconds: 1.0,
                setup: Setup::Complete,
                unsent: 0,
                vectors: vec![vector(0), vector(1)],
            }],
        });
        let cells = |row: usize| -> Vec<&str> {
            text.lines().nth(row).unwrap().split_whitespace().collect()
        };
        assert_eq!(cells(6), ["3", "1234", "complete"], "{text}");
        let first = ["3", "0", "6", "11", "7", "2", "1", "m-", "4"];
        assert_eq!(cells(12), first, "{text}");
        let second = ["3", "1", "7", "11", "7", "2", "1", "mp", "4"];
        assert_eq!(cells(13), second, "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{text}");
        assert!(text.starts_with("/s\\u{1b}[2J: 1 of "), "{text}");
        assert!(
            text.contains("1 of at most 9 peers")
                && text.contains("1024 KiB shared, kept by process 4321"),
            "{text}"
        );
    }
}
