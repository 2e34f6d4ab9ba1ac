//! Dependency descriptors (AV1 RTP specification, appendix A), as an encoder of [`Format`] would write them.

use crate::footage::{Bits, Format, Tag};

/// Decode target indications.
const NOT_PRESENT: u64 = 0;
const DISCARDABLE: u64 = 1;
const SWITCH: u64 = 2;
const REQUIRED: u64 = 3;

/// Id of the first template: not 0, as nothing says that it is.
const FIRST_TEMPLATE: u64 = 5;

/// Frames of one kind.
#[derive(Clone, Copy)]
struct Template {
    spatial: u8,
    temporal: u8,
    key: bool,
    /// Whether it is predicted from a frame of another temporal layer than the lowest.
    from_middle: bool,
}

/// The templates of `format`, in the order in which they are written: by spatial, then by temporal layer.
fn templates(format: &Format) -> Vec<Template> {
    let mut templates = Vec::new();
    for spatial in 0..format.spatial_layers {
        let template = |temporal, key, from_middle| Template { spatial, temporal, key, from_middle };
        templates.push(template(0, true, false));
        templates.extend((0..format.temporal_layers).map(|temporal| template(temporal, false, false)));
        if format.temporal_layers == 3 {
            templates.push(template(2, false, true));
        }
    }
    templates
}

/// What a packet says. Only the first packet of a keyframe has the structure.
pub fn write(format: &Format, tag: &Tag, frame_number: u16) -> Vec<u8> {
    let templates = templates(format);
    let wanted = (tag.spatial, tag.temporal, tag.key, tag.from_middle);
    let of = |template: &Template| (template.spatial, template.temporal, template.key, template.from_middle);
    let id = templates.iter().position(|template| of(template) == wanted).unwrap() as u64 + FIRST_TEMPLATE;
    let mut bits = Bits::default();
    bits.put(u64::from(tag.place == 0), 1);
    bits.put(u64::from(tag.place + 1 == tag.count), 1);
    bits.put(id, 6);
    bits.put(frame_number.into(), 16);
    if tag.begins_keyframe() {
        bits.put(0b10000, 5);
        structure(&mut bits, format, &templates);
    }
    bits.bytes()
}

fn structure(bits: &mut Bits, format: &Format, templates: &[Template]) {
    let targets: Vec<(u8, u8)> = (0..format.spatial_layers)
        .flat_map(|spatial| (0..format.temporal_layers).map(move |temporal| (spatial, temporal)))
        .collect();
    bits.put(FIRST_TEMPLATE, 6);
    bits.put(targets.len() as u64 - 1, 5);
    for (template, next) in templates.iter().zip(templates.iter().skip(1).map(Some).chain([None])) {
        let step = match next {
            None => 3,
            Some(next) if next.spatial > template.spatial => 2,
            Some(next) => u64::from(next.temporal > template.temporal),
        };
        bits.put(step, 2);
    }
    for template in templates {
        targets.iter().for_each(|target| bits.put(indication(format, template, *target), 2));
    }
    for template in templates {
        for difference in differences(format, template) {
            bits.put(1, 1);
            bits.put(u64::from(difference) - 1, 4);
        }
        bits.put(0, 1);
    }
    // No chains: 0 of up to as many as there are targets, in the code of appendix A.4's ns(n).
    let width = u32::BITS - (targets.len() as u32 + 1).leading_zeros();
    bits.put(0, width - 1);
    bits.put(1, 1);
    for spatial in 0..format.spatial_layers {
        let (width, height) = Format::size(0, spatial);
        bits.put(u64::from(width) - 1, 16);
        bits.put(u64::from(height) - 1, 16);
    }
}

/// What a frame is to a decode target.
fn indication(format: &Format, template: &Template, (spatial, temporal): (u8, u8)) -> u64 {
    let Template { spatial: own, temporal: own_temporal, key, .. } = *template;
    if own > spatial || own_temporal > temporal {
        return NOT_PRESENT;
    }
    if key {
        return SWITCH;
    }
    match (own < spatial, own_temporal) {
        (true, _) if format.layers_meet_at_keyframes => NOT_PRESENT,
        (true, _) => REQUIRED,
        // Nothing that follows depends on a higher temporal layer from before it: who can decode this can go on there.
        (false, 0) => SWITCH,
        (false, 1) if temporal == 2 => SWITCH,
        _ => DISCARDABLE,
    }
}

/// How many frames back those are that a frame is predicted from.
fn differences(format: &Format, template: &Template) -> Vec<u8> {
    let Template { spatial, temporal, key, from_middle } = *template;
    let mut differences = Vec::new();
    if !key {
        let back = match (temporal, from_middle) {
            (0, _) => format.period() as u8,
            (1, _) => format.period() as u8 / 2,
            _ => 1,
        };
        differences.push(back * format.spatial_layers);
    }
    if spatial > 0 && (key || !format.layers_meet_at_keyframes) {
        differences.push(1);
    }
    differences
}
