// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares a device with hardware as PCI describes it, and checks what the registers do by examples.

mod fake;
mod hardware;

use super::{
    ENABLE, Error, FUNCTION_MASK, Message, MsixState, Route,
    device::{Device, Lines as _, MAX_REFUSED},
    registers::Registers,
};
use crate::MaskReasons;
use fake::{FIRST_LINE, Topology};
use hardware::Hardware;
use proptest::{prelude::*, sample::select, test_runner::TestCaseError};

/// A step. Numbers of vectors are taken modulo the number of vectors.
#[derive(Clone, Debug)]
enum Step {
    WriteEntry { vector: u16, at: u64, data: Vec<u8> },
    WriteTable { offset: u64, data: Vec<u8> },
    WriteControl { value: u16 },
    WriteCapability { offset: u64, data: Vec<u8> },
    Withdraw { vector: u16 },
    Signal { vector: u16, ends: bool },
    Finish { vector: u16 },
    SetStopped { stopped: bool },
    Reset,
    Reroute,
    Restore,
    Migrate,
    FailLines { after: u32 },
    FailRoute { after: u32 },
    FailCommit { after: u32 },
}

/// Few values, so that many writes change nothing.
fn dword() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => select(vec![0, 1, 2, 3, 0xfee0_0000, 0xfee0_1004]),
        1 => any::<u32>(),
    ]
}

fn data(dwords: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(dword(), dwords)
        .prop_map(|dwords| dwords.into_iter().flat_map(u32::to_le_bytes).collect())
}

fn step() -> impl Strategy<Value = Step> {
    let vector = any::<u16>();
    let entry = |vector, at, data| Step::WriteEntry { vector, at, data };
    prop_oneof![
        8 => (vector, 0..4u64, data(1)).prop_map(move |(v, dword, data)| entry(v, dword * 4, data)),
        4 => (vector, 0..2u64, data(2)).prop_map(move |(v, qword, data)| entry(v, qword * 8, data)),
        4 => (vector, any::<bool>()).prop_map(move |(v, mask)| {
            entry(v, 12, u32::from(mask).to_le_bytes().into())
        }),
        2 => (0..3000u64, proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(offset, data)| Step::WriteTable { offset, data }),
        1 => (select(vec![u64::MAX, u64::MAX - 3, u64::MAX - 7]), data(1..3))
            .prop_map(|(offset, data)| Step::WriteTable { offset, data }),
        4 => prop_oneof![
            3 => Just(ENABLE),
            1 => select(vec![0, FUNCTION_MASK, ENABLE | FUNCTION_MASK]),
            1 => any::<u16>(),
        ].prop_map(|value| Step::WriteControl { value }),
        1 => (prop_oneof![0..8u64, any::<u64>()], proptest::collection::vec(any::<u8>(), 0..6))
            .prop_map(|(offset, data)| Step::WriteCapability { offset, data }),
        1 => vector.prop_map(|vector| Step::Withdraw { vector }),
        10 => (vector, any::<bool>()).prop_map(|(vector, ends)| Step::Signal { vector, ends }),
        3 => vector.prop_map(|vector| Step::Finish { vector }),
        2 => any::<bool>().prop_map(|stopped| Step::SetStopped { stopped }),
        1 => Just(Step::Reset),
        1 => Just(Step::Reroute),
        1 => Just(Step::Restore),
        1 => Just(Step::Migrate),
    ]
}

fn failing_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => step(),
        1 => (0..4u32).prop_map(|after| Step::FailRoute { after }),
        1 => (0..2u32).prop_map(|after| Step::FailCommit { after }),
    ]
}

fn step_with_failing_lines() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => failing_step(),
        1 => (0..4u32).prop_map(|after| Step::FailLines { after }),
    ]
}

/// More vectors than a dword and a qword of the PBA have bits, and few, which are hit more often.
fn vectors() -> impl Strategy<Value = u16> {
    prop_oneof![3 => 1..4u16, 1 => select(vec![32, 33, 64, 65, 130])]
}

/// Counts for a vector that the device cannot change.
#[derive(Clone, Copy, Default)]
struct Account {
    signals: usize,
    /// There was a signal since the last delivery started, or since the last reset or withdrawal.
    owed: bool,
}

/// A device and its topology, and the hardware that it is compared with.
struct Pair {
    topology: Topology,
    device: Device<Topology, Topology>,
    hardware: Hardware,
}

fn device(topology: &Topology, vectors: u16) -> Device<Topology, Topology> {
    Device::new(topology.clone(), FIRST_LINE, vectors, topology.clone()).expect("a device")
}

/// Returns a state that was sent to another process.
fn sent(state: MsixState) -> MsixState {
    #[cfg(feature = "serde")]
    return serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    #[cfg(not(feature = "serde"))]
    state
}

impl Pair {
    fn new(vectors: u16) -> Self {
        let topology = Topology::new(vectors);
        Self {
            device: device(&topology, vectors),
            hardware: Hardware::new(vectors),
            topology,
        }
    }

    fn vectors(&self) -> u16 {
        self.hardware.vectors()
    }

    /// Does `step` with both. Returns the device's result.
    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let vectors = self.vectors();
        match *step {
            Step::WriteEntry {
                vector,
                at,
                ref data,
            } => {
                let offset = u64::from(vector % vectors) * 16 + at;
                self.hardware.write_table(offset, data);
                self.device.write_table(offset, data)
            }
            Step::WriteTable { offset, ref data } => {
                self.hardware.write_table(offset, data);
                self.device.write_table(offset, data)
            }
            Step::WriteControl { value } => {
                self.hardware.write_control(value);
                self.device.write_control(value)
            }
            Step::WriteCapability { offset, ref data } => {
                self.hardware.write_capability(offset, data);
                self.device.write_capability(offset, data)
            }
            Step::Withdraw { vector } => {
                self.hardware.withdraw(vector % vectors);
                self.device.withdraw(vector % vectors)
            }
            Step::Signal { vector, ends } => {
                self.hardware.signal(vector % vectors, ends);
                self.topology.ring(vector % vectors, ends);
                Ok(())
            }
            Step::Finish { vector } => {
                self.hardware.finish(vector % vectors);
                self.topology.finish(vector % vectors);
                Ok(())
            }
            Step::SetStopped { stopped } => {
                self.hardware.set_stopped(stopped);
                let (all, failing) = (self.topology.all(), self.topology.state().lines_fail.take());
                let result = match stopped {
                    true => self.topology.mask(&all, MaskReasons::PAUSE),
                    false => self.topology.unmask(&all, MaskReasons::PAUSE),
                };
                result.expect("nothing fails");
                self.topology.state().lines_fail = failing;
                Ok(())
            }
            Step::Reset => {
                self.hardware.reset();
                self.topology.lose_routes();
                let result = self.device.reset();
                // A reset that has failed is repeated as a whole.
                result.or_else(|_| self.device.reset())
            }
            Step::Reroute => {
                self.hardware.drain_all();
                self.device.reroute()
            }
            Step::Restore => {
                self.hardware.drain_all();
                self.topology.lose_routes();
                let state = sent(MsixState::of(&self.device.registers));
                let registers = state.to_registers(vectors).expect("its own state");
                self.device.restore(registers)
            }
            Step::Migrate => {
                let stopped = self.hardware.stopped;
                self.step(&Step::SetStopped { stopped: true })?;
                self.topology.state().lines_fail = None;
                let state = sent(MsixState::of(&self.device.registers));
                self.topology = self.topology.migrate();
                self.device = device(&self.topology, vectors);
                let registers = state.to_registers(vectors).expect("its own state");
                let result = self.device.restore(registers);
                self.step(&Step::SetStopped { stopped })?;
                result
            }
            Step::FailLines { after } => {
                self.topology.state().lines_fail = Some(after);
                Ok(())
            }
            Step::FailRoute { after } => {
                self.topology.state().route_fails = Some(after);
                Ok(())
            }
            Step::FailCommit { after } => {
                self.topology.state().commit_fails = Some(after);
                Ok(())
            }
        }
    }

    /// Compares what the guest can read from the registers, by accesses of both lengths.
    fn check_registers(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.device.registers.control(), self.hardware.control());
        for len in [4, 8] {
            for offset in (0..u64::from(self.vectors()) * 16 + 16).step_by(len) {
                let (mut ours, mut theirs) = (vec![0x5a; len], vec![0xa5; len]);
                self.device.registers.read_table(offset, &mut ours);
                self.hardware.read_table(offset, &mut theirs);
                prop_assert_eq!(&ours, &theirs, "table at {}", offset);
            }
        }
        Ok(())
    }

    fn check_pba(&self) -> Result<(), TestCaseError> {
        for len in [4, 8] {
            for offset in (0..40).step_by(len) {
                let (mut ours, mut theirs) = (vec![0x5a; len], vec![0xa5; len]);
                self.device.read_pba(offset, &mut ours);
                self.hardware.read_pba(offset, &mut theirs);
                prop_assert_eq!(&ours, &theirs, "PBA at {}", offset);
            }
        }
        Ok(())
    }

    fn check_reasons(&self) -> Result<(), TestCaseError> {
        for vector in 0..self.vectors() {
            let reasons = self.topology.reasons(vector);
            prop_assert_eq!(
                reasons.contains(MaskReasons::VECTOR),
                self.hardware.is_masked(vector)
                    || (self.hardware.is_open() && self.hardware.is_refused(vector)),
                "vector {}",
                vector
            );
            prop_assert_eq!(
                reasons.contains(MaskReasons::FUNCTION),
                !self.hardware.is_open(),
                "function, at vector {}",
                vector
            );
        }
        Ok(())
    }

    /// Compares the messages that were sent, and those that are in flight.
    fn check_messages(&self) -> Result<(), TestCaseError> {
        for vector in 0..self.vectors() {
            let of = |sent: &[fake::Sent]| -> Vec<Message> {
                let of_vector = sent.iter().filter(|sent| sent.vector == vector);
                of_vector.map(|sent| sent.message).collect()
            };
            prop_assert_eq!(
                of(&self.topology.state().sent),
                of(&self.hardware.sent),
                "messages of vector {}",
                vector
            );
            prop_assert_eq!(
                self.topology.in_flight(vector),
                self.hardware.in_flight[usize::from(vector)],
                "in flight of vector {}",
                vector
            );
        }
        Ok(())
    }

    fn check_faults(&self) -> Result<(), TestCaseError> {
        let faults = &self.topology.state().faults;
        prop_assert!(faults.is_empty(), "{faults:?}");
        Ok(())
    }

    fn check_all(&self) -> Result<(), TestCaseError> {
        self.check_faults()?;
        self.check_registers()?;
        self.check_pba()?;
        self.check_reasons()?;
        self.check_messages()
    }

    /// Ends all failures, and writes to registers what they contain.
    fn repair(&mut self, by_control: bool) -> Result<(), TestCaseError> {
        {
            let mut state = self.topology.state();
            (state.lines_fail, state.route_fails, state.commit_fails) = (None, None, None);
        }
        if by_control {
            let result = self.device.write_control(self.device.registers.control());
            prop_assert!(result.is_ok(), "{result:?}");
        } else {
            for vector in 0..u64::from(self.vectors()) {
                let mut dword = [0; 4];
                let offset = vector * 16 + 12;
                self.device.registers.read_table(offset, &mut dword);
                let result = self.device.write_table(offset, &dword);
                prop_assert!(result.is_ok(), "{result:?}");
            }
        }
        Ok(())
    }

    /// Returns the number of deliveries of `vector` that have started.
    fn started(&self, vector: u16) -> usize {
        let in_flight = usize::from(self.topology.in_flight(vector).is_some());
        let state = self.topology.state();
        let sent = state.sent.iter().filter(|sent| sent.vector == vector);
        sent.count() + in_flight
    }

    /// Does `step`, and accounts for the messages.
    fn step_on(&mut self, accounts: &mut [Account], step: &Step) -> Result<(), Error> {
        let vectors = self.vectors();
        let before: Vec<usize> = (0..vectors).map(|vector| self.started(vector)).collect();
        let result = self.step(step);
        match *step {
            Step::Signal { vector, .. } => {
                let account = &mut accounts[usize::from(vector % vectors)];
                account.signals += 1;
                account.owed = true;
            }
            Step::Reset => accounts.iter_mut().for_each(|account| account.owed = false),
            Step::Withdraw { vector } if result.is_ok() => {
                accounts[usize::from(vector % vectors)].owed = false;
            }
            _ => {}
        }
        self.update_accounts(accounts, &before);
        result
    }

    /// Nothing is owed to a vector any more if a delivery has started.
    fn update_accounts(&self, accounts: &mut [Account], before: &[usize]) {
        for ((vector, account), before) in (0..).zip(accounts).zip(before) {
            account.owed &= self.started(vector) == *before;
        }
    }

    /// Checks that each signal was delivered or is pending, that no vector holds a message that it may send,
    /// and that no message was invented.
    fn check_nothing_owed(&self, accounts: &[Account]) -> Result<(), TestCaseError> {
        for (vector, account) in (0..).zip(accounts) {
            let pending = self.topology.pending(vector);
            prop_assert_eq!(pending, account.owed, "dropped or kept: vector {}", vector);
            let owes = pending && self.topology.in_flight(vector).is_none();
            prop_assert!(
                !owes || !self.topology.reasons(vector).is_empty(),
                "lost: vector {vector}"
            );
            prop_assert!(
                self.started(vector) <= account.signals,
                "invented: vector {vector}"
            );
        }
        Ok(())
    }
}

/// Steps with failures, after which a write to each register brings everything into order.
fn fail_and_repair(
    vectors: u16,
    steps: &[Step],
    by_control: bool,
    lines_fail: bool,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(vectors);
    let mut accounts = vec![Account::default(); vectors.into()];
    for step in steps {
        let before: Vec<Message> = (0..vectors)
            .map(|vector| pair.hardware.message(vector))
            .collect();
        let sent = pair.topology.state().sent.len();
        let result = pair.step_on(&mut accounts, step);
        pair.check_faults()?;
        pair.check_registers()?;
        if lines_fail {
            continue;
        }
        // Nothing but routes fails, so that masks are those of the guest, and more.
        prop_assert!(result.is_ok() || result.is_err_and(|error| error.is_route()));
        for vector in 0..vectors {
            let reasons = pair.topology.reasons(vector);
            let masked = pair.hardware.is_masked(vector);
            prop_assert!(reasons.contains(MaskReasons::VECTOR) || !masked);
            let open = pair.hardware.is_open();
            prop_assert_eq!(reasons.contains(MaskReasons::FUNCTION), !open);
        }
        for sent in &pair.topology.state().sent[sent..] {
            let after = pair.hardware.message(sent.vector);
            let before = before[usize::from(sent.vector)];
            prop_assert!(sent.message == before || sent.message == after);
        }
    }
    let before: Vec<usize> = (0..vectors).map(|vector| pair.started(vector)).collect();
    pair.repair(by_control)?;
    pair.update_accounts(&mut accounts, &before);
    pair.check_faults()?;
    pair.check_registers()?;
    pair.check_reasons()?;
    pair.check_nothing_owed(&accounts)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn device_behaves_as_hardware(vectors in vectors(), steps in proptest::collection::vec(step(), 0..60)) {
        let mut pair = Pair::new(vectors);
        pair.check_all()?;
        for step in &steps {
            let result = pair.step(step);
            prop_assert!(result.is_ok(), "{result:?}");
            pair.check_all()?;
        }
    }

    #[test]
    fn only_vectors_whose_message_is_refused_stay_masked(
        vectors in vectors(),
        invalid in select(vec![0, 1, 2, 0xfee0_0000]),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut pair = Pair::new(vectors);
        pair.topology.state().invalid = Some(invalid);
        pair.hardware.invalid = Some(invalid);
        for step in &steps {
            let result = pair.step(step);
            // From then on others stay masked, too.
            let refused = |vector: &u16| pair.hardware.is_refused(*vector) && !pair.hardware.is_masked(*vector);
            if (0..vectors).filter(refused).count() >= MAX_REFUSED {
                return Ok(());
            }
            match result {
                Ok(()) => {}
                Err(Error::Commit { vectors, .. }) => {
                    let refused = |&vector: &u16| pair.hardware.is_refused(vector);
                    prop_assert!(!vectors.is_empty() && vectors.iter().all(refused), "{vectors:?}");
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
            pair.check_all()?;
        }
    }

    #[test]
    fn routes_that_fail_are_repaired(
        vectors in vectors(),
        steps in proptest::collection::vec(failing_step(), 0..60),
        by_control: bool,
    ) {
        fail_and_repair(vectors, &steps, by_control, false)?;
    }

    #[test]
    fn calls_that_fail_are_repaired(
        vectors in vectors(),
        steps in proptest::collection::vec(step_with_failing_lines(), 0..60),
        by_control: bool,
    ) {
        fail_and_repair(vectors, &steps, by_control, true)?;
    }

    #[test]
    fn reads_that_pci_does_not_define_are_all_ones(
        offset in prop_oneof![0..64u64, any::<u64>(), (0..64u64).prop_map(|at| at | (1 << 32))],
        len in 0..20usize,
    ) {
        let pair = Pair::new(3);
        let defined = |size| [4, 8].contains(&len) && offset % len as u64 == 0 && offset < size;
        let (mut ours, mut theirs) = (vec![0x5a; len], vec![0xa5; len]);
        pair.device.registers.read_table(offset, &mut ours);
        pair.hardware.read_table(offset, &mut theirs);
        prop_assert_eq!(&ours, &theirs);
        prop_assert!(defined(48) || ours.iter().all(|&byte| byte == 0xff));
        ours.fill(0x5a);
        theirs.fill(0xa5);
        pair.device.read_pba(offset, &mut ours);
        pair.hardware.read_pba(offset, &mut theirs);
        prop_assert_eq!(&ours, &theirs);
        prop_assert!(defined(8) || ours.iter().all(|&byte| byte == 0xff));
    }
}

#[test]
fn registers_after_reset() {
    let registers = Registers::new(80);
    assert_eq!(registers.control(), 79);
    assert_eq!((registers.table_size(), registers.pba_size()), (1280, 16));
    let mut entry = [[0xa5; 8]; 2];
    registers.read_table(79 * 16, &mut entry[0]);
    registers.read_table(79 * 16 + 8, &mut entry[1]);
    assert_eq!(entry.map(u64::from_le_bytes), [0, 1 << 32]);
    let all = Registers::new(2048);
    assert_eq!((all.control(), all.pba_size()), (0x7ff, 256));
}

#[test]
fn reserved_bits_read_as_zero() {
    let mut registers = Registers::new(2);
    assert_eq!(registers.write_table(16, &[0xff; 8]), Some(1));
    assert_eq!(registers.write_table(24, &[0xff; 8]), Some(1));
    let mut qword = [0; 8];
    registers.read_table(16, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), !3);
    registers.read_table(24, &mut qword);
    assert_eq!(u64::from_le_bytes(qword), 0x1_ffff_ffff);
    registers.set_control(0xffff);
    assert_eq!(registers.control(), ENABLE | FUNCTION_MASK | 1);
}

fn write(device: &mut Device<Topology, Topology>, offset: u64, dword: u32) {
    device.write_table(offset, &dword.to_le_bytes()).unwrap();
}

#[test]
fn a_message_is_routed_once_and_only_if_it_has_changed() {
    let topology = Topology::new(4);
    let mut device = device(&topology, 4);
    let counts = || {
        let state = topology.state();
        (state.routes, state.commits)
    };
    for vector in 0..3 {
        write(&mut device, vector * 16, 0xfee0_0000);
        write(&mut device, vector * 16 + 8, vector as u32);
        write(&mut device, vector * 16 + 12, 0);
    }
    assert_eq!(counts(), (0, 0), "MSI-X is not enabled");
    device.write_control(ENABLE).unwrap();
    assert_eq!(counts(), (3, 1));
    for control in [ENABLE | FUNCTION_MASK, ENABLE, 0, ENABLE] {
        device.write_control(control).unwrap();
    }
    for masked in [1, 0, 1] {
        write(&mut device, 12, masked);
    }
    assert_eq!(counts(), (3, 1), "the messages are the same");
    write(&mut device, 0, 0xfee0_1000);
    write(&mut device, 4, 1);
    write(&mut device, 8, 0x99);
    assert_eq!(counts(), (3, 1), "the vector is masked");
    let calls = topology.state().calls;
    write(&mut device, 12, 0);
    assert_eq!(counts(), (4, 2));
    assert_eq!(topology.state().calls, calls + 1, "an unmask");
    write(&mut device, 8, 0x98);
    assert_eq!(counts(), (5, 3), "the vector is not masked");
    assert_eq!(topology.state().calls, calls + 3, "a mask and an unmask");
    topology.ring(0, true);
    let message = Message {
        address: 0x1_fee0_1000,
        data: 0x98,
    };
    assert_eq!(topology.state().sent.last().unwrap().message, message);
    assert_eq!(topology.state().faults, [] as [String; 0]);
}

#[test]
fn a_route_that_fails_leaves_the_others_open() {
    let topology = Topology::new(3);
    let mut device = device(&topology, 3);
    for vector in 0..3 {
        write(&mut device, vector * 16 + 12, 0);
    }
    (0..3).for_each(|vector| topology.ring(vector, true));
    topology.state().route_fails = Some(1);
    let error = device.write_control(ENABLE).unwrap_err();
    assert!(matches!(error, Error::Route { vector: 1, .. }), "{error}");
    assert_eq!(error.errno(), Some(libc::ENOSPC));
    let pending = |topology: &Topology| [0, 1, 2].map(|vector| topology.pending(vector));
    assert_eq!(pending(&topology), [false, true, false]);
    // The guest finds what it has written.
    assert_eq!(device.registers.control(), ENABLE | 2);
    topology.state().commit_fails = Some(0);
    let error = device.write_table(28, &[0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "commit the route of vector 1");
    assert_eq!(pending(&topology), [false, true, false]);
    device.write_table(28, &[0; 4]).unwrap();
    assert_eq!(pending(&topology), [false; 3]);
    assert_eq!(topology.state().sent.len(), 3);
}

#[test]
fn one_message_that_is_refused_masks_one_vector() {
    let topology = Topology::new(64);
    let mut device = device(&topology, 64);
    topology.state().invalid = Some(5);
    for vector in 0..64 {
        write(&mut device, vector * 16 + 8, vector as u32);
        write(&mut device, vector * 16 + 12, 0);
    }
    (0..64).for_each(|vector| topology.ring(vector, true));
    let error = device.write_control(ENABLE).unwrap_err();
    assert_eq!(error.to_string(), "commit the route of vector 5");
    assert!(matches!(error, Error::Commit { vectors, .. } if vectors == [5]));
    let pending: Vec<u16> = (0..64)
        .filter(|&vector| device.is_pending(vector))
        .collect();
    assert_eq!(pending, [5]);
    let sent = topology.state().sent.len();
    assert_eq!(sent, 63);
    // Halves, so that not each vector costs a commit.
    let commits = topology.state().commits;
    assert_eq!(commits, 13);
    // The next message of the vector is valid.
    write(&mut device, 5 * 16 + 8, 0x45);
    assert!(!device.is_pending(5));
    // The fault of one vector does not concern the next commit of another one.
    device.write_table(8, &[5, 0, 0, 0]).unwrap_err();
    write(&mut device, 16 + 8, 0x41);
    assert_eq!(topology.state().faults, [] as [String; 0]);
}

#[test]
fn many_messages_that_are_refused_cost_few_commits() {
    let topology = Topology::new(2048);
    let mut device = device(&topology, 2048);
    topology.state().invalid = Some(5);
    for vector in 0..2048 {
        write(&mut device, vector * 16 + 8, 5);
        write(&mut device, vector * 16 + 12, 0);
    }
    topology.ring(2047, true);
    for control in [ENABLE, ENABLE, ENABLE] {
        topology.state().commits = 0;
        let error = device.write_control(control).unwrap_err();
        assert!(
            matches!(error, Error::Commit { vectors, .. } if vectors.iter().copied().eq(0..2048))
        );
        let commits = topology.state().commits;
        assert!(commits < 30, "{commits}");
    }
    // A vector that was not tried is routed by a write to its entry.
    assert!(device.is_pending(2047));
    write(&mut device, 2047 * 16 + 8, 0x45);
    assert!(!device.is_pending(2047));
    assert_eq!(topology.state().faults, [] as [String; 0]);
}

#[test]
fn all_routes_of_a_box_and_a_reference_are_those_behind_it() {
    let topology = Topology::new(2);
    let mut borrowed = topology.clone();
    let mut boxed: Box<dyn Route + '_> = Box::new(&mut borrowed);
    let mut device = Device::new(topology.clone(), FIRST_LINE, 2, &mut boxed).expect("a device");
    device.write_table(12, &[0; 4]).unwrap();
    device.write_control(ENABLE).unwrap();
    let state = topology.state();
    assert_eq!((state.routes, state.commits), (1, 1));
}

#[test]
fn a_withdrawn_message_is_not_sent() {
    let topology = Topology::new(2);
    let mut device = device(&topology, 2);
    write(&mut device, 16 + 12, 0);
    topology.ring(0, true);
    topology.ring(1, true);
    device.withdraw(1).unwrap();
    assert!(device.is_pending(0) && !device.is_pending(1));
    device.write_control(ENABLE).unwrap();
    assert!(topology.state().sent.is_empty());
    let error = device.withdraw(2).unwrap_err();
    assert_eq!(error.to_string(), "vector 2: the function has 2");
    topology.state().lines_fail = Some(0);
    let error = device.withdraw(0).unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENOMEM));
    assert!(device.is_pending(0));
}

#[test]
fn the_old_route_is_gone_if_the_new_one_fails() {
    let topology = Topology::new(1);
    let mut device = device(&topology, 1);
    write(&mut device, 8, 0x41);
    write(&mut device, 12, 0);
    device.write_control(ENABLE).unwrap();
    topology.state().route_fails = Some(0);
    device.write_table(8, &[0x42, 0, 0, 0]).unwrap_err();
    write(&mut device, 8, 0x41);
    assert_eq!(topology.state().routes, 3);
    topology.ring(0, true);
    assert_eq!(topology.state().sent.len(), 1);
    assert_eq!(topology.state().faults, [] as [String; 0]);
}

#[test]
fn a_new_device_keeps_messages_and_a_reset_drops_them() {
    let topology = Topology::new(2);
    topology.mask(&topology.all(), MaskReasons::VECTOR).unwrap();
    topology.ring(1, true);
    let mut device = device(&topology, 2);
    assert!(device.is_pending(1) && !device.is_pending(0));
    device.reset().unwrap();
    assert!(!device.is_pending(1));
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let mut registers = Registers::new(2);
    registers.entries[1].message.address = 0xfee0_0002;
    let state = MsixState::of(&registers);
    let error = state.to_registers(2).unwrap_err();
    assert!(
        matches!(
            error,
            Error::StateAddress {
                vector: 1,
                address: 0xfee0_0002
            }
        ),
        "{error}"
    );
    let state = MsixState::of(&Registers::new(2));
    let error = state.to_registers(3).unwrap_err();
    assert_eq!(error.to_string(), "the state has 2 vectors, the function 3");
    assert_eq!(error.errno(), None);
}

#[cfg(feature = "serde")]
#[test]
fn states_of_another_version_are_refused() {
    let text = serde_json::to_string(&MsixState::of(&Registers::new(1))).unwrap();
    let newer = text.replace("\"version\":1", "\"version\":2");
    assert_ne!(text, newer);
    let newer: MsixState = serde_json::from_str(&newer).unwrap();
    let error = newer.to_registers(1).unwrap_err();
    assert!(matches!(error, Error::StateVersion { version: 2 }));
}

#[test]
fn errors_name_what_failed() {
    let call = crate::Error::Lines {
        operation: crate::Operation::Mask,
        lines: 2..9,
        source: std::io::Error::from_raw_os_error(libc::ENOMEM),
    };
    let error = Error::from(call);
    assert_eq!(error.to_string(), "mask lines of 2..9");
    assert_eq!(error.errno(), Some(libc::ENOMEM));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("Cannot allocate"), "{source}");
    let source = || std::io::Error::from_raw_os_error(libc::EINVAL);
    let commit = |vectors| Error::Commit {
        vectors,
        source: source(),
    };
    let text = commit(vec![1, 2]).to_string();
    assert_eq!(text, "commit the route of vectors 1, 2");
    let text = commit((0..64).collect()).to_string();
    assert_eq!(
        text,
        "commit the route of vectors 0, 1, 2, 3, 4, 5, 6, 7 and 56 more"
    );
    let error = Error::NoLines {
        lines: 4..20,
        nr_lines: 16,
    };
    assert_eq!(error.to_string(), "lines 4..20: the context has 16");
    assert!(std::error::Error::source(&error).is_none());
}
