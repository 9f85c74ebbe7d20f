// SPDX-License-Identifier: GPL-2.0-only

//! `doorbell ivshmem-server` and `doorbell ivshmem`.

use crate::{positive, print};
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
    output, sys,
};
use std::{
    fs, io,
    os::{fd::AsFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// QEMU's own server's default.
const SOCKET: &str = "/tmp/ivshmem_socket";

#[derive(Args)]
#[command(after_help = "\
Each vector of each peer is a line of one context: rings of a masked one are held, not lost. Vector V \
of peer P is line P * VECTORS + V. The operator's commands go to the control socket:
  doorbell ivshmem peers --socket /tmp/ivshmem_socket.control
  doorbell mask 3 --socket /tmp/ivshmem_socket.control           and unmask, clear, ring, info

For guests:
  qemu-system-x86_64 -chardev socket,path=/tmp/ivshmem_socket,id=peers \\
      -device ivshmem-doorbell,chardev=peers,vectors=1 ...

The options of QEMU's own ivshmem-server work here:
  -S PATH   --socket
  -l SIZE   --shm-size
  -M NAME   --shm-name; without it and -m, the memory has no name
  -m DIR    --shm-dir
  -n N      --vectors
  -p FILE   --pid-file
  -v        --verbose
  -F        always: it does not put itself into the background")]
pub struct ServerArgs {
    /// Where peers connect
    #[arg(short = 'S', long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
    /// Where the operator does; if not given, the peers' socket with ".control" appended
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Vectors of each peer
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2048))]
    vectors: u32,
    /// The most peers at a time; times vectors, at most 65536
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::MAX_LINES)))]
    max_peers: u32,
    /// Shared memory: bytes, or 64K, 4M, 1G; rounded up to a power of two
    #[arg(short = 'l', long, value_name = "SIZE", default_value = "4M", value_parser = size)]
    shm_size: u64,
    /// Share the POSIX shared memory object NAME, which other processes can open and which stays; if
    /// it exists, it must have SIZE bytes
    #[arg(short = 'M', long, value_name = "NAME", conflicts_with = "shm_dir")]
    shm_name: Option<String>,
    /// Share a file in DIR, where a hugetlbfs is, say
    #[arg(short = 'm', long, value_name = "DIR")]
    shm_dir: Option<PathBuf>,
    /// Keep the peers and their rings when the server ends, even by SIGKILL: a second process holds
    /// them for the next server of this socket
    #[arg(long)]
    keep: bool,
    /// Throw out who has not read what it was sent for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    patience: f64,
    /// Write the process's number to FILE
    #[arg(short = 'p', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Say who comes and goes, not only who is thrown out
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Nothing: there is no other way
    #[arg(short = 'F', long, hide = true)]
    foreground: bool,
}

/// Bytes as QEMU takes them.
fn size(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: Option<u64> = number.parse().ok().filter(|&number| number > 0);
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    // A file cannot be larger.
    let size = size
        .and_then(memory::round)
        .filter(|size| i64::try_from(*size).is_ok());
    size.ok_or_else(|| "not a size: write 65536, 64K, 4M or 1G".into())
}

pub fn serve(device: &Path, args: &ServerArgs) -> anyhow::Result<()> {
    // First, so that from here on everything is cleaned up.
    let end = sys::termination()?;
    let shm_place = match (&args.shm_name, &args.shm_dir) {
        (Some(name), _) => memory::Place::Named(name.clone()),
        (_, Some(directory)) => memory::Place::Directory(directory.clone()),
        _ => memory::Place::Anonymous,
    };
    let control = args.control.clone();
    let control = control.unwrap_or_else(|| operator::path_beside(&args.socket, "control"));
    let keeper = keeper::Options {
        socket: operator::path_beside(&args.socket, "keeper"),
        start: start_keeper,
    };
    let options = server::Options {
        socket: args.socket.clone(),
        control: control.clone(),
        vectors: args.vectors,
        max_peers: args.max_peers,
        shm_size: args.shm_size,
        shm_place,
        patience: Duration::from_secs_f64(args.patience),
        device: device.to_owned(),
        keeper: args.keep.then_some(keeper),
    };
    let verbose = args.verbose;
    let server = Server::new(
        options,
        Box::new(move |important, text| {
            if important || verbose {
                eprintln!("doorbell: {text}");
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
        args.socket.display(),
        control.display(),
        keeper.map_or_else(String::new, |pid| format!(", keeper: process {pid}"))
    ))?;
    let result = server.run(end.as_fd());
    if let Some(path) = &args.pid_file {
        let _ = fs::remove_file(path);
    }
    result
}

/// Starts a process that stays when this one ends, and when its terminal does.
fn start_keeper(socket: &Path) -> io::Result<Child> {
    Command::new("/proc/self/exe")
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
    /// Who is there: lines, counts, what is masked and pending, and whether the set-up is complete
    #[command(after_help = "\
set-up: sending (it has to read first), unread (all of it is sent), complete (all of it is read), cut \
off (a server that was killed had told it a part of something; it is told nothing more).
untaken: deliveries that its QEMU, or KVM, has not taken out of the eventfd yet.
Masks, rings and so on: doorbell mask LINE --socket PATH, with the line of the vector.")]
    Peers {
        /// The server's control socket
        #[arg(
            long,
            value_name = "PATH",
            default_value = "/tmp/ivshmem_socket.control"
        )]
        socket: PathBuf,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Keep what an ivshmem-server --keep stores, which starts this
    #[command(hide = true)]
    Keep {
        /// The socket for servers
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Write a guest that answers interrupts by ringing: firmware, no kernel, no disk
    #[command(after_help = "\
It takes part as soon as it gets a byte on its serial port, of which the QEMU that is started as the \
command says reads it from its input. Two of them that ring each other go on for ever when one of them \
is rung:
  doorbell ivshmem-server &
  doorbell ivshmem guest /tmp/a.bin --rings 1
  doorbell ivshmem guest /tmp/b.bin --rings 0
  (echo; sleep 1d) | qemu-system-x86_64 ...       with a.bin: peer 0
  (echo; sleep 1d) | qemu-system-x86_64 ...       when doorbell ivshmem peers shows it, with b.bin
  doorbell ring 0 --socket /tmp/ivshmem_socket.control
  doorbell ivshmem peers
  doorbell mask 0 --socket /tmp/ivshmem_socket.control")]
    Guest {
        /// Where to write it
        file: PathBuf,
        /// The peer that it rings
        #[arg(long, value_name = "PEER")]
        rings: u16,
        /// And which vector
        #[arg(long, value_name = "VECTOR", default_value_t = 0)]
        vector: u16,
        /// The server's socket for peers
        #[arg(long, value_name = "PATH", default_value = SOCKET)]
        socket: PathBuf,
    },
}

pub fn ivshmem(args: &Ivshmem) -> anyhow::Result<()> {
    match args {
        Ivshmem::Peers { socket, json } => {
            let snapshot = operator::query(socket)?;
            print(&match json {
                true => format!("{:#}\n", serde_json::to_value(&snapshot)?),
                false => peers(&snapshot),
            })
        }
        Ivshmem::Keep { socket } => keeper::run(socket, sys::termination()?.as_fd()),
        Ivshmem::Guest {
            file,
            rings,
            vector,
            socket,
        } => {
            let image = guest::image(Job::Answer, *rings, *vector)
                .context("there is no guest for this machine: it has to be an x86_64")?;
            fs::write(file, image).with_context(|| format!("write {}", file.display()))?;
            let arguments = vm::arguments(file, socket, u32::from(*vector) + 1, true);
            print(&format!(
                "qemu-system-x86_64 -accel kvm -accel tcg {}\n",
                arguments.join(" ")
            ))
        }
    }
}

fn peers(snapshot: &Snapshot) -> String {
    let header = [
        "peer",
        "process",
        "set-up",
        "vector",
        "line",
        "rings",
        "delivered",
        "coalesced",
        "dropped",
        "masked",
        "pending",
        "untaken",
    ];
    let mut table = output::new_table(&header, 3);
    let yes = |yes| if yes { "yes" } else { "-" }.to_owned();
    for peer in &snapshot.peers {
        let setup = match peer.setup {
            Setup::Sending => format!("sending, {} left", peer.unsent),
            Setup::Unread => "unread".into(),
            Setup::Complete => "complete".into(),
            Setup::CutOff => "cut off".into(),
        };
        let mut who = [peer.id.to_string(), peer.pid.to_string(), setup];
        for vector in &peer.vectors {
            let counts = [
                vector.vector.into(),
                vector.line.into(),
                vector.rings,
                vector.deliveries,
                vector.coalesced,
                vector.dropped,
            ];
            let mut row = Vec::from(std::mem::take(&mut who));
            row.extend(counts.map(|count| count.to_string()));
            row.extend([yes(vector.masked), yes(vector.pending)]);
            row.push(vector.untaken.to_string());
            table.add_row(row);
        }
    }
    let Snapshot {
        socket,
        vectors,
        max_peers,
        came,
        thrown_out,
        refused,
        ..
    } = snapshot;
    let keeper = snapshot.keeper;
    let keeper = keeper.map_or_else(String::new, |pid| format!(", kept by process {pid}"));
    format!(
        "{socket}: {} of at most {max_peers} peers, {vectors} vectors each, {} KiB shared{keeper}\n\
         {came} have come, {thrown_out} were thrown out, {refused} not let in\n{table}\n",
        snapshot.peers.len(),
        snapshot.shm_size / 1024,
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
            socket: "/s".into(),
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
        let first = [
            "3", "1234", "complete", "0", "6", "11", "7", "2", "1", "yes", "-", "4",
        ];
        assert_eq!(cells(5), first, "{text}");
        assert_eq!(cells(6)[..3], ["1", "7", "11"], "{text}");
        assert!(
            text.contains("1 of at most 9 peers")
                && text.contains("1024 KiB shared, kept by process 4321"),
            "{text}"
        );
    }
}
