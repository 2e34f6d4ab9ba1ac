//! Both roles of our association against each other, and the parsers against bytes that nobody sane would send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::core::{Dtls, DtlsEvent};
use super::hello::ClientHello;
use super::reassembly::{Inserted, Reassembly};
use super::record::{Fragment, Fragments, HANDSHAKE, Records, write_record};
use super::{DtlsError, DtlsIdentity};
use crate::media::keys::{SrtpKeys, SrtpProfile};
use crate::media::negotiated::DtlsRole;

/// Two associations of ours and the time they share.
struct Pair {
    now: Instant,
    ends: [Dtls; 2],
    keys: [Option<SrtpKeys>; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Pair {
    fn new(client: &Arc<DtlsIdentity>, server: &Arc<DtlsIdentity>) -> Self {
        let now = Instant::now();
        let mut pair = Self {
            now,
            ends: [
                Dtls::new(DtlsRole::Client, Arc::clone(client), vec![server.fingerprint()]),
                Dtls::new(DtlsRole::Server, Arc::clone(server), vec![client.fingerprint()]),
            ],
            keys: [None, None],
        };
        pair.ends[CLIENT].start(now).unwrap();
        pair
    }

    /// Runs until both are connected or `time` has passed; `arrives` says which datagrams arrive, by sender and count.
    fn run(&mut self, time: Duration, mut arrives: impl FnMut(usize, usize) -> bool) -> bool {
        let end = self.now + time;
        let mut sent = [0, 0];
        loop {
            for from in [CLIENT, SERVER] {
                while let Some(datagram) = self.ends[from].poll_transmit() {
                    sent[from] += 1;
                    if arrives(from, sent[from] - 1) {
                        self.deliver(1 - from, &datagram);
                    }
                }
            }
            if self.ends.iter().any(|end| !end.is_quiet()) {
                continue;
            }
            if self.keys.iter().all(Option::is_some) {
                return true;
            }
            let next = self.ends.iter().filter_map(Dtls::poll_timeout).min();
            let Some(next) = next.filter(|at| *at < end) else { return false };
            self.now = next;
            self.ends.iter_mut().for_each(|end| end.handle_timeout(next));
        }
    }

    fn deliver(&mut self, to: usize, datagram: &Bytes) {
        if let Some(DtlsEvent::Connected(keys)) = self.ends[to].handle(self.now, datagram).unwrap() {
            self.keys[to] = Some(keys);
        }
    }
}

#[test]
fn whichever_datagram_is_lost_both_roles_recover_within_a_second() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    for lost_from in [CLIENT, SERVER] {
        for lost in 0..8 {
            let mut pair = Pair::new(&client, &server);
            let connected =
                pair.run(Duration::from_secs(1), |from, count| (from, count) != (lost_from, lost));
            assert!(connected, "number {lost} of end {lost_from} was lost");
            let [client, server] = &pair.keys;
            let (client, server) = (client.as_ref().unwrap(), server.as_ref().unwrap());
            assert_eq!(client.profile, SrtpProfile::AeadAes128Gcm);
            assert!(client.local == server.remote && client.remote == server.local);
        }
    }
}

#[test]
fn half_of_all_datagrams_lost_is_recovered_before_the_join_times_out() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let mut connected = 0;
    for seed in 1..=40_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        connected += u32::from(Pair::new(&client, &server).run(Duration::from_secs(15), |_, _| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 63 == 0
        }));
    }
    assert!(connected >= 36, "{connected} of 40 connected");
}

/// A record of the handshake's first epoch, which nothing protects.
fn plain(kind: u8, body: &[u8]) -> Bytes {
    let mut datagram = bytes::BytesMut::new();
    write_record(&mut datagram, kind, 0, body);
    datagram.freeze()
}

#[test]
fn alerts_in_plain_text_and_broken_hellos_do_not_end_a_handshake() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    for (before, forgeries) in [(0, 3), (1, 2), (2, 2)] {
        let mut pair = Pair::new(&client, &server);
        let broken = [1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0xfe, 0xfd];
        let forged = [plain(21, &[2, 40]), plain(21, &[1, 0]), plain(HANDSHAKE, &broken)];
        for turn in 0.. {
            let end = turn % 2;
            if turn == before {
                for datagram in &forged[..forgeries] {
                    assert!(matches!(pair.ends[SERVER].handle(pair.now, datagram), Ok(None)));
                }
                assert_eq!(pair.ends[SERVER].ignored(), forgeries as u64);
                assert!(matches!(pair.ends[SERVER].suspicion(), Some(DtlsError::Alert(0))));
                break;
            }
            while let Some(datagram) = pair.ends[end].poll_transmit() {
                pair.deliver(1 - end, &datagram);
            }
        }
        assert!(pair.run(Duration::from_secs(2), |_, _| true), "forged before turn {before}");
    }
}

#[test]
fn only_what_the_peer_signed_ends_an_association_and_forgeries_leave_nothing_behind() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let mut pair = Pair::new(&client, &server);
    assert!(pair.run(Duration::from_secs(2), |_, _| true));
    let now = pair.now;
    for version in [[0xfe, 0xfd], [0xfe, 0xff], [0xfe, 0x00]] {
        for length in [1, 2, 26, 60] {
            for epoch in [1, 2, 9] {
                let header = [21, version[0], version[1], 0, epoch, 0, 0, 0, 0, 0, 9, 0, length];
                let forged = [&header[..], &vec![3; usize::from(length)]].concat();
                assert!(matches!(pair.ends[SERVER].handle(now, &forged), Ok(None)));
            }
        }
    }
    assert!(pair.ends[SERVER].is_quiet(), "forgeries are not answered");
    assert_eq!(pair.ends[SERVER].ignored(), 36);
    pair.ends[CLIENT].close(now);
    let goodbye = pair.ends[CLIENT].poll_transmit().unwrap();
    assert!(matches!(pair.ends[SERVER].handle(now, &goodbye), Ok(Some(DtlsEvent::Closed))));
}

/// A whole handshake message in a plain-text record.
fn handshake(kind: u8, sequence: u16, body: &[u8]) -> Bytes {
    let [_, length @ ..] = (body.len() as u32).to_be_bytes();
    let [high, low] = sequence.to_be_bytes();
    let header = [&[kind][..], &length, &[high, low, 0, 0, 0], &length].concat();
    plain(HANDSHAKE, &[&header, body].concat())
}

#[test]
fn messages_that_end_no_flight_are_not_kept_without_bound() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    for body in [0, 8_000] {
        let mut pair = Pair::new(&client, &server);
        let body = vec![0; body];
        // Nobody has said hello: all of it is forgotten again and again.
        for sequence in 0..1_000 {
            let junk = handshake(0, sequence % 8, &body);
            assert!(matches!(pair.ends[SERVER].handle(pair.now, &junk), Ok(None)));
        }
        assert!(pair.ends[SERVER].ignored() > 0);
        let hello = pair.ends[CLIENT].poll_transmit().unwrap();
        let mut server = Dtls::new(DtlsRole::Server, Arc::clone(&server), vec![client.fingerprint()]);
        server.handle(pair.now, &hello).unwrap();
        let taken = (0..1_000)
            .take_while(|number| server.handle(pair.now, &handshake(0, 1 + number % 8, &body)).is_ok());
        assert!(taken.count() < 8 * 16, "it ends");
    }
}

/// A pair whose server has answered, and the client's second flight, record by record, on its way.
fn second_flight(client: &Arc<DtlsIdentity>, server: &Arc<DtlsIdentity>) -> (Pair, Vec<Bytes>) {
    let mut pair = Pair::new(client, server);
    for from in [CLIENT, SERVER] {
        while let Some(datagram) = pair.ends[from].poll_transmit() {
            pair.deliver(1 - from, &datagram);
        }
    }
    let mut records = Vec::new();
    while let Some(datagram) = pair.ends[CLIENT].poll_transmit() {
        records.extend(Records::of(&datagram).map(|record| Bytes::copy_from_slice(record.whole)));
    }
    (pair, records)
}

/// Encrypted records of nobody.
fn sealed_by_nobody(count: u8) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|number| {
        let header = [HANDSHAKE, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, number, 0, 40];
        [&header[..], &[number; 40]].concat()
    })
}

#[test]
fn forged_messages_before_the_proof_do_not_end_a_handshake() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let mut other = real_hello().to_vec();
    other[5] ^= 1;
    let forgeries = [
        vec![handshake(16, 1, &[])],
        vec![handshake(14, 1, &[])],
        vec![handshake(1, 1, &[])],
        vec![handshake(11, 1, &[7; 100])],
        vec![handshake(15, 3, &[]), handshake(15, 4, &[])],
        vec![handshake(1, 0, &other)],
        vec![handshake(1, 0, &hello(&[2])[12..])],
        (1..9).map(|sequence| handshake(0, sequence, &[])).collect(),
        (4..7).map(|sequence| handshake(11, sequence, &[0; 8_000])).collect(),
    ];
    for (case, forged) in forgeries.iter().enumerate() {
        let (mut pair, flight) = second_flight(&client, &server);
        for datagram in forged {
            assert!(matches!(pair.ends[SERVER].handle(pair.now, datagram), Ok(None)), "case {case}");
        }
        flight.iter().for_each(|record| pair.deliver(SERVER, record));
        assert!(pair.run(Duration::from_secs(3), |_, _| true), "case {case}");
    }
}

#[test]
fn forged_messages_after_the_proof_change_nothing() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let (mut pair, mut flight) = second_flight(&client, &server);
    let finished = flight.pop().unwrap();
    flight.iter().for_each(|record| pair.deliver(SERVER, record));
    for (kind, sequence) in [(15, 4), (16, 4), (14, 4), (1, 4), (1, 0), (11, 1)] {
        pair.deliver(SERVER, &handshake(kind, sequence, &[]));
    }
    for forged in sealed_by_nobody(200) {
        pair.deliver(SERVER, &forged.into());
    }
    pair.deliver(SERVER, &finished);
    assert!(pair.keys[SERVER].is_some());
    assert!(pair.run(Duration::from_secs(1), |_, _| true));
}

#[test]
fn a_hello_of_somebody_else_before_the_clients_own_does_not_keep_it_out() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let mut pair = Pair::new(&client, &server);
    pair.deliver(SERVER, &handshake(1, 0, real_hello()));
    // The client has not begun, so it does not take the answer.
    while pair.ends[SERVER].poll_transmit().is_some() {}
    assert!(pair.run(Duration::from_secs(1), |_, _| true));
}

#[test]
fn an_endless_row_of_forged_flights_ends_the_handshake_and_says_why() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let (mut pair, _) = second_flight(&client, &server);
    for _ in 0..8 {
        pair.deliver(SERVER, &handshake(16, 1, &[]));
        assert!(matches!(pair.ends[SERVER].suspicion(), Some(DtlsError::Refused(40))));
    }
    let ended = pair.ends[SERVER].handle(pair.now, &handshake(16, 1, &[]));
    assert!(matches!(ended, Err(DtlsError::Refused(40))));
    assert_eq!(pair.ends[SERVER].poll_transmit().unwrap()[13..], [2, 40]);
}

#[test]
fn whoever_names_the_address_of_another_makes_us_send_him_little() {
    let identity = identity();
    for repeats in [false, true] {
        let mut server = Dtls::new(DtlsRole::Server, Arc::clone(&identity), vec![identity.fingerprint()]);
        let hello = handshake(1, 0, real_hello());
        let mut now = Instant::now();
        server.handle(now, &hello).unwrap();
        let mut sent = 0;
        for _ in 0..250 {
            now += Duration::from_millis(60);
            server.handle_timeout(now);
            if repeats {
                server.handle(now, &hello).unwrap();
            }
            sent += std::iter::from_fn(|| server.poll_transmit()).count();
        }
        assert_eq!(sent, if repeats { 13 } else { 5 });
    }
}

#[test]
fn records_of_our_own_and_of_nobody_change_nothing_once_connected() {
    let (client, server) = (DtlsIdentity::generate().unwrap(), DtlsIdentity::generate().unwrap());
    let (mut pair, flight) = second_flight(&client, &server);
    flight.iter().for_each(|record| pair.deliver(SERVER, record));
    assert!(pair.keys[SERVER].is_some());
    let ours = pair.ends[SERVER].poll_transmit().unwrap();
    let alert = |number| [&[21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, number, 0, 26][..], &[0; 26]].concat();
    let mut all = vec![ours.to_vec(), handshake(1, 0, real_hello()).to_vec(), alert(0), alert(1)];
    all.extend(sealed_by_nobody(3));
    for datagram in all {
        assert!(matches!(pair.ends[SERVER].handle(pair.now, &datagram), Ok(None)));
    }
    assert!(pair.ends[SERVER].is_quiet(), "our last flight was sent just now");
    pair.deliver(CLIENT, &ours);
    assert!(pair.keys.iter().all(Option::is_some));
    pair.ends[CLIENT].close(pair.now);
    let goodbye = pair.ends[CLIENT].poll_transmit().unwrap();
    assert!(matches!(pair.ends[SERVER].handle(pair.now, &goodbye), Ok(Some(DtlsEvent::Closed))));
}

fn fragment(sequence: u16, length: usize, offset: usize, bytes: &[u8]) -> Fragment<'_> {
    Fragment { kind: 1, length, sequence, offset, bytes }
}

#[test]
fn fragments_are_put_together_in_any_order_and_handed_on_once() {
    let body: Vec<u8> = (0..=255).collect();
    let mut reassembly = Reassembly::default();
    for (from, to) in [(200, 256), (0, 10), (0, 10), (5, 120), (100, 200)] {
        assert_eq!(reassembly.pop(), None);
        let taken = reassembly.insert(&fragment(0, 256, from, &body[from..to]));
        assert_eq!(taken, Inserted::Taken);
    }
    let message = reassembly.pop().unwrap();
    assert_eq!(&message[..12], [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(&message[12..], &body[..]);
    assert_eq!(reassembly.pop(), None);
    assert_eq!(reassembly.insert(&fragment(0, 256, 0, &body)), Inserted::Repeated);
}

#[test]
fn messages_that_come_before_their_turn_wait_for_it() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.insert(&fragment(1, 0, 0, &[])), Inserted::Taken);
    assert_eq!(reassembly.pop(), None);
    assert_eq!(reassembly.insert(&fragment(0, 1, 0, &[7])), Inserted::Taken);
    assert_eq!(reassembly.pop().unwrap().len(), 13);
    assert_eq!(reassembly.pop().unwrap().len(), 12);
}

#[test]
fn fragments_that_ask_for_too_much_are_refused() {
    let mut reassembly = Reassembly::default();
    assert_eq!(reassembly.insert(&fragment(0, 99, 50, &[1; 49])), Inserted::Taken);
    assert_eq!(reassembly.insert(&fragment(1, 1 << 20, 0, &[1])), Inserted::Refused);
    assert_eq!(reassembly.insert(&fragment(8, 1, 0, &[1])), Inserted::Refused, "too far ahead");
    for sequence in 1..8 {
        reassembly.insert(&fragment(sequence, 8_000, 0, &[1]));
    }
    assert_eq!(reassembly.insert(&fragment(7, 8_000, 0, &[1])), Inserted::Refused, "too much at once");
}

#[test]
fn a_forged_fragment_does_not_keep_the_message_from_coming_whole() {
    let mut reassembly = Reassembly::default();
    // Of another length; too many pieces; later messages that leave no room.
    reassembly.insert(&fragment(0, 100, 0, &[1; 50]));
    for at in 0..40 {
        reassembly.insert(&fragment(0, 4_000, 2 * at + 1, &[1]));
    }
    for sequence in 1..8 {
        reassembly.insert(&fragment(sequence, 8_000, 0, &[1]));
    }
    assert_eq!(reassembly.insert(&fragment(0, 4_000, 0, &[2; 4_000])), Inserted::Taken);
    assert_eq!(reassembly.pop().unwrap()[12..], [2; 4_000]);
}

fn choose_profile(message: &[u8]) -> Result<SrtpProfile, DtlsError> {
    ClientHello::read(message)?.profile()
}

/// A ClientHello with a cookie, other extensions and `profiles`.
fn hello(profiles: &[u16]) -> Vec<u8> {
    let list: Vec<u8> = profiles.iter().flat_map(|profile| profile.to_be_bytes()).collect();
    let mut srtp = vec![0, 14];
    srtp.extend_from_slice(&(list.len() as u16 + 3).to_be_bytes());
    srtp.extend_from_slice(&(list.len() as u16).to_be_bytes());
    srtp.extend_from_slice(&list);
    srtp.push(0);
    let extensions = [&[0x0a, 0x0a, 0, 0, 0, 23, 0, 0][..], &srtp].concat();
    let mut message = vec![1; 12];
    message.extend_from_slice(&[0xfe, 0xfd]);
    message.extend_from_slice(&[9; 32]);
    message.extend_from_slice(&[0, 2, 5, 5, 0, 2, 0xc0, 0x2b, 1, 0]);
    message.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    message.extend_from_slice(&extensions);
    message
}

#[test]
fn the_best_profile_of_a_hello_is_chosen() {
    assert_eq!(choose_profile(&hello(&[1, 8, 7])).unwrap(), SrtpProfile::AeadAes128Gcm);
    assert_eq!(choose_profile(&hello(&[2, 1])).unwrap(), SrtpProfile::Aes128CmHmacSha1_80);
    assert!(matches!(choose_profile(&hello(&[2])), Err(DtlsError::NoCommonProfile)));
    let whole = hello(&[1, 7]);
    assert!(choose_profile(&[&whole[..], &[0]].concat()).is_err(), "a byte behind it");
    let mut twice = whole.clone();
    let at = twice.windows(4).position(|bytes| bytes == [0, 23, 0, 0]).unwrap();
    twice[at..at + 2].copy_from_slice(&[0x0a, 0x0a]);
    assert!(choose_profile(&twice).is_err(), "an extension twice");
    for length in 0..whole.len() - 1 {
        assert!(choose_profile(&whole[..length]).is_err(), "cut to {length} bytes");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for record in Records::of(&bytes) {
            let _ = Fragments::of(record.body).count();
        }
        let _ = choose_profile(&bytes);
    }

    #[test]
    fn whatever_fragments_come_memory_stays_bounded_and_messages_keep_their_length(
        fragments in proptest::collection::vec((0..10_u16, 0..9_000_usize, 0..9_000_usize, 0..200_usize), 0..200),
    ) {
        let mut reassembly = Reassembly::default();
        let bytes = [3; 200];
        for (sequence, length, offset, count) in fragments {
            if offset + count <= length {
                reassembly.insert(&fragment(sequence, length, offset, &bytes[..count]));
            }
            if let Some(message) = reassembly.pop() {
                prop_assert!(message[12..].iter().all(|byte| *byte == 3));
            }
        }
    }

    /// Well-formed records around arbitrary handshake messages reach the library's own parsers.
    #[test]
    fn no_handshake_message_makes_the_association_panic(
        messages in proptest::collection::vec(
            (prop_oneof![0..25_u8, Just(11_u8), Just(16_u8), Just(15_u8)], proptest::collection::vec(any::<u8>(), 0..120)),
            1..6,
        ),
        begins_with in 0..3,
        role in prop_oneof![Just(DtlsRole::Server), Just(DtlsRole::Client)],
    ) {
        let identity = identity();
        let mut dtls = Dtls::new(role, identity, vec![]);
        let now = Instant::now();
        dtls.start(now).unwrap();
        let hello = match begins_with {
            0 => None,
            1 => Some((1, hello(&[7])[12..].to_vec())),
            // One that our own handshake answers.
            _ => Some((1, real_hello().to_vec())),
        };
        for (sequence, (kind, body)) in hello.into_iter().chain(messages).enumerate() {
            let event = dtls.handle(now, &handshake(kind, sequence as u16, &body));
            prop_assert!(!matches!(event, Ok(Some(_))));
            if event.is_err() {
                break;
            }
        }
    }
}

/// The body of a ClientHello of the library.
fn real_hello() -> &'static [u8] {
    static HELLO: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    HELLO.get_or_init(|| {
        let mut client = Dtls::new(DtlsRole::Client, identity(), vec![]);
        client.start(Instant::now()).unwrap();
        client.poll_transmit().unwrap()[25..].to_vec()
    })
}

/// One identity for all cases: making one costs more than a case.
fn identity() -> Arc<DtlsIdentity> {
    static IDENTITY: std::sync::OnceLock<Arc<DtlsIdentity>> = std::sync::OnceLock::new();
    Arc::clone(IDENTITY.get_or_init(|| DtlsIdentity::generate().unwrap()))
}
