//! The generated credentials.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use turn_api::{SecretRef, Validated};

use crate::turnserver::names;

/// The Secret with the credentials of `validated`, its value made of `entropy`. Created once, never
/// applied: a second one would lock every client out.
#[must_use]
pub fn generated_secret(validated: &Validated, entropy: &[u8; 32]) -> Secret {
    let name = validated.name();
    let value = URL_SAFE_NO_PAD.encode(entropy);
    Secret {
        metadata: names::metadata(validated, names::credentials(name), names::labels(name)),
        string_data: Some([(SecretRef::DEFAULT_KEY.to_owned(), value)].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}
