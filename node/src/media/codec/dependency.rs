//! The dependency descriptor (AV1 RTP specification, appendix A): what a packet's frame is to a scalable stream, whatever
//! its codec, and readable where the payload is encrypted end to end.
//!
//! Keyframes carry the [`Structure`] that later descriptors refer to. Everything in it is bounded, and a reader that meets
//! nonsense says so and keeps what it had.

mod bits;

use bits::Bits;

/// Templates of a structure at most: their ids have 6 bits.
const TEMPLATES_MAX: usize = 64;

/// Decode targets at most: their count has 5 bits.
const TARGETS_MAX: usize = 32;

/// The highest spatial or temporal layer that we believe: AV1 has 4 and 8 of them, VP9 8 and 8.
const LAYER_ID_MAX: u8 = 7;

/// Spatial layers at most.
pub(super) const SPATIAL_LAYERS_MAX: usize = LAYER_ID_MAX as usize + 1;

/// Decode target indications, two bits each.
const NOT_PRESENT: u32 = 0;
const SWITCH: u32 = 2;

/// A set of decode targets, one bit each.
pub type Targets = u32;

/// What frames of one template have in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    /// Targets that need the frame, or can use it.
    present: Targets,
    /// Targets that a viewer can go over to with this frame, if it can decode it.
    switch: Targets,
    /// The frames that it depends on.
    references: References,
}

/// The frames that a frame depends on, as distances in frame numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct References {
    /// Distances up to 64: bit 0 is the frame before.
    near: u64,
    /// Whether there are larger ones.
    far: bool,
}

impl References {
    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Every distance; `None` if one is larger than anybody needs.
    pub fn distances(self) -> Option<impl Iterator<Item = u16>> {
        (!self.far).then(|| (1..=64).filter(move |distance| self.near >> (distance - 1) & 1 == 1))
    }

    /// `minus_one`: the distance as it is written.
    fn add(&mut self, minus_one: u32) {
        match minus_one {
            0..64 => self.near |= 1 << minus_one,
            _ => self.far = true,
        }
    }
}

/// What a keyframe says of the stream that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    template_id_offset: u8,
    templates: [Template; TEMPLATES_MAX],
    template_count: usize,
    target_count: usize,
    /// Highest spatial and temporal layer of each target.
    targets: [(u8, u8); TARGETS_MAX],
    chain_count: u32,
    /// Width and height of each spatial layer in pixels; 0 if it does not say.
    pub sizes: [(u16, u16); SPATIAL_LAYERS_MAX],
}

/// One packet's descriptor, as far as forwarding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether the packet is the first of its frame.
    pub starts_frame: bool,
    /// Whether it is the last.
    pub ends_frame: bool,
    /// Counts frames; wraps.
    pub frame_number: u16,
    /// Spatial layer of the frame.
    pub spatial: u8,
    /// Temporal layer of the frame.
    pub temporal: u8,
    /// Decode targets that the frame is part of.
    pub present: Targets,
    /// Decode targets that a viewer can go over to here, if it can decode the frame.
    pub switch: Targets,
    /// The frames that it depends on.
    pub references: References,
    /// Whether it brings a structure: a keyframe, on which nothing from before it is depended on any more.
    pub has_structure: bool,
    /// Decode targets that the encoder sends now, if the packet says it.
    pub active: Option<Targets>,
}

/// Why a descriptor cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DependencyError {
    /// It ends too early.
    #[error("the dependency descriptor is cut off")]
    CutOff,
    /// It has more templates or layers than there can be.
    #[error("the dependency structure is too large")]
    TooLarge,
    /// It names a template that its structure does not have, or comes before any structure.
    #[error("the dependency descriptor names no known template")]
    UnknownTemplate,
}

/// Reads the descriptor in `value`, the value of its header extension. A structure in it replaces `structure`.
pub fn read(value: &[u8], structure: &mut Option<Box<Structure>>) -> Result<Descriptor, DependencyError> {
    let mut bits = Bits::new(value);
    let starts_frame = bits.flag()?;
    let ends_frame = bits.flag()?;
    let template_id = bits.take(6)? as u8;
    let frame_number = bits.take(16)? as u16;
    let (mut active, mut has_structure, mut custom_targets, mut custom_diffs) = (None, false, false, false);
    if value.len() > 3 {
        has_structure = bits.flag()?;
        let has_active = bits.flag()?;
        custom_targets = bits.flag()?;
        custom_diffs = bits.flag()?;
        // Chains tell when something is missing; who watches finds that out by sequence numbers.
        bits.flag()?;
        if has_structure {
            let new = Structure::read(&mut bits)?;
            match structure {
                Some(known) => **known = new,
                None => *structure = Some(Box::new(new)),
            }
        }
        let known = structure.as_deref().ok_or(DependencyError::UnknownTemplate)?;
        if has_active {
            active = Some(bits.take(known.target_count as u32)?);
        }
    }
    let known = structure.as_deref().ok_or(DependencyError::UnknownTemplate)?;
    let mut template = *known.template(template_id).ok_or(DependencyError::UnknownTemplate)?;
    if custom_targets {
        (template.present, template.switch) = read_indications(&mut bits, known.target_count)?;
    }
    if custom_diffs {
        template.references = read_custom_diffs(&mut bits)?;
    }
    let Template { spatial, temporal, present, switch, references } = template;
    Ok(Descriptor {
        starts_frame,
        ends_frame,
        frame_number,
        spatial,
        temporal,
        present,
        switch,
        references,
        has_structure,
        active,
    })
}

/// The frame number of the descriptor in `value`, for which no structure is needed.
pub fn frame_number(value: &[u8]) -> Option<u16> {
    value.get(1..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Indications of one frame: who it is there for, and who can go over to it.
fn read_indications(bits: &mut Bits<'_>, targets: usize) -> Result<(Targets, Targets), DependencyError> {
    let (mut present, mut switch) = (0, 0);
    for target in 0..targets {
        let indication = bits.take(2)?;
        present |= u32::from(indication != NOT_PRESENT) << target;
        switch |= u32::from(indication == SWITCH) << target;
    }
    Ok((present, switch))
}

/// What a frame depends on that says so itself.
fn read_custom_diffs(bits: &mut Bits<'_>) -> Result<References, DependencyError> {
    let mut references = References::default();
    loop {
        let size = bits.take(2)?;
        if size == 0 {
            return Ok(references);
        }
        references.add(bits.take(4 * size)?);
    }
}

impl Structure {
    fn read(bits: &mut Bits<'_>) -> Result<Self, DependencyError> {
        let mut structure = Self {
            template_id_offset: bits.take(6)? as u8,
            templates: [Template::default(); TEMPLATES_MAX],
            template_count: 0,
            target_count: bits.take(5)? as usize + 1,
            targets: [(0, 0); TARGETS_MAX],
            chain_count: 0,
            sizes: [(0, 0); SPATIAL_LAYERS_MAX],
        };
        let spatial_max = structure.read_layers(bits)?;
        for template in structure.templates.iter_mut().take(structure.template_count) {
            (template.present, template.switch) = read_indications(bits, structure.target_count)?;
        }
        for template in structure.templates.iter_mut().take(structure.template_count) {
            while bits.flag()? {
                template.references.add(bits.take(4)?);
            }
        }
        structure.read_chains(bits)?;
        structure.find_targets();
        if bits.flag()? {
            for size in structure.sizes.iter_mut().take(usize::from(spatial_max) + 1) {
                let (width, height) = (bits.take(16)? as u16, bits.take(16)? as u16);
                *size = (width.saturating_add(1), height.saturating_add(1));
            }
        }
        Ok(structure)
    }

    /// Reads the layer of each template; returns the highest spatial one.
    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Result<u8, DependencyError> {
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            let template = self.templates.get_mut(self.template_count).ok_or(DependencyError::TooLarge)?;
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count += 1;
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Ok(spatial),
            }
            if spatial > LAYER_ID_MAX || temporal > LAYER_ID_MAX {
                return Err(DependencyError::TooLarge);
            }
        }
    }

    fn read_chains(&mut self, bits: &mut Bits<'_>) -> Result<(), DependencyError> {
        self.chain_count = bits.non_symmetric(self.target_count as u32 + 1)?;
        if self.chain_count == 0 {
            return Ok(());
        }
        for _ in 0..self.target_count {
            bits.non_symmetric(self.chain_count)?;
        }
        for _ in 0..self.template_count as u32 * self.chain_count {
            bits.take(4)?;
        }
        Ok(())
    }

    fn find_targets(&mut self) {
        for (target, layers) in self.targets.iter_mut().take(self.target_count).enumerate() {
            let parts = self.templates.iter().take(self.template_count);
            for part in parts.filter(|part| part.present >> target & 1 == 1) {
                *layers = (layers.0.max(part.spatial), layers.1.max(part.temporal));
            }
        }
    }

    fn template(&self, id: u8) -> Option<&Template> {
        let index = usize::from((id + TEMPLATES_MAX as u8 - self.template_id_offset) % TEMPLATES_MAX as u8);
        self.templates.get(..self.template_count)?.get(index)
    }

    /// Highest spatial and temporal layer of any target.
    pub fn highest(&self) -> (u8, u8) {
        let targets = self.targets.iter().take(self.target_count);
        targets.fold((0, 0), |highest, target| (highest.0.max(target.0), highest.1.max(target.1)))
    }

    /// The best decode target with no layer above these, of those in `active`.
    pub fn target(&self, spatial: u8, temporal: u8, active: Targets) -> Option<u8> {
        let targets = self.targets.iter().take(self.target_count).zip(0_u8..);
        let within = targets.filter(|(target, index)| {
            target.0 <= spatial && target.1 <= temporal && active >> index & 1 == 1
        });
        within.max_by_key(|(target, _)| **target).map(|(_, index)| index)
    }

    /// The targets whose highest spatial layer is not one of these, one bit each.
    pub fn targets_without(&self, spatial_layers: u8) -> Targets {
        let targets = self.targets.iter().take(self.target_count).zip(0_u8..);
        let without = targets.filter(|(target, _)| spatial_layers >> target.0 & 1 == 0);
        without.fold(0, |all, (_, index)| all | 1 << index)
    }

    /// The highest spatial layer of a target.
    pub fn highest_spatial(&self, target: u8) -> Option<u8> {
        self.targets.get(usize::from(target)).map(|layers| layers.0)
    }

    /// Whether who is sent what `target` needs has what `other` needs too.
    pub fn covers(&self, target: u8, other: u8) -> bool {
        let mut templates = self.templates.iter().take(self.template_count);
        templates.all(|part| part.present >> other & 1 == 0 || part.present >> target & 1 == 1)
    }

    /// Whether there are frames that `target` does without.
    pub fn leaves_out(&self, target: u8) -> bool {
        self.templates.iter().take(self.template_count).any(|part| part.present >> target & 1 == 0)
    }
}

#[cfg(test)]
mod tests;
