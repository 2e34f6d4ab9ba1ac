#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! Both directions against `rtc-srtp`, written by others.

use proptest::prelude::*;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

use super::inbound::estimate_index;
use super::*;
use crate::media::keys::{MasterKey, SrtpProfile};

fn master(profile: SrtpProfile) -> MasterKey {
    MasterKey {
        key: (0..profile.key_bytes() as u8).map(|byte| byte.wrapping_mul(7)).collect(),
        salt: (0..profile.salt_bytes() as u8).map(|byte| byte.wrapping_mul(13)).collect(),
    }
}

fn oracle(profile: SrtpProfile) -> Context {
    let key = master(profile);
    let profile = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    let crypto = rtc_srtp::crypto::default_provider().unwrap();
    let (rtp, rtcp) = (srtp_replay_protection(128), srtcp_replay_protection(128));
    Context::new(&key.key, &key.salt, profile, Some(rtp), Some(rtcp), crypto.crypto()).unwrap()
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend(90_000_u32.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0xBE, 0xDE, 0, 1, 0x11, 3, 4, 0]);
    packet.extend(payload);
    packet
}

const HEADER_BYTES: usize = 20;

fn seal(sealer: &RtpSealer, packet: &[u8], index: u64) -> Vec<u8> {
    let mut out = packet.to_vec();
    out.resize(packet.len() + sealer.overhead_bytes(), 0xEE);
    let ssrc = u32::from_be_bytes(packet[8..12].try_into().unwrap());
    sealer.seal((ssrc, index), &mut out, HEADER_BYTES, &packet[HEADER_BYTES..]).unwrap();
    out
}

#[test]
fn what_we_seal_others_open_across_the_wrap() {
    for profile in SrtpProfile::PREFERRED {
        let sealer = RtpSealer::new(profile, &master(profile)).unwrap();
        let mut oracle = oracle(profile);
        for index in 65_500_u64..65_600 {
            let packet = rtp(index as u16, 7, &[index as u8; 333]);
            let sealed = seal(&sealer, &packet, index);
            assert_eq!(sealed.len(), packet.len() + profile.rtp_overhead_bytes());
            assert_eq!(&oracle.decrypt_rtp(&sealed).unwrap()[..], &packet[..], "{profile:?} {index}");
        }
    }
}

#[test]
fn what_others_seal_we_open_across_the_wrap_and_out_of_order() {
    for profile in SrtpProfile::PREFERRED {
        let mut opener = RtpOpener::new(profile, &master(profile)).unwrap();
        let mut oracle = oracle(profile);
        let packets: Vec<_> =
            (65_500_u64..65_600).map(|index| (index, rtp(index as u16, 7, &[index as u8; 99]))).collect();
        let mut sealed: Vec<_> = packets
            .iter()
            .map(|(index, packet)| (*index, packet, oracle.encrypt_rtp(packet).unwrap().to_vec()))
            .collect();
        sealed[1..].chunks_mut(3).for_each(<[_]>::reverse);
        for (index, packet, mut bytes) in sealed {
            let replay = bytes.clone();
            let opened = opener.open(&mut bytes, HEADER_BYTES).unwrap();
            assert_eq!((opened.index, opened.ssrc), (index, 7));
            assert_eq!(&bytes[..opened.len], &packet[..]);
            assert_eq!(opener.open(&mut replay.clone(), HEADER_BYTES), Err(SrtpError::Replay));
        }
    }
}

#[test]
fn a_damaged_packet_is_refused_and_changes_nothing() {
    for profile in SrtpProfile::PREFERRED {
        let mut opener = RtpOpener::new(profile, &master(profile)).unwrap();
        let mut oracle = oracle(profile);
        let sealed = oracle.encrypt_rtp(&rtp(9, 7, &[1; 50])).unwrap().to_vec();
        for at in [1, 14, 30, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(
                opener.open(&mut damaged, HEADER_BYTES),
                Err(SrtpError::Authentication),
                "{profile:?} {at}"
            );
        }
        assert!(opener.open(&mut sealed.clone(), HEADER_BYTES).is_ok());
        assert_eq!(opener.open(&mut [0x80; 30], 24), Err(SrtpError::Malformed));
    }
}

#[test]
fn a_peer_cannot_make_us_keep_state_for_many_sources() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let mut opener = RtpOpener::new(profile, &master(profile)).unwrap();
    let mut oracle = oracle(profile);
    let mut refused = 0;
    for ssrc in 0..100 {
        let mut sealed = oracle.encrypt_rtp(&rtp(1, ssrc, &[1])).unwrap().to_vec();
        refused += usize::from(opener.open(&mut sealed, HEADER_BYTES) == Err(SrtpError::TooManySources));
    }
    assert_eq!(refused, 68);
}

fn receiver_report() -> Vec<u8> {
    let mut packet = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
    packet.extend([9; 24]);
    packet
}

#[test]
fn srtcp_goes_both_ways_and_is_never_taken_twice() {
    for profile in SrtpProfile::PREFERRED {
        let mut oracle_in = oracle(profile);
        let mut oracle_out = oracle(profile);
        let mut sealer = RtcpSealer::new(profile, &master(profile)).unwrap();
        let mut opener = RtcpOpener::new(profile, &master(profile)).unwrap();
        for _ in 0..5 {
            let plain = receiver_report();
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + sealer.overhead_bytes(), 0);
            sealer.seal(&mut sealed).unwrap();
            assert_eq!(&oracle_in.decrypt_rtcp(&sealed).unwrap()[..], &plain[..], "{profile:?}");

            let theirs = oracle_out.encrypt_rtcp(&plain).unwrap().to_vec();
            assert_eq!(opener.open(&mut theirs.clone()).unwrap(), &plain[..]);
            assert_eq!(opener.open(&mut theirs.clone()), Err(SrtpError::Replay));
            let mut damaged = oracle_out.encrypt_rtcp(&plain).unwrap().to_vec();
            damaged[12] ^= 1;
            assert_eq!(opener.open(&mut damaged), Err(SrtpError::Authentication));
        }
        assert_eq!(opener.open(&mut [0x80; 20]), Err(SrtpError::Malformed));
    }
}

#[test]
#[should_panic(expected = "seals different bytes")]
fn the_ledger_sees_a_nonce_used_for_other_bytes() {
    let profile = SrtpProfile::AeadAes128Gcm;
    let sealer = RtpSealer::new(profile, &master(profile)).unwrap();
    seal(&sealer, &rtp(5, 7, &[1; 20]), 5);
    seal(&sealer, &rtp(5, 7, &[1; 20]), 5);
    seal(&sealer, &rtp(5, 7, &[2; 20]), 5);
}

proptest! {
    #[test]
    fn the_index_is_found_within_half_the_space(highest in 32_768_u64..1 << 40, distance in -32_768_i64..32_768) {
        let index = highest.checked_add_signed(distance).unwrap();
        prop_assert_eq!(estimate_index(Some(highest), index as u16), index);
    }

    #[test]
    fn garbage_is_never_opened(bytes in prop::collection::vec(any::<u8>(), 0..200), header in 0_usize..80) {
        for profile in SrtpProfile::PREFERRED {
            let mut rtp = RtpOpener::new(profile, &master(profile)).unwrap();
            prop_assert!(rtp.open(&mut bytes.clone(), header).is_err());
            let mut rtcp = RtcpOpener::new(profile, &master(profile)).unwrap();
            prop_assert!(rtcp.open(&mut bytes.clone()).is_err());
        }
    }
}
