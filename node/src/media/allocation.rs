//! The video layers allocation (webrtc.googlesource.com/src, docs/native-code/rtp-hdrext/video-layers-allocation00): which
//! streams and spatial layers a browser's encoders send at the moment, at which bitrates, and how large their pictures are.
//!
//! Browsers write it to keyframes and wherever it changes, on every stream that they send. What is not in it is not sent.

use smallvec::SmallVec;

/// Spatial layers of one stream at most: the bits of a mask.
const SPATIAL_LAYERS_MAX: u8 = 4;

/// Streams at most: their count has 2 bits.
const STREAMS_MAX: usize = 4;

/// Temporal layers of a spatial layer at most: their count has 2 bits.
const TEMPORAL_LAYERS_MAX: usize = 4;

/// Bytes of a number in LEB128 at most (AV1 specification §4.10.5).
const LEB128_BYTES_MAX: usize = 8;

/// How large the pictures of a layer are, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatedPicture {
    /// In pixels, from 1 to 65,536.
    pub width: u32,
    /// In pixels, from 1 to 65,536.
    pub height: u32,
    /// At most so many per second.
    pub frames_per_second: u8,
}

/// A spatial layer that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatedLayer {
    /// Index of its stream: in simulcast the place of its RID in the offer.
    pub stream: u8,
    /// Its place within the stream.
    pub spatial: u8,
    temporal_layers: usize,
    targets_kbps: [u32; TEMPORAL_LAYERS_MAX],
    /// `None` where the allocation does not say it: browsers do so on keyframes.
    pub picture: Option<AllocatedPicture>,
}

impl AllocatedLayer {
    /// What its encoder is to send for each temporal layer, all below it included, in kbit/s.
    pub fn targets_kbps(&self) -> &[u32] {
        self.targets_kbps.get(..self.temporal_layers).unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// Index of the stream that it came on.
    pub stream: u8,
    /// What is sent, by stream and then by spatial layer; empty if nothing is.
    pub layers: SmallVec<[AllocatedLayer; STREAMS_MAX * SPATIAL_LAYERS_MAX as usize]>,
}

/// Why an allocation cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// It ends too early.
    #[error("the video layers allocation is cut off")]
    CutOff,
    /// A bitrate is longer or larger than one can be.
    #[error("a bitrate of the video layers allocation is too large")]
    TooLarge,
    /// It goes on after its end.
    #[error("the video layers allocation goes on after its end")]
    TooLong,
}

impl Allocation {
    /// Reads the value of a header extension.
    pub fn parse(value: &[u8]) -> Result<Self, AllocationError> {
        let mut rest = value;
        let [head] = take(&mut rest)?;
        let mut allocation = Self { stream: head >> 6, layers: SmallVec::new() };
        if value == [0] {
            return Ok(allocation);
        }
        let streams = (head >> 4 & 0b11) + 1;
        let masks = match head & 0b1111 {
            0 => read_masks(&mut rest, streams)?,
            shared => [shared; STREAMS_MAX],
        };
        for (stream, mask) in (0..streams).zip(masks) {
            for spatial in (0..SPATIAL_LAYERS_MAX).filter(|spatial| mask >> spatial & 1 == 1) {
                let (temporal_layers, targets_kbps) = (1, [0; TEMPORAL_LAYERS_MAX]);
                let layer = AllocatedLayer { stream, spatial, temporal_layers, targets_kbps, picture: None };
                allocation.layers.push(layer);
            }
        }
        for layers in allocation.layers.chunks_mut(4) {
            let [counts] = take(&mut rest)?;
            for (layer, shift) in layers.iter_mut().zip([6, 4, 2, 0]) {
                layer.temporal_layers = usize::from(counts >> shift & 0b11) + 1;
            }
        }
        for layer in &mut allocation.layers {
            for target_kbps in layer.targets_kbps.iter_mut().take(layer.temporal_layers) {
                *target_kbps = read_leb128(&mut rest)?;
            }
        }
        if !rest.is_empty() {
            for layer in &mut allocation.layers {
                let [width, width_low, height, height_low, frames_per_second] = take(&mut rest)?;
                let pixels = |bytes| u32::from(u16::from_be_bytes(bytes)) + 1;
                let (width, height) = (pixels([width, width_low]), pixels([height, height_low]));
                layer.picture = Some(AllocatedPicture { width, height, frames_per_second });
            }
        }
        if rest.is_empty() { Ok(allocation) } else { Err(AllocationError::TooLong) }
    }

    /// Whether anything of the stream with this index is sent.
    pub fn sends(&self, stream: u8) -> bool {
        self.layers.iter().any(|layer| layer.stream == stream)
    }
}

/// The next bytes.
fn take<const COUNT: usize>(rest: &mut &[u8]) -> Result<[u8; COUNT], AllocationError> {
    let (taken, after) = rest.split_first_chunk().ok_or(AllocationError::CutOff)?;
    *rest = after;
    Ok(*taken)
}

/// The spatial layers of each stream: two streams to a byte, the first one in its upper half.
fn read_masks(rest: &mut &[u8], streams: u8) -> Result<[u8; STREAMS_MAX], AllocationError> {
    let [first] = take(rest)?;
    let [second] = if streams > 2 { take(rest)? } else { [0] };
    Ok([first >> 4, first & 0b1111, second >> 4, second & 0b1111])
}

fn read_leb128(rest: &mut &[u8]) -> Result<u32, AllocationError> {
    let mut value = 0_u64;
    for place in 0..LEB128_BYTES_MAX {
        let [byte] = take(rest)?;
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_| AllocationError::TooLarge);
        }
    }
    Err(AllocationError::TooLarge)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// A layer as (stream, spatial layer, targets, picture).
    type Plain = (u8, u8, Vec<u32>, Option<(u32, u32, u8)>);

    fn plain(allocation: &Allocation) -> Vec<Plain> {
        let picture = |picture: AllocatedPicture| (picture.width, picture.height, picture.frames_per_second);
        let layers = allocation.layers.iter().map(|layer| {
            (layer.stream, layer.spatial, layer.targets_kbps().to_vec(), layer.picture.map(picture))
        });
        layers.collect()
    }

    /// Writes an allocation of `streams` streams, the shorter way if all have the same layers.
    fn write(stream: u8, streams: u8, layers: &[Plain]) -> Vec<u8> {
        let mut masks = [0_u8; 4];
        layers.iter().for_each(|(stream, spatial, ..)| masks[usize::from(*stream)] |= 1 << spatial);
        let shared = masks[..usize::from(streams)].iter().all(|mask| *mask == masks[0]);
        let mut value = vec![stream << 6 | (streams - 1) << 4 | if shared { masks[0] } else { 0 }];
        if value[0] & 0b1111 == 0 {
            value.push(masks[0] << 4 | masks[1]);
            value.extend((streams > 2).then_some(masks[2] << 4 | masks[3]));
        }
        for layers in layers.chunks(4) {
            let counts = layers.iter().zip([6, 4, 2, 0]);
            value.push(
                counts.fold(0, |byte, ((_, _, targets, _), shift)| byte | (targets.len() as u8 - 1) << shift),
            );
        }
        for mut target in layers.iter().flat_map(|(_, _, targets, _)| targets.iter().copied()) {
            while target >= 0x80 {
                value.push(target as u8 | 0x80);
                target >>= 7;
            }
            value.push(target as u8);
        }
        for (width, height, rate) in layers.iter().filter_map(|(.., picture)| *picture) {
            value.extend(((width - 1) as u16).to_be_bytes());
            value.extend(((height - 1) as u16).to_be_bytes());
            value.push(rate);
        }
        value
    }

    #[test]
    fn three_streams_of_which_the_last_is_off() {
        // As a browser writes it: streams after the last one that is sent are not counted.
        let value = [0b0101_0001, 0b0000_0000, 0x96, 0x01, 0xF4, 0x03];
        let allocation = Allocation::parse(&value).unwrap();
        assert_eq!(allocation.stream, 1);
        assert_eq!(plain(&allocation), [(0, 0, vec![150], None), (1, 0, vec![500], None)]);
        assert_eq!([0, 1, 2, 3].map(|stream| allocation.sends(stream)), [true, true, false, false]);
        // The same with all three counted.
        let counted = [0b0110_0000, 0b0001_0001, 0b0000_0000, 0b0000_0000, 0x96, 0x01, 0xF4, 0x03];
        assert_eq!(Allocation::parse(&counted).unwrap(), allocation);
    }

    #[test]
    fn temporal_layers_and_pictures() {
        let value = [0b0001_0001, 0b1001_0000, 50, 80, 100, 0xAC, 0x02, 0x90, 0x03];
        let pictures = [0x01, 0x3F, 0x00, 0xB3, 30, 0x02, 0x7F, 0x01, 0x67, 30];
        let targets = [vec![50, 80, 100], vec![300, 400]];
        let wanted = |pictures: [Option<(u32, u32, u8)>; 2]| {
            let layers = targets.iter().zip(pictures).zip(0_u8..);
            layers
                .map(|((targets, picture), stream)| (stream, 0, targets.clone(), picture))
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&Allocation::parse(&value).unwrap()), wanted([None, None]));
        let whole = [&value[..], &pictures].concat();
        let read = plain(&Allocation::parse(&whole).unwrap());
        assert_eq!(read, wanted([Some((320, 180, 30)), Some((640, 360, 30))]));
        assert_eq!(Allocation::parse(&whole[..whole.len() - 1]), Err(AllocationError::CutOff));
        assert_eq!(Allocation::parse(&[&whole[..], &[0]].concat()), Err(AllocationError::TooLong));
    }

    #[test]
    fn nothing_and_nonsense() {
        let nothing = Allocation::parse(&[0]).unwrap();
        assert!(nothing.layers.is_empty() && !nothing.sends(0));
        assert_eq!(Allocation::parse(&[]), Err(AllocationError::CutOff));
        assert_eq!(Allocation::parse(&[1]), Err(AllocationError::CutOff), "no count of temporal layers");
        assert_eq!(Allocation::parse(&[1, 0]), Err(AllocationError::CutOff), "no bitrate");
        let longest = [1, 0, 0xFF, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(Allocation::parse(&longest).unwrap().layers[0].targets_kbps(), [0x7F]);
        let endless = [1, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(Allocation::parse(&endless), Err(AllocationError::TooLarge));
        let large = [1, 0, 0x80, 0x80, 0x80, 0x80, 0x10];
        assert_eq!(Allocation::parse(&large), Err(AllocationError::TooLarge));
    }

    fn any_layers() -> impl Strategy<Value = (u8, u8, Vec<Plain>)> {
        let targets = || proptest::collection::vec(any::<u32>(), 1..=4);
        let picture = || (1..=65_536_u32, 1..=65_536_u32, any::<u8>());
        let layer = move || (any::<bool>(), targets(), picture());
        let layers = proptest::collection::vec(layer(), 16);
        (0..4_u8, 1..=4_u8, layers, any::<bool>()).prop_map(|(stream, streams, layers, sized)| {
            let places = (0..streams).flat_map(|stream| (0..4_u8).map(move |spatial| (stream, spatial)));
            let sent = places.zip(layers).filter(|(_, (sent, ..))| *sent);
            let layers = sent.map(|((stream, spatial), (_, targets, picture))| {
                (stream, spatial, targets, sized.then_some(picture))
            });
            (stream, streams, layers.collect())
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read((stream, streams, layers) in any_layers()) {
            let read = Allocation::parse(&write(stream, streams, &layers)).unwrap();
            prop_assert_eq!(read.stream, stream);
            prop_assert_eq!(plain(&read), layers);
        }

        #[test]
        fn whatever_comes_is_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(read) = Allocation::parse(&value) {
                let layers = plain(&read);
                prop_assert!(layers.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
                let streams = (value[0] >> 4 & 0b11) + 1;
                let written = write(read.stream, streams, &layers);
                prop_assert_eq!(Allocation::parse(&written), Ok(read), "the shortest way to write it says the same");
            }
        }
    }
}
