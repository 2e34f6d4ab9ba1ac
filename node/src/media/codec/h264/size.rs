//! The size of H264 pictures: what a sequence parameter set says of it (ITU-T H.264 §7.3.2.1.1, §7.4.2.1.1).

/// Profiles whose parameter sets tell of chroma and scaling before anything else.
const WITH_CHROMA: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// `chroma_format_idc` of 4:2:0, which is what a set means that does not tell.
const CHROMA_420: u32 = 1;

/// Pixels along the side of a macroblock.
const MACROBLOCK: u32 = 16;

/// Reference frames in a cycle of picture order at most (ITU-T H.264 §7.4.2.1.1).
const CYCLE_MAX: u32 = 255;

/// Width and height in pixels of the pictures of a parameter set, whose data follow its header. `None` if it is broken.
pub(super) fn of_parameter_set(data: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(data);
    let profile = bits.fixed(8)?;
    // Constraints and level.
    bits.fixed(16)?;
    bits.unsigned()?;
    let chroma = if WITH_CHROMA.contains(&profile) { chroma(&mut bits)? } else { CHROMA_420 };
    bits.unsigned()?;
    skip_picture_order(&mut bits)?;
    // Reference frames, and whether there may be gaps between them.
    bits.unsigned()?;
    bits.flag()?;
    let width = MACROBLOCK.checked_mul(bits.unsigned()?.checked_add(1)?)?;
    let map_units = bits.unsigned()?.checked_add(1)?;
    let fields = 2 - u32::from(bits.flag()?);
    if fields == 2 {
        bits.flag()?;
    }
    let height = MACROBLOCK.checked_mul(fields)?.checked_mul(map_units)?;
    bits.flag()?;
    let (mut across, mut down) = (0, 0);
    if bits.flag()? {
        let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma == CHROMA_420 { 2 } else { 1 } * fields;
        across = bits.unsigned()?.checked_add(bits.unsigned()?)?.checked_mul(unit_x)?;
        down = bits.unsigned()?.checked_add(bits.unsigned()?)?.checked_mul(unit_y)?;
    }
    let pixels =
        |whole: u32, cropped| u16::try_from(whole.checked_sub(cropped)?).ok().filter(|rest| *rest > 0);
    Some((pixels(width, across)?, pixels(height, down)?))
}

/// Reads on over chroma and scaling. Returns `chroma_format_idc`.
fn chroma(bits: &mut Bits<'_>) -> Option<u32> {
    let format = bits.unsigned()?;
    if format == 3 {
        bits.flag()?;
    }
    // Depths of luma and chroma, and whether lossless blocks bypass the transform.
    bits.unsigned()?;
    bits.unsigned()?;
    bits.flag()?;
    if bits.flag()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(format)
}

fn skip_scaling_list(bits: &mut Bits<'_>, entries: u32) -> Option<()> {
    let mut last = 8_i64;
    for _ in 0..entries {
        last = (last + bits.signed()?).rem_euclid(256);
        if last == 0 {
            break;
        }
    }
    Some(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.unsigned()? {
        0 => bits.unsigned().map(|_| ()),
        1 => {
            bits.flag()?;
            bits.signed()?;
            bits.signed()?;
            let cycle = bits.unsigned().filter(|cycle| *cycle <= CYCLE_MAX)?;
            (0..cycle).try_for_each(|_| bits.signed().map(|_| ()))
        }
        _ => Some(()),
    }
}

/// Bits of a unit without the bytes that keep start codes out of it (ITU-T H.264 §7.4.1).
struct Bits<'a> {
    rest: std::slice::Iter<'a, u8>,
    zeros: u32,
    byte: u8,
    left: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { rest: data.iter(), zeros: 0, byte: 0, left: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let mut byte = *self.rest.next()?;
            if self.zeros >= 2 && byte == 3 {
                self.zeros = 0;
                byte = *self.rest.next()?;
            }
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
            (self.byte, self.left) = (byte, 8);
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left) & 1)
    }

    fn flag(&mut self) -> Option<bool> {
        self.bit().map(|bit| bit == 1)
    }

    fn fixed(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value: u32, _| Some(value << 1 | self.bit()?))
    }

    /// `ue(v)`: as many bits as there were zeros before them (ITU-T H.264 §9.1).
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.fixed(zeros)?;
        Some((1_u32 << zeros) - 1 + rest)
    }

    /// `se(v)`: one positive, one negative, and so on (ITU-T H.264 §9.1.1).
    fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// Parameter sets of x264, with their headers, and the sizes that it was given.
    const SETS: [(&str, (u16, u16)); 6] = [
        ("6742c01fd9005005bb0110000003001000000300a0f1832480", (1280, 720)),
        ("6742c00bd901419f9f0110000003001000000300a0f142a480", (320, 180)),
        ("67640028acd940780227e5c044000003000400000300283c60c658", (1920, 1080)),
        ("67640016acd940a42fe224c044000003000400000300283c58b658", (642, 362)),
        ("67f4001f919b280a00b76022000003000200000300141e30632c", (1280, 720)),
        // Interlaced.
        ("67640028acd94078044fde0220000003002000000643e2c5b2c0", (1920, 1080)),
    ];

    #[test]
    fn sizes_are_those_that_the_encoder_was_given() {
        for (set, size) in SETS {
            assert_eq!(of_parameter_set(&bytes(set)[1..]), Some(size), "{set}");
        }
    }

    #[test]
    fn sets_that_break_off_or_make_no_sense_have_none() {
        for (set, _) in SETS {
            let whole = bytes(set);
            for len in 1..whole.len() {
                // Whatever comes of it, the rest of a set is for other things than its size.
                let _ = of_parameter_set(&whole[1..len]);
            }
            assert_eq!(of_parameter_set(&whole[1..8]), None, "{set}");
        }
        assert_eq!(of_parameter_set(&[]), None);
        assert_eq!(of_parameter_set(&[0; 64]), None);
        assert!(of_parameter_set(&[0xFF; 64]).is_some(), "16 pixels a side");
    }
}
