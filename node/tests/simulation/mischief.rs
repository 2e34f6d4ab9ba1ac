//! What clients send that mean no good, or were written badly.

use crate::client::Client;
use crate::dice::Dice;

/// A datagram of nonsense that begins like one of the protocols of the port.
pub fn garbage(len: u64, dice: &mut Dice) -> Vec<u8> {
    let mut datagram: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
    if let Some(first) = datagram.first_mut() {
        *first = dice.pick(&[*first, 0x00, 0x16, 0x80, 0x90]);
    }
    datagram
}

/// Nonsense under good keys: RTCP with every type and wrong contents, or RTP that nobody agreed on.
pub fn play(client: &mut Client, dice: &mut Dice) {
    let words = dice.between(1, 12);
    let mut body: Vec<u8> = (0..words * 4).map(|_| dice.next() as u8).collect();
    if dice.chance(0.3) {
        // Payload type 50 is nobody's; extensions and padding are as they fall.
        let mut packet = vec![0x80 | dice.next() as u8 & 0x3F & 0xF0, 50, 0, 1];
        packet.append(&mut body);
        packet.resize(packet.len().max(24), 0);
        // Too short for its extension, this library would refuse to seal it.
        packet[0] &= 0xAF;
        client.send_rtp(&packet);
        return;
    }
    let mut compound = vec![0x80 | dice.next() as u8 & 0x1F, dice.between(200, 207) as u8, 0, words as u8];
    compound.append(&mut body);
    client.send_rtcp(&compound);
}
