//! The lines of an event stream (HTML standard §9.2.6), from one state of a stream to the next: pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::room::{EventKind, EventKinds, LayerState, StreamState};

/// What one listener was told, and so what is news to it.
#[derive(Debug)]
pub(super) struct EventWriter {
    kinds: EventKinds,
    video_section: Option<usize>,
    /// Where a viewer that is to move asks next.
    endpoint: String,
    active: Option<bool>,
    viewers: Option<usize>,
    layers: Vec<LayerState>,
    held: bool,
    left: bool,
}

impl EventWriter {
    /// A listener that knows nothing. Who comes while the stream is off air is not told so, as it asked for changes; who
    /// `returns` is, as it may have been told the opposite before its connection broke.
    pub(super) fn new(
        kinds: EventKinds,
        video_section: Option<usize>,
        endpoint: String,
        returns: bool,
    ) -> Self {
        Self {
            kinds,
            video_section,
            endpoint,
            active: (!returns).then_some(false),
            viewers: None,
            layers: Vec::new(),
            held: false,
            left: false,
        }
    }

    /// What is news in `state`; empty if nothing is. `held`: whether this listener is sent no picture, as its path carries none.
    pub(super) fn write(&mut self, state: &StreamState, held: bool) -> String {
        let mut lines = String::new();
        if self.active.replace(state.active) != Some(state.active) {
            let kind = if state.active { EventKind::Active } else { EventKind::Inactive };
            self.event(&mut lines, kind, &json!({}));
        }
        if let Some(section) = self.video_section
            && (self.layers != state.layers || self.held != held)
        {
            self.held = held;
            self.layers.clone_from(&state.layers);
            let layers: Vec<Layer<'_>> = state.layers.iter().map(|layer| Layer::of(layer, held)).collect();
            self.event(&mut lines, EventKind::Layers, &json!({ section.to_string(): layers }));
        }
        if self.viewers.replace(state.viewers) != Some(state.viewers) {
            self.event(&mut lines, EventKind::ViewerCount, &json!({ "viewercount": state.viewers }));
        }
        if state.leaving && !std::mem::replace(&mut self.left, true) {
            self.event(&mut lines, EventKind::Reconnect, &json!({ "url": self.endpoint }));
        }
        lines
    }

    fn event(&self, lines: &mut String, kind: EventKind, data: &Value) {
        if self.kinds.has(kind) {
            // JSON of serde has no line break, so one data line holds it.
            lines.push_str(&format!("event: {}\ndata: {data}\n\n", kind.name()));
        }
    }
}

/// One layer on the wire: `rid` as the present draft has it, `encodingId` as those before do. By the draft a bitrate of 0
/// says that the layer is not active; `active` says it to those who read no drafts. To a viewer whose path carries no
/// picture none is active, and `reason` says that it is the network's doing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_id: Option<&'a str>,
    spatial_layer_id: u8,
    temporal_layer_id: u8,
    bitrate: u64,
    active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
}

impl<'a> Layer<'a> {
    fn of(layer: &'a LayerState, held: bool) -> Self {
        let bitrate = if held { 0 } else { layer.bitrate_bps };
        Self {
            rid: layer.rid.as_deref(),
            encoding_id: layer.rid.as_deref(),
            spatial_layer_id: layer.spatial,
            temporal_layer_id: layer.temporal,
            bitrate,
            active: bitrate > 0,
            reason: (bitrate < layer.bitrate_bps).then_some("network"),
            width: layer.width,
            height: layer.height,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn state(active: bool, viewers: usize) -> StreamState {
        StreamState { active, viewers, ..StreamState::default() }
    }

    fn writer(kinds: EventKinds) -> EventWriter {
        EventWriter::new(kinds, Some(1), "https://a.example/whep/demo/main".to_owned(), false)
    }

    #[test]
    fn who_returns_is_told_what_may_have_changed_meanwhile() {
        let kinds = || [EventKind::Active, EventKind::Inactive].into_iter().collect();
        let mut first = EventWriter::new(kinds(), None, String::new(), false);
        assert_eq!(first.write(&state(false, 3), false), "");
        let mut again = EventWriter::new(kinds(), None, String::new(), true);
        assert_eq!(again.write(&state(false, 3), false), "event: inactive\ndata: {}\n\n");
        assert_eq!(again.write(&state(false, 3), false), "");
    }

    #[test]
    fn only_news_is_written_and_only_the_last_of_it() {
        let mut writer = writer(EventKinds::every());
        assert_eq!(
            writer.write(&state(false, 0), false),
            "event: viewercount\ndata: {\"viewercount\":0}\n\n"
        );
        assert_eq!(writer.write(&state(false, 0), false), "");
        let on_air = "event: active\ndata: {}\n\nevent: viewercount\ndata: {\"viewercount\":3}\n\n";
        assert_eq!(writer.write(&state(true, 3), false), on_air);
        assert_eq!(writer.write(&state(false, 3), false), "event: inactive\ndata: {}\n\n");
        let leaving = StreamState { leaving: true, ..state(false, 3) };
        let url = "event: reconnect\ndata: {\"url\":\"https://a.example/whep/demo/main\"}\n\n";
        assert_eq!(
            (writer.write(&leaving, false).as_str(), writer.write(&leaving, false).as_str()),
            (url, "")
        );
    }

    #[test]
    fn what_was_not_asked_for_is_not_written() {
        let mut writer = writer([EventKind::Inactive].into_iter().collect());
        assert_eq!(writer.write(&state(true, 3), false), "");
        assert_eq!(writer.write(&state(false, 4), false), "event: inactive\ndata: {}\n\n");
    }

    #[test]
    fn layers_stand_under_the_place_of_their_section() {
        let layers = vec![
            LayerState {
                rid: Some("h".to_owned()),
                spatial: 1,
                width: Some(640),
                height: Some(360),
                bitrate_bps: 500_000,
                ..LayerState::default()
            },
            LayerState { rid: Some("q".to_owned()), ..LayerState::default() },
        ];
        let state = StreamState { layers, ..StreamState::default() };
        let kinds = [EventKind::Layers].into_iter().collect();
        let text = writer(kinds).write(&state, false);
        let data: Value =
            serde_json::from_str(text.lines().nth(1).unwrap().strip_prefix("data: ").unwrap()).unwrap();
        let expected = json!({ "1": [
            { "rid": "h", "encodingId": "h", "spatialLayerId": 1, "temporalLayerId": 0, "width": 640, "height": 360,
              "bitrate": 500_000, "active": true },
            { "rid": "q", "encodingId": "q", "spatialLayerId": 0, "temporalLayerId": 0, "bitrate": 0, "active": false },
        ] });
        assert_eq!(data, expected);
        let mut writer = writer(kinds);
        assert!(!writer.write(&state, false).contains("network"));
        let held = writer.write(&state, true);
        assert!(held.contains(r#""reason":"network""#) && !held.contains(r#""active":true"#), "{held}");
        assert!(!held.contains(r#""bitrate":500000"#) && writer.write(&state, true).is_empty());
        assert!(writer.write(&state, false).contains(r#""bitrate":500000"#));
        let mut without_video = EventWriter::new(kinds, None, String::new(), false);
        assert_eq!(without_video.write(&state, false), "");
    }
}
