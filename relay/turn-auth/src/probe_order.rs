//! Orders to probe: who has a secret of the fleet tells a relay's HTTP port what to probe.
//!
//! A signature is `expiry:mac`, the expiry in seconds since 1970, the MAC base64 of HMAC-SHA256 under
//! the shared secret over a text that begins as no other does which the secret signs.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    Secret, UnixSeconds,
    time_limited::{encoded, keyed},
};

/// What the signed text begins with. Names begin with digits, and a prober's password is made of a
/// text that goes on otherwise.
const DOMAIN: &[u8] = b"turnpike probe order\0";

/// Signs the body of an order to probe, which is good until `expires_at`. Who sees it can repeat it
/// until then, so that should be soon.
#[must_use]
pub fn sign_probe_order(secret: &Secret, body: &[u8], expires_at: UnixSeconds) -> String {
    let expiry = expires_at.0.to_string();
    format!("{expiry}:{}", encoded(over(secret, &expiry, body)))
}

/// Whether one of the secrets has signed it, for this body, and it is not over.
#[must_use]
pub fn verify_probe_order(
    secrets: &[Secret],
    signature: &str,
    body: &[u8],
    now: UnixSeconds,
) -> bool {
    let Some((expiry, mac)) = signature.split_once(':') else { return false };
    let is_over = expiry.parse().map_or(true, |expiry| UnixSeconds(expiry) <= now);
    let Ok(mac) = STANDARD.decode(mac) else { return false };
    !is_over && secrets.iter().any(|secret| over(secret, expiry, body).verify_slice(&mac).is_ok())
}

/// The expiry stands in the text as it stands in the signature: written otherwise, it is another one.
fn over(secret: &Secret, expiry: &str, body: &[u8]) -> Hmac<Sha256> {
    let mac = keyed::<Hmac<Sha256>>(secret).chain_update(DOMAIN);
    mac.chain_update(expiry.as_bytes()).chain_update(b":").chain_update(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CredentialHash, TimeLimitedCredential};

    const NOW: UnixSeconds = UnixSeconds(1_699_999_999);
    const UNTIL: UnixSeconds = UnixSeconds(1_700_000_000);

    fn secret(text: &str) -> Secret {
        Secret::from_file(text.as_bytes()).expect("not empty")
    }

    /// `printf 'turnpike probe order\0001700000000:{}' |
    /// openssl dgst -sha256 -hmac north -binary | base64`
    #[test]
    fn the_signature_is_what_openssl_makes() {
        let signature = sign_probe_order(&secret("north"), b"{}", UNTIL);
        assert_eq!(signature, "1700000000:rsDR0O468u1qDwOstnN4BH4MhtKWxzswjskffnPQcHw=");
    }

    #[test]
    fn each_active_secret_signs_and_no_other() {
        let active = [secret("new"), secret("old")];
        for (name, expected) in [("new", true), ("old", true), ("gone", false)] {
            let signature = sign_probe_order(&secret(name), b"{}", UNTIL);
            assert_eq!(verify_probe_order(&active, &signature, b"{}", NOW), expected, "{name}");
        }
    }

    #[test]
    fn it_is_good_for_one_body_until_its_expiry() {
        let secrets = [secret("north")];
        let signature = sign_probe_order(&secrets[0], b"{}", UNTIL);
        assert!(verify_probe_order(&secrets, &signature, b"{}", NOW));
        assert!(!verify_probe_order(&secrets, &signature, b"{} ", NOW));
        assert!(!verify_probe_order(&secrets, &signature, b"{}", UNTIL));
        let later = signature.replace("1700000000", "1800000000");
        assert!(!verify_probe_order(&secrets, &later, b"{}", NOW));
        let mac = &signature[11..];
        for changed in ["", ":", mac, &format!("+1700000000:{mac}"), &format!(":{mac}")] {
            assert!(!verify_probe_order(&secrets, changed, b"{}", NOW), "{changed:?}");
        }
        assert!(!verify_probe_order(&secrets, &signature[..20], b"{}", NOW), "a part of the MAC");
        assert!(!verify_probe_order(&secrets, "1700000000:", b"{}", NOW), "none of the MAC");
    }

    #[test]
    fn no_password_is_a_signature() {
        let secrets = [secret("north")];
        let hash = CredentialHash::Sha256;
        for minted in [
            TimeLimitedCredential::mint_with(hash, &secrets[0], "{}", UNTIL),
            TimeLimitedCredential::mint_for_probe(&secrets[0], "{}", UNTIL),
        ] {
            let signature = format!("1700000000:{}", minted.password);
            assert!(!verify_probe_order(&secrets, &signature, b"{}", NOW), "{}", minted.username);
        }
    }
}
