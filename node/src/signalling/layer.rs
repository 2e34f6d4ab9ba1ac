//! Which layer a viewer wants (video layer selection extension of draft-ietf-wish-whep): `POST …/layer`.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use aforo_cluster::control::Role;
use serde::Deserialize;
use serde_json::Value;

use super::app::App;
use super::endpoint::Target;
use super::extension::JSON;
use super::problem::Problem;
use super::{body, session};
use crate::room::{LayerRequest, SelectLayer};

/// What the resource can be asked.
pub const METHODS: &str = "POST, OPTIONS";

/// Highest spatial and temporal layer id that any codec has: both have three bits at most.
const LAYER_ID_MAX: u8 = 7;

/// The body, as it comes. Members that are not known may be of another draft, and are passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wish {
    media_id: Option<Value>,
    rid: Option<String>,
    /// What earlier drafts call `rid`.
    encoding_id: Option<String>,
    spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    max_width: Option<u16>,
    max_height: Option<u16>,
}

/// `POST …/layer`: 200, and the layer comes as soon as the video has a picture to change over at.
pub async fn select(request: HttpRequest, payload: Payload, app: Data<App>) -> Result<HttpResponse, Problem> {
    let (Target { room, stream }, session) = session::named(Role::Viewer, &request, &app).await?;
    body::require_type(&request, JSON)?;
    let wish = read(&body::read_text(&request, payload, app.body).await?)?;
    app.ask_room(&room, SelectLayer { session, stream, request: wish }).await?;
    Ok(HttpResponse::Ok().finish())
}

/// An empty object leaves the choice to us.
fn read(text: &str) -> Result<LayerRequest, Problem> {
    let bad = |what: &str| Problem::Layer(what.to_owned());
    let value: Value = serde_json::from_str(text).map_err(|_| bad("it is not JSON"))?;
    if !value.is_object() {
        return Err(bad("it is another value"));
    }
    let wish: Wish = serde_json::from_value(value).map_err(|error| Problem::Layer(error.to_string()))?;
    let media_id = match wish.media_id {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(_) => return Err(bad("mediaId is neither text nor a number")),
    };
    let ids = [
        wish.spatial_layer_id,
        wish.temporal_layer_id,
        wish.max_spatial_layer_id,
        wish.max_temporal_layer_id,
    ];
    if ids.into_iter().flatten().any(|id| id > LAYER_ID_MAX) {
        return Err(Problem::Layer(format!("layer ids go from 0 to {LAYER_ID_MAX}")));
    }
    if [wish.max_width, wish.max_height].contains(&Some(0)) {
        return Err(bad("maxWidth and maxHeight are at least 1"));
    }
    if wish.rid.is_some() && wish.encoding_id.is_some() && wish.rid != wish.encoding_id {
        return Err(bad("rid and encodingId are two names of one thing"));
    }
    let least = |one: Option<u8>, other: Option<u8>| one.into_iter().chain(other).min();
    Ok(LayerRequest {
        media_id,
        rid: wish.rid.or(wish.encoding_id),
        spatial: least(wish.spatial_layer_id, wish.max_spatial_layer_id),
        temporal: least(wish.temporal_layer_id, wish.max_temporal_layer_id),
        max_width: wish.max_width,
        max_height: wish.max_height,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn wishes_of_both_drafts_are_read() {
        assert_eq!(read("{}").unwrap(), LayerRequest::default());
        let named = LayerRequest { rid: Some("h".to_owned()), ..LayerRequest::default() };
        for text in [r#"{"rid":"h"}"#, r#"{"encodingId":"h"}"#, r#"{"rid":"h","encodingId":"h","x":1}"#] {
            assert_eq!(read(text).unwrap(), named, "{text}");
        }
        let all = r#"{"mediaId":"1","spatialLayerId":2,"maxSpatialLayerId":1,"temporalLayerId":0,"maxTemporalLayerId":null,
            "maxWidth":640,"maxHeight":360}"#;
        let expected = LayerRequest {
            media_id: Some("1".to_owned()),
            rid: None,
            spatial: Some(1),
            temporal: Some(0),
            max_width: Some(640),
            max_height: Some(360),
        };
        assert_eq!(read(all).unwrap(), expected);
        assert_eq!(read(r#"{"mediaId":1}"#).unwrap().media_id.as_deref(), Some("1"));
    }

    #[test]
    fn what_is_no_wish_is_refused() {
        for text in [
            "",
            "[]",
            "\"h\"",
            "{",
            r#"{"rid":7}"#,
            r#"{"mediaId":{}}"#,
            r#"{"spatialLayerId":8}"#,
            r#"{"spatialLayerId":-1}"#,
            r#"{"temporalLayerId":"1"}"#,
            r#"{"maxWidth":0}"#,
            r#"{"maxHeight":70000}"#,
            r#"{"maxHeight":0.5}"#,
            r#"{"rid":"h","encodingId":"q"}"#,
        ] {
            assert!(matches!(read(text), Err(Problem::Layer(_))), "{text}");
        }
    }
}
